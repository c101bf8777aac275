/**
 * Hadoop RPC over TCP, version 9 with simple authentication.
 *
 * Invariants:
 * - Connections, bytes kept and calls that wait are all bounded; a client over a limit loses its own
 *   connection only.
 * - `close` answers the calls that are running, for a while, and then ends every connection.
 */

import type { Server, Socket } from 'node:net'
import { createServer } from 'node:net'
import type { ConnectionHost } from './connection.js'
import { RpcConnection } from './connection.js'
import { noSuchMethod, noSuchProtocol, versionMismatch } from './errors.js'
import type { MethodHeader } from './frames.js'
import type { RpcCall, RpcProtocol } from './protocol.js'

const MIB = 1024 * 1024
const SWEEP_MS = 5000
const CLOSE_GRACE_MS = 2000

/** How a server listens, and its limits. */
export interface RpcServerOptions {
  readonly host: string
  /** 0 = any free port. */
  readonly port: number
  /** What it speaks. */
  readonly protocols: readonly RpcProtocol[]
  /** Longest request frame; 64 MiB as in Hadoop. */
  readonly frameBytesMax?: number
  /** Bytes kept for frames that are not complete, over all connections. */
  readonly bufferedBytesMax?: number
  readonly connectionsMax?: number
  /** Calls of one connection that may wait for their answer. */
  readonly callsMax?: number
  /** A connection is closed after that long without a request. */
  readonly idleMs?: number
  /** A connection is closed if it has not said who it is by then. */
  readonly setupMs?: number
}

/** See the head of this file. */
export class RpcServer implements ConnectionHost {
  readonly frameBytesMax: number
  readonly callsMax: number
  readonly #options: RpcServerOptions
  readonly #protocols: ReadonlyMap<string, RpcProtocol>
  readonly #bufferedBytesMax: number
  readonly #connections = new Set<RpcConnection>()
  #server: Server | undefined
  #sweeper: NodeJS.Timeout | undefined
  #bufferedBytes = 0
  #calls = 0

  constructor(options: RpcServerOptions) {
    this.#options = options
    this.frameBytesMax = options.frameBytesMax ?? 64 * MIB
    this.callsMax = options.callsMax ?? 1024
    this.#bufferedBytesMax = options.bufferedBytesMax ?? 256 * MIB
    this.#protocols = new Map(options.protocols.map(protocol => [protocol.name, protocol]))
  }

  /** The port it listens on; 0 before {@link listen}. */
  get port(): number {
    const address = this.#server?.address() ?? null
    return address !== null && typeof address === 'object' ? address.port : 0
  }

  /** Connections that are open. */
  get connectionCount(): number {
    return this.#connections.size
  }

  /** Calls served since the start. */
  get callCount(): number {
    return this.#calls
  }

  /**
   * Starts to listen.
   *
   * @throws `EADDRINUSE`, `EACCES`, ... of the operating system.
   */
  async listen(): Promise<void> {
    const server = createServer({ noDelay: true }, socket => {
      this.#accept(socket)
    })
    server.maxConnections = this.#options.connectionsMax ?? 4096
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen({ host: this.#options.host, port: this.#options.port, backlog: 512 }, () => {
        server.off('error', reject)
        resolve()
      })
    })
    this.#server = server
    this.#sweeper = setInterval(() => {
      this.#sweep()
    }, SWEEP_MS)
    this.#sweeper.unref()
  }

  /** Stops listening; running calls get their answers for a moment. Idempotent. */
  async close(): Promise<void> {
    const server = this.#server
    if (server === undefined) return
    this.#server = undefined
    clearInterval(this.#sweeper)
    const closed = new Promise<void>(resolve => {
      server.close(() => {
        resolve()
      })
    })
    const deadline = performance.now() + CLOSE_GRACE_MS
    while (this.#isBusy() && performance.now() < deadline) {
      await new Promise(resolve => setTimeout(resolve, 10))
    }
    for (const connection of this.#connections) connection.destroy()
    await closed
  }

  /** Calls the method that a request names. */
  dispatch(
    header: MethodHeader,
    request: Uint8Array,
    call: RpcCall,
  ): Uint8Array | Promise<Uint8Array> {
    this.#calls++
    const protocol = this.#protocols.get(header.protocol)
    if (protocol === undefined) throw noSuchProtocol(header.protocol)
    if (header.version !== protocol.version) {
      throw versionMismatch(protocol.name, String(header.version), protocol.version)
    }
    const method = protocol.methods.get(header.method)
    if (method === undefined) throw noSuchMethod(header.method, protocol.name)
    return method(request, call)
  }

  /** Accounts for kept bytes (negative: given back). */
  reserve(bytes: number): boolean {
    if (bytes > 0 && this.#bufferedBytes + bytes > this.#bufferedBytesMax) return false
    this.#bufferedBytes += bytes
    return true
  }

  /** A connection ended. */
  closed(connection: RpcConnection): void {
    this.#connections.delete(connection)
  }

  #accept(socket: Socket): void {
    this.#connections.add(new RpcConnection(socket, this))
  }

  #isBusy(): boolean {
    for (const connection of this.#connections) if (connection.isBusy) return true
    return false
  }

  #sweep(): void {
    const nowMs = performance.now()
    const setupMs = this.#options.setupMs ?? 30_000
    const idleMs = this.#options.idleMs ?? 600_000
    for (const connection of this.#connections) {
      if (connection.isStale(nowMs, setupMs, idleMs)) connection.destroy()
    }
  }
}
