/**
 * The daemon's end of the control socket.
 *
 * Invariants:
 * - A bad request is answered and harms nothing else; a broken connection ends its own operation.
 * - Memory per connection is bounded: bodies by `REQUEST_BYTES_MAX`, streams by back-pressure.
 */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { errorFor } from '../errors.js'
import type { Control } from './control.js'
import {
  encodeHeader,
  ENTRY_HEADER,
  ERROR_TRAILER,
  Fields,
  isRecord,
  ITEM_OPERATIONS,
  parseJson,
  REQUEST_BYTES_MAX,
  toWire,
  VALUE_OPERATIONS,
} from './protocol.js'
import { ControlSocket } from './socket.js'

const CONNECTIONS_MAX = 256
const HEADER_BYTES_MAX = 32 * 1024
/** What request targets are relative to. */
const BASE = 'http://store'
/** How long a connection may be silent in the middle of a request. */
const IDLE_MS = 10 * 60 * 1000

/** Answers the command line on the store's socket. */
export class ControlServer {
  readonly #control: Control
  readonly #server: Server
  #socket: ControlSocket | undefined

  /** @param control - What the requests are carried out on. */
  constructor(control: Control) {
    this.#control = control
    this.#server = createServer(
      // A stream may take as long as it takes: only silence ends it.
      { maxHeaderSize: HEADER_BYTES_MAX, requestTimeout: 0, keepAliveTimeout: 60_000 },
      (request, response) => {
        void this.#answer(request, response)
      },
    )
    this.#server.maxConnections = CONNECTIONS_MAX
    this.#server.timeout = IDLE_MS
    this.#server.on('clientError', (_error, socket) => {
      socket.destroy()
    })
  }

  /** Listens on the socket of the store in `directory`, mode 0600. */
  async listen(directory: string): Promise<void> {
    this.#socket = new ControlSocket(directory)
    await this.#socket.listen(this.#server)
  }

  /** Stops listening (the socket goes) and ends connections; requests under way get `graceMs`. */
  async close(graceMs = 1000): Promise<void> {
    if (!this.#server.listening) {
      this.#socket?.release()
      return
    }
    const closed = once(this.#server, 'close')
    this.#server.close()
    this.#server.closeIdleConnections()
    const timer = setTimeout(() => {
      this.#server.closeAllConnections()
    }, graceMs)
    await closed
    clearTimeout(timer)
    this.#socket?.remove()
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.on('error', () => response.destroy())
    try {
      await this.#dispatch(request, response)
    } catch (error) {
      fail(request, response, error)
    }
  }

  async #dispatch(request: IncomingMessage, response: ServerResponse): Promise<void> {
    // HTTP/1.0 has no trailers, in which a read tells of a failure behind its first byte.
    if (request.httpVersion !== '1.1') {
      throw errorFor('EOPNOTSUPP', 'EOPNOTSUPP: requests must be HTTP/1.1')
    }
    const target = request.url ?? '/'
    if (!URL.canParse(target, BASE)) {
      throw errorFor('EINVAL', 'EINVAL: the request target makes no URL')
    }
    const url = new URL(target, BASE)
    const operation = /^\/v1\/([A-Za-z]+)$/.exec(url.pathname)?.[1] ?? ''
    if (request.method === 'GET' && operation === 'read') {
      await this.#read(queryFields(url), response)
      return
    }
    if (request.method === 'PUT' && operation === 'write') {
      await this.#write(queryFields(url), request, response)
      return
    }
    const value = VALUE_OPERATIONS.get(operation)
    const items = ITEM_OPERATIONS.get(operation)
    if (request.method !== 'POST' || (value === undefined && items === undefined)) {
      throw errorFor(
        'EOPNOTSUPP',
        `EOPNOTSUPP: no operation ${request.method ?? ''} ${url.pathname}`,
      )
    }
    const fields = new Fields(await readBody(request))
    if (items !== undefined) await sendItems(response, items(this.#control, fields))
    else if (value !== undefined)
      sendJson(response, 200, { value: await value(this.#control, fields) })
  }

  async #read(fields: Fields, response: ServerResponse): Promise<void> {
    const { entry, bytes } = await this.#control.read({ path: fields.path('path') })
    response.setHeader('content-type', 'application/octet-stream')
    response.setHeader(ENTRY_HEADER, encodeHeader(entry))
    response.setHeader('trailer', ERROR_TRAILER)
    // Headers go out even if the file is empty, and trailers need the chunked form that this makes.
    response.flushHeaders()
    for await (const chunk of bytes) await send(response, chunk)
    response.end()
  }

  async #write(fields: Fields, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const target = { path: fields.path('path'), mode: fields.mode('mode') }
    sendJson(response, 200, { value: await this.#control.write(target, chunksOf(request)) })
  }
}

function queryFields(url: URL): Fields {
  return new Fields(Object.fromEntries(url.searchParams))
}

async function* chunksOf(request: IncomingMessage): AsyncGenerator<Uint8Array, void> {
  for await (const chunk of request) yield chunk as Buffer
  if (!request.complete) throw errorFor('ECONNRESET', 'ECONNRESET: the sender went away')
}

async function readBody(request: IncomingMessage): Promise<Record<string, unknown>> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request) {
    const bytes = chunk as Buffer
    size += bytes.length
    if (size > REQUEST_BYTES_MAX) {
      throw errorFor('E2BIG', `E2BIG: a request holds at most ${REQUEST_BYTES_MAX} bytes`)
    }
    chunks.push(bytes)
  }
  const value = parseJson(Buffer.concat(chunks).toString())
  if (!isRecord(value)) throw errorFor('EINVAL', 'EINVAL: a request must be a JSON object')
  return value
}

function sendJson(response: ServerResponse, status: number, value: unknown): void {
  const body = Buffer.from(JSON.stringify(value))
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': String(body.length),
  })
  response.end(body)
}

async function sendItems(response: ServerResponse, items: AsyncIterable<unknown>): Promise<void> {
  let lines: string[] = []
  for await (const item of items) {
    if (!response.headersSent) response.writeHead(200, { 'content-type': 'application/x-ndjson' })
    if (lines.push(JSON.stringify({ item })) < 256) continue
    await send(response, `${lines.join('\n')}\n`)
    lines = []
  }
  if (!response.headersSent) response.writeHead(200, { 'content-type': 'application/x-ndjson' })
  response.end(`${[...lines, JSON.stringify({ end: true })].join('\n')}\n`)
}

async function send(response: ServerResponse, bytes: Uint8Array | string): Promise<void> {
  if (response.destroyed) throw errorFor('ECONNRESET', 'ECONNRESET: the reader went away')
  if (response.write(bytes)) return
  await new Promise<void>((resolve, reject) => {
    const settle = (): void => {
      response.off('drain', settle)
      response.off('close', settle)
      if (response.destroyed) reject(errorFor('ECONNRESET', 'ECONNRESET: the reader went away'))
      else resolve()
    }
    response.on('drain', settle)
    response.on('close', settle)
  })
}

/** Tells the other side of a failure in the place that is left for it. */
function fail(request: IncomingMessage, response: ServerResponse, error: unknown): void {
  if (response.destroyed) return
  const wire = toWire(error)
  if (!response.headersSent) {
    // Closing now could cost the sender the answer: it reads that, ends its body, and is let go.
    request.resume()
    for (const name of response.getHeaderNames()) response.removeHeader(name)
    sendJson(response, 400, { error: wire })
  } else if (response.hasHeader('trailer')) {
    response.addTrailers({ [ERROR_TRAILER]: encodeHeader(wire) })
    response.end()
  } else {
    response.end(`${JSON.stringify({ error: wire })}\n`)
  }
}
