/**
 * The HTTP server of WebHDFS: one port for the steps of NameNode and DataNode, and `/status`.
 *
 * Invariants:
 * - A bad request ends its own connection at most.
 * - Connections, header bytes and idle time are bounded; bodies are streamed.
 * - After `close` no request is running and the port is free.
 */
import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { userInfo } from 'node:os'
import type { Duplex } from 'node:stream'
import { GroupCommit } from '../group-commit.js'
import { HdfsUsers } from '../hdfs-users.js'
import type { NativeStore } from '../native.js'
import { sendEmpty, sendJson } from './answer.js'
import { FileStatusWriter } from './file-status.js'
import { handle } from './handler.js'
import type { Service } from './handler.js'
import { BLOCK_SIZE_DEFAULT } from './options.js'
import type { WebHdfsOptions } from './options.js'

export type { DataNodeFacts, HdfsFacts, WebHdfsOptions, WriterTable } from './options.js'

/** Bytes of a request's head: a path of 8,000 bytes may be three times as long when encoded. */
const HEADER_BYTES_MAX = 64 * 1024

const CONNECTION_COUNT_MAX = 1024
const IDLE_MS_MAX = 300_000
const HEADERS_MS_MAX = 60_000
const KEEP_ALIVE_MS = 30_000

/** How long `close` waits for requests that are running. */
const CLOSE_MS_MAX = 5_000

/** A running WebHDFS server. */
export class WebHdfsServer {
  readonly #server: Server
  readonly #service: Service
  readonly #started = process.hrtime.bigint()
  readonly #host: string

  private constructor(store: NativeStore, options: WebHdfsOptions) {
    const blockSize = options.blockSize ?? BLOCK_SIZE_DEFAULT
    const users = new HdfsUsers(store, options.user ?? userInfo().username)
    this.#host = options.host
    this.#service = {
      store,
      options,
      users,
      commit: new GroupCommit(() => store.sync()),
      status: new FileStatusWriter(users, blockSize, options.replication ?? 1),
    }
    this.#server = createServer({
      maxHeaderSize: HEADER_BYTES_MAX,
      keepAliveTimeout: KEEP_ALIVE_MS,
    })
    this.#configure(options)
  }

  /**
   * Starts listening.
   *
   * @param store - Stays the caller's; close it after this server.
   * @param options - Where to listen and what to tell clients.
   * @throws the system's error (`EADDRINUSE`, `EACCES`, `EADDRNOTAVAIL`) if it cannot listen.
   */
  static async start(store: NativeStore, options: WebHdfsOptions): Promise<WebHdfsServer> {
    const service = new WebHdfsServer(store, options)
    await service.#listen(options.port)
    return service
  }

  /** The port it listens on. */
  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  /** Takes no more requests, waits a while for those that run, and ends the rest. Idempotent. */
  async close(): Promise<void> {
    if (!this.#server.listening) return
    const closed = new Promise<void>(resolve => {
      this.#server.close(() => {
        resolve()
      })
    })
    this.#server.closeIdleConnections()
    const timer = setTimeout(() => {
      this.#server.closeAllConnections()
    }, CLOSE_MS_MAX)
    await closed
    clearTimeout(timer)
  }

  #configure(options: WebHdfsOptions): void {
    const server = this.#server
    server.maxConnections = options.connectionCountMax ?? CONNECTION_COUNT_MAX
    server.headersTimeout = HEADERS_MS_MAX
    // An upload may take as long as it moves; the idle time of the socket bounds it instead.
    server.requestTimeout = 0
    server.timeout = options.idleMsMax ?? IDLE_MS_MAX
    const serve = (request: IncomingMessage, response: ServerResponse): void => {
      void this.#serve(request, response)
    }
    server.on('request', serve)
    server.on('checkContinue', serve)
    server.on('clientError', refuse)
  }

  #listen(port: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen(port, this.#host, () => {
        this.#server.off('error', reject)
        this.#server.on('error', error => this.#service.options.onError?.(error, 'webhdfs server'))
        resolve()
      })
    })
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.setHeader('Cache-Control', 'no-cache')
    response.setHeader('X-Content-Type-Options', 'nosniff')
    response.on('error', () => response.destroy())
    if (await handle(this.#service, request, response)) return
    try {
      this.#serveOther(request, response)
    } catch (error) {
      this.#service.options.onError?.(error, 'status')
      response.destroy()
    }
  }

  #serveOther(request: IncomingMessage, response: ServerResponse): void {
    const path = (request.url ?? '/').split('?', 1)[0]
    if (path !== '/status') {
      sendEmpty(response, 404)
    } else if (request.method !== 'GET') {
      response.setHeader('Allow', 'GET')
      sendEmpty(response, 405)
    } else {
      const { store, options } = this.#service
      sendJson(response, 200, {
        health: { ...store.health() },
        space: { ...store.space() },
        store: options.storeId ?? null,
        uptimeSeconds: Number((process.hrtime.bigint() - this.#started) / 1_000_000_000n),
        version: options.version ?? null,
      })
    }
  }
}

/** Answers what is not HTTP, and ends that connection alone. */
function refuse(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return
  }
  const status =
    error.code === 'HPE_HEADER_OVERFLOW' ? '431 Request Header Fields Too Large' : '400 Bad Request'
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
}
