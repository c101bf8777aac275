/**
 * One connection of the RPC server: preamble, negotiation, who the user is, then calls.
 *
 * Invariants:
 * - A frame's length is checked before its bytes are kept; the bytes kept for all connections
 *   together stay below the server's limit.
 * - Whatever a client sends can end this connection and nothing else.
 * - Replies leave in the order in which they are ready; those of one batch leave in one write.
 */

import { fromBinary, toBinary, create } from '@bufbuild/protobuf'
import type { Socket } from 'node:net'
import { IpcConnectionContextProtoSchema } from '../proto/gen/connection_context_pb.js'
import { RpcSaslProto_SaslState, RpcSaslProtoSchema } from '../proto/gen/rpc_header_pb.js'
import { ERROR_DETAIL, RpcFatalError, failureOf } from './errors.js'
import type { RequestHeader } from './frames.js'
import { CALL_ID, FrameReader, IPC_VERSION, readRequestHeader } from './frames.js'
import { failureFrame, readMethodHeader, successFrame } from './frames.js'
import type { MethodHeader } from './frames.js'
import type { RpcCall } from './protocol.js'

const MAGIC = 'hrpc'
const PREAMBLE_BYTES = 7
const AUTH_NONE = 0
const AUTH_SASL = 0xdf
const NO_REPLY: RequestHeader = { callId: -1, retryCount: -1, clientId: Buffer.alloc(0) }
/** Answers are held back while a client does not read: no more than this is queued for one. */
const OUTPUT_BYTES_MAX = 8 * 1024 * 1024

const HTTP_ANSWER =
  'HTTP/1.1 404 Not Found\r\n' +
  'Content-type: text/plain\r\n\r\n' +
  'It looks like you are making an HTTP request to a Hadoop IPC port. ' +
  'This is not the correct port for the web interface on this daemon.\r\n'

/** What a connection needs from its server. */
export interface ConnectionHost {
  /** Longest request frame. */
  readonly frameBytesMax: number
  /** Calls of one connection that may wait for their answer. */
  readonly callsMax: number
  /** Accounts for bytes kept; false refuses them. */
  reserve(bytes: number): boolean
  dispatch(
    header: MethodHeader,
    request: Uint8Array,
    call: RpcCall,
  ): Uint8Array | Promise<Uint8Array>
  closed(connection: RpcConnection): void
}

type Phase = 'preamble' | 'context' | 'calls' | 'closing'

/** See the head of this file. */
export class RpcConnection {
  readonly #socket: Socket
  readonly #host: ConnectionHost
  readonly #address: string
  #phase: Phase = 'preamble'
  #sasl = false
  #user = ''
  #chunks: Buffer[] = []
  #bufferedBytes = 0
  #neededBytes = 4
  #replies: Buffer[] = []
  #receiving = false
  #flushPlanned = false
  #callsOpen = 0
  #openedMs = performance.now()
  #lastInputMs = this.#openedMs

  /** Serves `socket` until it ends. */
  constructor(socket: Socket, host: ConnectionHost) {
    this.#socket = socket
    this.#host = host
    this.#address = (socket.remoteAddress ?? 'unknown').replace(/^::ffff:/, '')
    socket.setNoDelay(true)
    socket.on('data', (chunk: Buffer) => {
      this.#receive(chunk)
    })
    socket.on('drain', () => {
      this.#resume()
    })
    // The reset of a client that went away; 'close' follows.
    socket.on('error', () => {
      socket.destroy()
    })
    socket.on('close', () => {
      this.#release()
      host.closed(this)
    })
  }

  /** Whether the client has neither said who it is within the limit, nor anything for too long. */
  isStale(nowMs: number, setupMs: number, idleMs: number): boolean {
    if (this.#callsOpen > 0) return false
    if (this.#phase === 'preamble' || this.#phase === 'context') {
      return nowMs - this.#openedMs > setupMs
    }
    return nowMs - this.#lastInputMs > idleMs
  }

  /** Whether calls wait for their answer. */
  get isBusy(): boolean {
    return this.#callsOpen > 0
  }

  /** Ends the connection at once. */
  destroy(): void {
    this.#phase = 'closing'
    this.#socket.destroy()
  }

  #receive(chunk: Buffer): void {
    if (this.#phase === 'closing') return
    this.#lastInputMs = performance.now()
    if (!this.#host.reserve(chunk.length)) {
      this.destroy()
      return
    }
    this.#chunks.push(chunk)
    this.#bufferedBytes += chunk.length
    if (this.#bufferedBytes < this.#neededBytes) return
    this.#receiving = true
    try {
      this.#consume()
    } catch (error) {
      this.#fail(NO_REPLY, error)
    }
    this.#receiving = false
    this.#flush()
  }

  #consume(): void {
    const [first] = this.#chunks
    const input =
      this.#chunks.length === 1 && first !== undefined ? first : Buffer.concat(this.#chunks)
    let position = 0
    for (;;) {
      const used = this.#step(input, position)
      if (used === 0) break
      position += used
    }
    const rest = input.length - position
    this.#host.reserve(rest - this.#bufferedBytes)
    this.#bufferedBytes = rest
    // A copy, so that a few bytes do not keep a large input alive.
    this.#chunks = rest === 0 ? [] : [Buffer.from(input.subarray(position))]
  }

  /** Handles what stands at `position`; returns how many bytes it took, 0 if more are needed. */
  #step(input: Buffer, position: number): number {
    const available = input.length - position
    if (this.#phase === 'closing') return 0
    if (available < 4) return this.#need(4)
    if (this.#phase === 'preamble') return this.#preamble(input, position)
    const length = input.readInt32BE(position)
    if (length < 0 || length > this.#host.frameBytesMax) {
      throw new RpcFatalError(
        ERROR_DETAIL.fatalInvalidHeader,
        `Requested data length ${length} is longer than maximum configured RPC length ` +
          `${this.#host.frameBytesMax}. RPC came from ${this.#address}`,
      )
    }
    if (available < 4 + length) return this.#need(4 + length)
    this.#frame(input, position + 4, position + 4 + length)
    this.#neededBytes = 4
    return 4 + length
  }

  #need(bytes: number): number {
    this.#neededBytes = bytes
    return 0
  }

  #preamble(input: Buffer, position: number): number {
    const magic = input.toString('latin1', position, position + 4)
    if (magic === 'GET ') {
      this.#end(Buffer.from(HTTP_ANSWER))
      return 0
    }
    if (magic !== MAGIC) {
      this.destroy()
      return 0
    }
    if (input.length - position < PREAMBLE_BYTES) return this.#need(PREAMBLE_BYTES)
    const version = input[position + 4] ?? 0
    const auth = input[position + 6] ?? 0
    if (version !== IPC_VERSION) {
      throw new RpcFatalError(
        ERROR_DETAIL.fatalVersionMismatch,
        `Server IPC version ${IPC_VERSION} cannot communicate with client version ${version}`,
        'org.apache.hadoop.ipc.RPC$VersionMismatch',
      )
    }
    if (auth !== AUTH_NONE && auth !== AUTH_SASL) {
      throw unauthorized(`Unknown auth protocol ${auth}`)
    }
    this.#sasl = auth === AUTH_SASL
    this.#phase = 'context'
    this.#neededBytes = 4
    return PREAMBLE_BYTES
  }

  #frame(input: Buffer, start: number, end: number): void {
    const reader = new FrameReader(input, start, end)
    const header = readRequestHeader(reader)
    try {
      if (header.callId >= 0) this.#call(reader, header)
      else if (header.callId === CALL_ID.context) this.#context(reader)
      else if (header.callId === CALL_ID.sasl) this.#negotiate(reader, header)
      else if (header.callId !== CALL_ID.ping) {
        throw new RpcFatalError(
          ERROR_DETAIL.fatalInvalidHeader,
          `Unknown out of band call #${header.callId}`,
        )
      }
    } catch (error) {
      this.#fail(header, error)
    }
  }

  #context(reader: FrameReader): void {
    if (this.#phase !== 'context') {
      throw new RpcFatalError(
        ERROR_DETAIL.fatalInvalidHeader,
        'Connection context already processed',
      )
    }
    const { userInfo } = parse(IpcConnectionContextProtoSchema, reader.bytes())
    const user = shortName(userInfo?.effectiveUser ?? '')
    const real = shortName(userInfo?.realUser ?? '')
    if (user === '') throw unauthorized('SIMPLE authentication needs a user name')
    if (real !== '' && real !== user) {
      throw new RpcFatalError(
        ERROR_DETAIL.fatalUnauthorized,
        `User: ${real} is not allowed to impersonate ${user}`,
        'org.apache.hadoop.security.authorize.AuthorizationException',
      )
    }
    this.#user = user
    this.#phase = 'calls'
  }

  /** A server that offers SIMPLE alone answers the first negotiation message with success. */
  #negotiate(reader: FrameReader, header: RequestHeader): void {
    if (!this.#sasl) {
      throw new RpcFatalError(
        ERROR_DETAIL.fatalInvalidHeader,
        'SASL protocol not requested by client',
      )
    }
    const message = parse(RpcSaslProtoSchema, reader.bytes())
    if (message.state !== RpcSaslProto_SaslState.NEGOTIATE) {
      throw unauthorized('SIMPLE authentication is the only one enabled.  Available:[SIMPLE]')
    }
    this.#sasl = false
    const answer = create(RpcSaslProtoSchema, { state: RpcSaslProto_SaslState.SUCCESS })
    this.#send(successFrame(header, toBinary(RpcSaslProtoSchema, answer)))
  }

  #call(reader: FrameReader, header: RequestHeader): void {
    if (this.#phase !== 'calls') {
      throw new RpcFatalError(ERROR_DETAIL.fatalInvalidHeader, 'Connection context not established')
    }
    const method = readMethodHeader(reader)
    const request = reader.bytes()
    // The id outlives the input it stands in.
    header.clientId = Buffer.from(header.clientId)
    const answer = this.#host.dispatch(method, request, {
      user: this.#user,
      address: this.#address,
      clientId: header.clientId,
      callId: header.callId,
      retryCount: header.retryCount,
    })
    if (answer instanceof Promise) this.#await(header, answer)
    else this.#send(successFrame(header, answer))
  }

  #await(header: RequestHeader, answer: Promise<Uint8Array>): void {
    this.#callsOpen++
    if (this.#callsOpen >= this.#host.callsMax) this.#socket.pause()
    answer.then(
      message => {
        this.#settled()
        this.#send(successFrame(header, message))
      },
      (error: unknown) => {
        this.#settled()
        this.#fail(header, error)
      },
    )
  }

  #settled(): void {
    this.#callsOpen--
    this.#resume()
  }

  #resume(): void {
    if (!this.#socket.isPaused()) return
    const isFull = this.#socket.writableLength > OUTPUT_BYTES_MAX
    if (!isFull && this.#callsOpen < this.#host.callsMax) this.#socket.resume()
  }

  #fail(to: RequestHeader, error: unknown): void {
    const frame = failureFrame(to, failureOf(error))
    if (error instanceof RpcFatalError) this.#end(frame)
    else this.#send(frame)
  }

  /** The last bytes of this connection. */
  #end(bytes: Buffer): void {
    this.#replies.push(bytes)
    this.#write()
    this.#phase = 'closing'
    this.#socket.end()
    // A client that does not close in turn must not keep the socket.
    this.#socket.setTimeout(5000, () => {
      this.#socket.destroy()
    })
  }

  #send(frame: Buffer): void {
    if (this.#phase === 'closing') return
    this.#replies.push(frame)
    if (this.#receiving || this.#flushPlanned) return
    this.#flushPlanned = true
    // Runs after the promises that settle together with this one: their replies share the write.
    process.nextTick(() => {
      this.#flush()
    })
  }

  #flush(): void {
    this.#flushPlanned = false
    if (this.#phase !== 'closing') this.#write()
  }

  #write(): void {
    const replies = this.#replies
    if (replies.length === 0) return
    this.#replies = []
    const [only] = replies
    const bytes = replies.length === 1 && only !== undefined ? only : Buffer.concat(replies)
    this.#socket.write(bytes)
    if (this.#socket.writableLength > OUTPUT_BYTES_MAX) this.#socket.pause()
  }

  #release(): void {
    this.#phase = 'closing'
    this.#host.reserve(-this.#bufferedBytes)
    this.#bufferedBytes = 0
    this.#chunks = []
    this.#replies = []
  }
}

function unauthorized(message: string): RpcFatalError {
  return new RpcFatalError(
    ERROR_DETAIL.fatalUnauthorized,
    message,
    'org.apache.hadoop.security.AccessControlException',
  )
}

/** The first part of a principal such as `alice/host@REALM`. */
function shortName(principal: string): string {
  const end = principal.search(/[/@]/)
  return end < 0 ? principal : principal.slice(0, end)
}

function parse<Schema extends Parameters<typeof fromBinary>[0]>(schema: Schema, bytes: Uint8Array) {
  try {
    return fromBinary<Schema>(schema, bytes)
  } catch (error) {
    const why = error instanceof Error ? error.message : 'unreadable'
    throw new RpcFatalError(ERROR_DETAIL.fatalDeserializing, `${schema.name}: ${why}`)
  }
}
