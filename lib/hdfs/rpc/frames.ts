/**
 * The bytes of Hadoop RPC version 9: headers of requests, and whole reply frames.
 *
 * Invariants:
 * - Nothing is read past the end of the frame; what does not fit is a fatal error of the connection.
 * - Headers are coded by hand: they are on the path of every call.
 */

import { ERROR_DETAIL, RpcFatalError } from './errors.js'
import type { Failure } from './errors.js'

/** The version of the RPC protocol itself. */
export const IPC_VERSION = 9

/** Call ids that are no calls. */
export const CALL_ID = { context: -3, ping: -4, sasl: -33 } as const

const RPC_PROTOCOL_BUFFER = 2
const RPC_FINAL_PACKET = 0

/** Reads one frame from its beginning to its end. */
export class FrameReader {
  #buffer: Buffer
  #position: number
  #end: number

  /** Reads `buffer` from `position` to `end`. */
  constructor(buffer: Buffer, position: number, end: number) {
    this.#buffer = buffer
    this.#position = position
    this.#end = end
  }

  /** Where reading is. */
  get position(): number {
    return this.#position
  }

  /** An unsigned varint; bits past 53 are lost, which no field that is read here uses. */
  varint(): number {
    let result = 0
    let factor = 1
    for (let count = 0; count < 10; count++) {
      if (this.#position >= this.#end) throw malformed('a number is cut off')
      const byte = this.#buffer[this.#position++] ?? 0
      result += (byte & 0x7f) * factor
      if (byte < 0x80) return result
      factor *= 128
    }
    throw malformed('a number is too long')
  }

  /** A signed varint in zigzag coding, of 32 bits. */
  zigzag(): number {
    const value = this.varint() >>> 0
    return (value >>> 1) ^ -(value & 1)
  }

  /** A length-delimited part of the frame; not a copy. */
  bytes(): Buffer {
    const length = this.varint()
    if (length > this.#end - this.#position) throw malformed('a length reaches past the end')
    const start = this.#position
    this.#position += length
    return this.#buffer.subarray(start, this.#position)
  }

  /** A length-delimited message: reading goes on inside it, up to the returned end. */
  enter(): number {
    const length = this.varint()
    if (length > this.#end - this.#position) throw malformed('a length reaches past the end')
    return this.#position + length
  }

  /** Skips the value of a field that nobody reads. */
  skip(tag: number): void {
    const type = tag & 7
    if (type === 0) this.varint()
    else if (type === 1) this.#advance(8)
    else if (type === 2) this.#position = this.enter()
    else if (type === 5) this.#advance(4)
    else throw malformed(`field type ${type} is unknown`)
  }

  #advance(length: number): void {
    if (length > this.#end - this.#position) throw malformed('a field is cut off')
    this.#position += length
  }
}

function malformed(what: string): RpcFatalError {
  return new RpcFatalError(ERROR_DETAIL.fatalDeserializing, `RPC frame is malformed: ${what}`)
}

/** The header of every request frame. */
export interface RequestHeader {
  callId: number
  retryCount: number
  clientId: Buffer
}

const NO_BYTES = Buffer.alloc(0)

/**
 * Reads the header at the start of a frame.
 *
 * @throws RpcFatalError if it is malformed, or names another serialization.
 */
export function readRequestHeader(reader: FrameReader): RequestHeader {
  const end = reader.enter()
  let kind = -1
  let operation = -1
  let callId: number | undefined
  let retryCount = -1
  let clientId: Buffer = NO_BYTES
  while (reader.position < end) {
    const tag = reader.varint()
    if (tag === 0x08) kind = reader.varint()
    else if (tag === 0x10) operation = reader.varint()
    else if (tag === 0x18) callId = reader.zigzag()
    else if (tag === 0x22) clientId = reader.bytes()
    else if (tag === 0x28) retryCount = reader.zigzag()
    else reader.skip(tag)
  }
  if (reader.position !== end || callId === undefined) throw malformed('its header is incomplete')
  if (operation !== RPC_FINAL_PACKET) throw invalid('IPC Server: No rpc op in rpcRequestHeader')
  if (kind !== RPC_PROTOCOL_BUFFER) {
    throw new RpcFatalError(
      ERROR_DETAIL.fatalUnsupportedSerialization,
      'IPC Server: only RPC_PROTOCOL_BUFFER requests are served',
    )
  }
  if (clientId.length !== 16 && clientId.length !== 0) throw invalid('client id is not 16 bytes')
  return { callId, retryCount, clientId }
}

function invalid(message: string): RpcFatalError {
  return new RpcFatalError(ERROR_DETAIL.fatalInvalidHeader, message)
}

/** Which method of which protocol a request calls. */
export interface MethodHeader {
  method: string
  protocol: string
  version: number
}

/** Reads the header that follows the request header of a call. */
export function readMethodHeader(reader: FrameReader): MethodHeader {
  const end = reader.enter()
  let method = ''
  let protocol = ''
  let version = -1
  while (reader.position < end) {
    const tag = reader.varint()
    if (tag === 0x0a) method = text(reader.bytes())
    else if (tag === 0x12) protocol = text(reader.bytes())
    else if (tag === 0x18) version = reader.varint()
    else reader.skip(tag)
  }
  if (reader.position !== end) throw malformed('its method header is incomplete')
  return { method, protocol, version }
}

function text(bytes: Buffer): string {
  return bytes.toString('latin1')
}

function varintSize(value: number): number {
  let size = 1
  for (let rest = value; rest >= 128; rest = Math.floor(rest / 128)) size++
  return size
}

function putVarint(into: Buffer, value: number, at: number): number {
  let position = at
  let rest = value
  while (rest >= 128) {
    into[position++] = (rest % 128) | 0x80
    rest = Math.floor(rest / 128)
  }
  into[position++] = rest
  return position
}

/** The part of a request header that its reply repeats. */
export type ReplyTo = RequestHeader

function headerSize(to: ReplyTo): number {
  const retry = zigzagOf(to.retryCount)
  // callId, status (always one byte), serverIpcVersionNum, clientId, retryCount.
  return 1 + varintSize(to.callId >>> 0) + 2 + 2 + 2 + to.clientId.length + 1 + varintSize(retry)
}

function zigzagOf(value: number): number {
  return ((value << 1) ^ (value >> 31)) >>> 0
}

function putHeader(into: Buffer, to: ReplyTo, status: number, at: number): number {
  let position = at
  into[position++] = 0x08
  position = putVarint(into, to.callId >>> 0, position)
  into[position++] = 0x10
  into[position++] = status
  into[position++] = 0x18
  into[position++] = IPC_VERSION
  into[position++] = 0x3a
  into[position++] = to.clientId.length
  into.set(to.clientId, position)
  position += to.clientId.length
  into[position++] = 0x40
  return putVarint(into, zigzagOf(to.retryCount), position)
}

/** A whole reply frame that carries a message. */
export function successFrame(to: ReplyTo, message: Uint8Array): Buffer {
  const header = headerSize(to)
  const length = varintSize(header) + header + varintSize(message.length) + message.length
  const frame = Buffer.allocUnsafe(4 + length)
  frame.writeUInt32BE(length, 0)
  let position = putVarint(frame, header, 4)
  position = putHeader(frame, to, 0, position)
  position = putVarint(frame, message.length, position)
  frame.set(message, position)
  return frame
}

/** A whole reply frame that carries an exception. */
export function failureFrame(to: ReplyTo, failure: Failure): Buffer {
  const name = Buffer.from(failure.javaClass)
  const message = Buffer.from(failure.message)
  const header =
    headerSize(to) +
    (1 + varintSize(name.length) + name.length) +
    (1 + varintSize(message.length) + message.length) +
    (1 + varintSize(failure.detail))
  const length = varintSize(header) + header
  const frame = Buffer.allocUnsafe(4 + length)
  frame.writeUInt32BE(length, 0)
  let position = putVarint(frame, header, 4)
  position = putHeader(frame, to, failure.status, position)
  position = putBytes(frame, 0x22, name, position)
  position = putBytes(frame, 0x2a, message, position)
  frame[position++] = 0x30
  putVarint(frame, failure.detail, position)
  return frame
}

function putBytes(into: Buffer, tag: number, bytes: Buffer, at: number): number {
  into[at] = tag
  const position = putVarint(into, bytes.length, at + 1)
  into.set(bytes, position)
  return position + bytes.length
}
