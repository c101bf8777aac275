/**
 * The control interface over the socket of the daemon that has the store open.
 *
 * Invariants:
 * - An answer that ends early is an error, never a short success.
 * - What the daemon refuses arrives here with the same code as if the store were open here.
 */
import { Agent, request as httpRequest } from 'node:http'
import type { ClientRequest, IncomingMessage, RequestOptions } from 'node:http'
import { codeOf, errorFor } from '../errors.js'
import type { ScrubStatus } from '../native.js'
import { CONTROL_PROTOCOL } from './control.js'
import type * as control from './control.js'
import {
  decodeHeader,
  ENTRY_HEADER,
  ERROR_TRAILER,
  fromWire,
  isRecord,
  LINE_BYTES_MAX,
  parseJson,
} from './protocol.js'
import type { ControlSocket } from './socket.js'

const CONNECTIONS_MAX = 8

/** The control interface of a running daemon. */
export class RemoteControl implements control.Control {
  readonly #socket: ControlSocket
  readonly #agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS_MAX })

  /** @param socket - The socket; released by `close`. */
  constructor(socket: ControlSocket) {
    this.#socket = socket
  }

  /**
   * Asks who is there.
   *
   * @throws LockstepError `ECONNREFUSED` or `ENOENT` if nobody is, `ERR_LOCKSTEP_PROTOCOL` if it
   * speaks another version.
   */
  async about(): Promise<control.About> {
    const about = await this.#call<control.About>('about', {})
    if (about.protocol === CONTROL_PROTOCOL) return about
    throw errorFor(
      'ERR_LOCKSTEP_PROTOCOL',
      `the daemon (process ${about.pid}) is version ${about.version}; use that version's commands or restart it`,
    )
  }

  async stat(request: control.PathRequest & { follow: boolean }): Promise<control.Entry> {
    return await this.#call('stat', request)
  }

  list(request: control.PathRequest): AsyncIterable<control.Entry> {
    return this.#items('list', request)
  }

  async read({ path }: control.PathRequest): Promise<control.Reading> {
    const target = `/v1/read?${new URLSearchParams({ path }).toString()}`
    const response = await this.#send({ method: 'GET', path: target }, sent => {
      sent.end()
    })
    if (response.statusCode !== 200) throw await failureOf(response)
    const entry = decodeHeader(response.headers[ENTRY_HEADER]) as control.Entry
    return { entry, bytes: bytesOf(response) }
  }

  async write(
    { path, mode }: control.PathRequest & { mode: number },
    bytes: AsyncIterable<Uint8Array>,
  ): Promise<control.Entry> {
    const query = new URLSearchParams({ path, mode: String(mode) })
    const target = { method: 'PUT', path: `/v1/write?${query.toString()}` }
    const failed: { cause?: unknown } = {}
    const response = await this.#send(target, sent => pump(bytes, sent, failed)).catch(
      (error: unknown) => {
        throw failed.cause ?? error
      },
    )
    return valueOf(await bodyOf(response)) as control.Entry
  }

  async makeDirectory(
    request: control.PathRequest & { mode: number; parents: boolean },
  ): Promise<control.Entry> {
    return await this.#call('makeDirectory', request)
  }

  async makeLink(request: control.PathRequest & { target: string }): Promise<control.Entry> {
    return await this.#call('makeLink', request)
  }

  async remove(request: control.PathRequest & { recursive: boolean }): Promise<void> {
    await this.#call('remove', request)
  }

  async createSnapshot(request: control.SnapshotRequest): Promise<control.SnapshotEntry> {
    return await this.#call('createSnapshot', request)
  }

  async listSnapshots(request: control.PathRequest): Promise<control.SnapshotEntry[]> {
    return await this.#call('listSnapshots', request)
  }

  async deleteSnapshot(request: control.SnapshotRequest): Promise<void> {
    await this.#call('deleteSnapshot', request)
  }

  async renameSnapshot(request: control.SnapshotRequest & { to: string }): Promise<void> {
    await this.#call('renameSnapshot', request)
  }

  async createClone(
    request: control.PathRequest & { snapshot: string; newPath: string },
  ): Promise<control.VolumeEntry> {
    return await this.#call('createClone', request)
  }

  async createVolume(request: control.PathRequest): Promise<control.VolumeEntry> {
    return await this.#call('createVolume', request)
  }

  async listVolumes(): Promise<control.VolumeEntry[]> {
    return await this.#call('listVolumes', {})
  }

  async deleteVolume(request: control.PathRequest): Promise<void> {
    await this.#call('deleteVolume', request)
  }

  diff(
    request: control.PathRequest & { from: string; to: string },
  ): AsyncIterable<control.ChangeEntry> {
    return this.#items('diff', request)
  }

  async space(request: control.PathRequest): Promise<control.SpaceEntry> {
    return await this.#call('space', request)
  }

  async startScrub(request: control.ScrubRequest): Promise<void> {
    await this.#call('startScrub', request)
  }

  async scrubStatus(): Promise<ScrubStatus | null> {
    return await this.#call('scrubStatus', {})
  }

  async stopScrub(): Promise<void> {
    await this.#call('stopScrub', {})
  }

  async sync(): Promise<void> {
    await this.#call('sync', {})
  }

  close(): Promise<void> {
    this.#agent.destroy()
    this.#socket.release()
    return Promise.resolve()
  }

  async #call<T>(operation: string, request: object): Promise<T> {
    return valueOf(await bodyOf(await this.#post(operation, request))) as T
  }

  async *#items<T>(operation: string, request: object): AsyncGenerator<T, void> {
    const response = await this.#post(operation, request)
    if (response.statusCode !== 200) throw await failureOf(response)
    for await (const line of linesOf(response)) {
      const value = parseJson(line)
      if (!isRecord(value)) throw fromWire(undefined)
      if ('error' in value) throw fromWire(value['error'])
      if ('end' in value) return
      yield value['item'] as T
    }
    throw brokenOff()
  }

  async #post(operation: string, request: object): Promise<IncomingMessage> {
    const body = JSON.stringify(request)
    const headers = {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
    }
    return await this.#send({ method: 'POST', path: `/v1/${operation}`, headers }, sent => {
      sent.end(body)
    })
  }

  #send(options: RequestOptions, fill: (sent: ClientRequest) => unknown): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const sent = httpRequest({ ...options, socketPath: this.#socket.address, agent: this.#agent })
      sent.on('response', resolve)
      // After the answer has begun the listener only keeps a late error from ending the process.
      sent.on('error', error => {
        reject(connectionError(error))
      })
      void fill(sent)
    })
  }
}

/**
 * Sends `bytes` as the body of `sent`; stops when the answer comes early, for then nobody reads the
 * rest. A failure of the source destroys the request, so that the daemon discards what it has.
 */
async function pump(
  bytes: AsyncIterable<Uint8Array>,
  sent: ClientRequest,
  failed: { cause?: unknown },
): Promise<void> {
  const state = { over: false, wake: (): void => undefined }
  sent.on('drain', () => {
    state.wake()
  })
  for (const event of ['response', 'close']) {
    sent.once(event, () => {
      state.over = true
      state.wake()
    })
  }
  try {
    for await (const chunk of bytes) {
      if (state.over) break
      if (sent.write(chunk)) continue
      await new Promise<void>(resolve => {
        state.wake = resolve
      })
    }
    sent.end()
  } catch (error) {
    failed.cause = error
    sent.destroy()
  }
}

function connectionError(error: Error): Error {
  const code = codeOf(error)
  if (code !== 'ECONNRESET' && code !== 'EPIPE') return error
  return errorFor('ERR_LOCKSTEP_DAEMON_GONE', 'the daemon ended before it answered', {
    cause: error,
  })
}

function brokenOff(): Error {
  return errorFor('ERR_LOCKSTEP_DAEMON_GONE', 'the daemon ended in the middle of its answer')
}

async function* bytesOf(response: IncomingMessage): AsyncGenerator<Uint8Array, void> {
  try {
    for await (const chunk of response) yield chunk as Buffer
  } catch (error) {
    throw codeOf(error) === 'ECONNRESET' ? brokenOff() : error
  }
  if (!response.complete) throw brokenOff()
  const failure = decodeHeader(response.trailers[ERROR_TRAILER])
  if (failure !== undefined) throw fromWire(failure)
}

async function* linesOf(response: IncomingMessage): AsyncGenerator<string, void> {
  let rest = ''
  const text = new TextDecoder()
  for await (const chunk of bytesOf(response)) {
    const lines = (rest + text.decode(chunk, { stream: true })).split('\n')
    rest = lines.pop() ?? ''
    if (rest.length > LINE_BYTES_MAX) throw fromWire(undefined)
    yield* lines
  }
}

async function bodyOf(response: IncomingMessage): Promise<unknown> {
  const chunks: Uint8Array[] = []
  for await (const chunk of bytesOf(response)) chunks.push(chunk)
  return parseJson(Buffer.concat(chunks).toString())
}

function valueOf(body: unknown): unknown {
  if (!isRecord(body)) throw fromWire(undefined)
  if ('error' in body) throw fromWire(body['error'])
  return body['value']
}

async function failureOf(response: IncomingMessage): Promise<Error> {
  const body = await bodyOf(response)
  return fromWire(isRecord(body) ? body['error'] : undefined)
}
