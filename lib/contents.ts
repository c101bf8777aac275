/**
 * Whole contents of an open file, in both directions.
 *
 * Invariants:
 * - A signal is looked at between pieces, so that a large transfer can be ended.
 * - What an iterable yields is gathered into pieces: small chunks cost no write each.
 */
import { bytesOf, checkAborted, contentBytes } from './arguments.js'
import type { Encoding } from './arguments.js'
import { ArgumentError, LockstepError } from './errors.js'

/** Bytes moved between two looks at the signal. */
const PIECE_BYTES = 8 * 1024 * 1024
/** Bytes gathered from an iterable before they are written. */
const GATHER_BYTES = 1024 * 1024
/** What node's `readFile` refuses to exceed. */
const WHOLE_FILE_BYTES_MAX = 2 ** 31 - 1

/** Reads on from a position of its own. */
export interface Source {
  /** Bytes from the position to the end, as of now. */
  remaining(): number
  /** Fills `into`, or less at the end of the file. */
  readNext(into: Uint8Array): Promise<number>
}

/** Writes on from a position of its own. */
export interface Sink {
  /** Writes all of `bytes`. */
  writeNext(bytes: Uint8Array): Promise<void>
}

/** Anything that `writeFile` takes. */
export type Contents =
  | string
  | NodeJS.ArrayBufferView
  | Iterable<string | NodeJS.ArrayBufferView>
  | AsyncIterable<string | NodeJS.ArrayBufferView>

/**
 * Reads to the end.
 *
 * @throws LockstepError `ERR_FS_FILE_TOO_LARGE` for 2 GiB and more: use a stream.
 * @throws AbortError
 */
export async function readAll(source: Source, signal: AbortSignal | undefined): Promise<Buffer> {
  checkAborted(signal)
  const size = source.remaining()
  if (size > WHOLE_FILE_BYTES_MAX) {
    const message = `File size (${String(size)}) is greater than 2 GiB`
    throw new LockstepError('ERR_FS_FILE_TOO_LARGE', message)
  }
  const bytes = Buffer.allocUnsafeSlow(size)
  let filled = 0
  while (filled < size) {
    checkAborted(signal)
    const piece = bytes.subarray(filled, Math.min(size, filled + PIECE_BYTES))
    const count = await source.readNext(piece)
    filled += count
    if (count < piece.byteLength) break
  }
  checkAborted(signal)
  return bytes.subarray(0, filled)
}

/** The bytes as text, if text was asked for. */
export function decoded(bytes: Buffer, encoding: Encoding): string | Buffer {
  return encoding === null || encoding === 'buffer' ? bytes : bytes.toString(encoding)
}

/**
 * Writes all of `data`.
 *
 * @throws ArgumentError if it is nothing that can be written.
 * @throws AbortError
 */
export async function writeAll(
  sink: Sink,
  data: unknown,
  encoding: Encoding,
  signal: AbortSignal | undefined,
): Promise<void> {
  checkAborted(signal)
  if (isIterable(data)) {
    await writeIterable(sink, data, encoding, signal)
    return
  }
  await writePieces(sink, contentBytes(data, encoding), signal)
}

async function writePieces(
  sink: Sink,
  bytes: Uint8Array,
  signal: AbortSignal | undefined,
): Promise<void> {
  for (let start = 0; start < bytes.byteLength; start += PIECE_BYTES) {
    checkAborted(signal)
    await sink.writeNext(bytes.subarray(start, start + PIECE_BYTES))
  }
}

async function writeIterable(
  sink: Sink,
  data: Iterable<unknown> | AsyncIterable<unknown>,
  encoding: Encoding,
  signal: AbortSignal | undefined,
): Promise<void> {
  let gathered: Uint8Array[] = []
  let size = 0
  const flush = async () => {
    if (size > 0) await writePieces(sink, Buffer.concat(gathered, size), signal)
    gathered = []
    size = 0
  }
  for await (const chunk of data) {
    checkAborted(signal)
    const bytes = contentBytes(chunk, encoding)
    // A producer may use its memory again once it is asked for more.
    gathered.push(typeof chunk === 'string' ? bytes : Buffer.from(bytesOf(bytes)))
    size += bytes.byteLength
    if (size >= GATHER_BYTES) await flush()
  }
  await flush()
}

function isIterable(data: unknown): data is Iterable<unknown> | AsyncIterable<unknown> {
  if (typeof data !== 'object' || data === null || ArrayBuffer.isView(data)) return false
  return Symbol.asyncIterator in data || Symbol.iterator in data
}

/** Refuses what `appendFile` and `FileHandle.writeFile` of node refuse too. */
export function checkContents(data: unknown): void {
  if (typeof data === 'string' || ArrayBuffer.isView(data) || isIterable(data)) return
  const message = `The "data" argument must be of type string or an instance of Buffer, TypedArray, DataView, Stream, or iterable. Received ${typeof data}`
  throw new ArgumentError('ERR_INVALID_ARG_TYPE', message)
}
