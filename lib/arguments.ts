/**
 * Arguments in the shapes that `node:fs` takes, checked and made plain, with node's error codes.
 */
import { constants } from 'node:fs'
import { isArrayBufferView, isDate } from 'node:util/types'
import { AbortError, ArgumentError, OutOfRangeError } from './errors.js'
import { OPEN } from './native.js'

/** An encoding of names or contents, or `null` for bytes. */
export type Encoding = BufferEncoding | 'buffer' | null

/** How a file is opened, in the native core's words. */
export interface OpenFlags {
  /** Bits of `OPEN`. */
  bits: number
  /** It must be a directory. */
  directory: boolean
  /** Its last name must not be a symbolic link. */
  noFollow: boolean
}

const READ_WRITE = OPEN.read | OPEN.write
const CREATE_EMPTY = OPEN.create | OPEN.truncate
const CREATE_APPEND = OPEN.create | OPEN.append | OPEN.write

const FLAG_BITS: ReadonlyMap<string, number> = new Map([
  ['r', OPEN.read],
  ['rs', OPEN.read | OPEN.sync],
  ['r+', READ_WRITE],
  ['rs+', READ_WRITE | OPEN.sync],
  ['w', OPEN.write | CREATE_EMPTY],
  ['wx', OPEN.write | CREATE_EMPTY | OPEN.exclusive],
  ['w+', READ_WRITE | CREATE_EMPTY],
  ['wx+', READ_WRITE | CREATE_EMPTY | OPEN.exclusive],
  ['a', CREATE_APPEND],
  ['ax', CREATE_APPEND | OPEN.exclusive],
  ['as', CREATE_APPEND | OPEN.sync],
  ['a+', OPEN.read | CREATE_APPEND],
  ['ax+', OPEN.read | CREATE_APPEND | OPEN.exclusive],
  ['as+', OPEN.read | CREATE_APPEND | OPEN.sync],
])

const FLAG_SPELLINGS: ReadonlyMap<string, string> = new Map([
  ['sr', 'rs'],
  ['sr+', 'rs+'],
  ['xw', 'wx'],
  ['xw+', 'wx+'],
  ['xa', 'ax'],
  ['xa+', 'ax+'],
  ['sa', 'as'],
  ['sa+', 'as+'],
])

/**
 * How a file is opened.
 *
 * @param flags - One of node's strings (`'r'`, `'wx+'`, ...) or the `O_*` bits of `constants`.
 * @param fallback - What stands for `undefined` and `null`.
 */
export function openFlags(flags: unknown, fallback: string): OpenFlags {
  if (typeof flags === 'number') return numericFlags(flags)
  const text = flags ?? fallback
  if (typeof text !== 'string') {
    const message = `The "flags" argument must be of type string or number. Received ${typeof flags}`
    throw new ArgumentError('ERR_INVALID_ARG_TYPE', message)
  }
  const bits = FLAG_BITS.get(FLAG_SPELLINGS.get(text) ?? text)
  if (bits === undefined) {
    const message = `The argument 'flags' is invalid. Received '${text}'`
    throw new ArgumentError('ERR_INVALID_ARG_VALUE', message)
  }
  return { bits, directory: false, noFollow: false }
}

function numericFlags(flags: number): OpenFlags {
  if (!Number.isInteger(flags)) throw new OutOfRangeError('flags', 'an integer', flags)
  const access = flags & (constants.O_RDONLY | constants.O_WRONLY | constants.O_RDWR)
  let bits: number = OPEN.read
  if (access === constants.O_WRONLY) bits = OPEN.write
  if (access === constants.O_RDWR) bits = READ_WRITE
  if (flags & constants.O_APPEND && bits & OPEN.write) bits |= OPEN.append
  if (flags & constants.O_TRUNC) bits |= OPEN.truncate
  if (flags & constants.O_CREAT) bits |= OPEN.create
  if (flags & constants.O_EXCL) bits |= OPEN.exclusive
  if (flags & (constants.O_SYNC | constants.O_DSYNC)) bits |= OPEN.sync
  return {
    bits,
    directory: (flags & constants.O_DIRECTORY) !== 0,
    noFollow: (flags & constants.O_NOFOLLOW) !== 0,
  }
}

/**
 * Permission bits.
 *
 * @param mode - A number or a string of octal digits.
 * @param fallback - What stands for `undefined` and `null`; without one they are refused.
 */
export function fileMode(mode: unknown, fallback?: number): number {
  const value = mode ?? fallback
  if (typeof value === 'string') {
    if (!/^[0-7]+$/.test(value)) {
      const message = `The argument 'mode' must be a 32-bit unsigned integer or an octal string. Received '${value}'`
      throw new ArgumentError('ERR_INVALID_ARG_VALUE', message)
    }
    return wholeNumber(Number.parseInt(value, 8), 'mode', 0, 0xffff_ffff) & 0o7777
  }
  return wholeNumber(value, 'mode', 0, 0xffff_ffff) & 0o7777
}

/** An integer within bounds. */
export function wholeNumber(
  value: unknown,
  name: string,
  least = 0,
  most = Number.MAX_SAFE_INTEGER,
): number {
  if (typeof value !== 'number') {
    const message = `The "${name}" argument must be of type number. Received ${typeof value}`
    throw new ArgumentError('ERR_INVALID_ARG_TYPE', message)
  }
  if (!Number.isInteger(value)) throw new OutOfRangeError(name, 'an integer', value)
  if (value < least || value > most) {
    throw new OutOfRangeError(name, `>= ${String(least)} && <= ${String(most)}`, value)
  }
  return value
}

/** A user or group number; -1, which leaves it as it is, becomes nothing. */
export function ownerNumber(value: unknown, name: string): number | undefined {
  const number = wholeNumber(value, name, -1, 0xffff_ffff)
  return number === -1 || number === 0xffff_ffff ? undefined : number
}

/** The encoding in an options argument. */
export function encodingOf(options: unknown, fallback: Encoding): Encoding {
  const value = typeof options === 'object' ? field(options, 'encoding') : options
  if (value === undefined || value === null) return fallback
  if (typeof value !== 'string') {
    const message = `The "options" argument must be of type string or an instance of Object. Received ${typeof value}`
    throw new ArgumentError('ERR_INVALID_ARG_TYPE', message)
  }
  if (value === 'buffer' || Buffer.isEncoding(value)) return value
  const message = `The argument 'encoding' is invalid encoding. Received '${value}'`
  throw new ArgumentError('ERR_INVALID_ARG_VALUE', message)
}

/** A field of an options argument, which may also be a string, a number or nothing. */
export function field(options: unknown, name: string): unknown {
  if (typeof options !== 'object' || options === null) return undefined
  return (options as Record<string, unknown>)[name]
}

/** Whether a field of an options argument is set to something true. */
export function isSet(options: unknown, name: string): boolean {
  return Boolean(field(options, name))
}

/** A name in the encoding that was asked for. */
export function encodeName(name: string, encoding: Encoding): string | Buffer {
  if (encoding === null || encoding === 'utf8' || encoding === 'utf-8') return name
  const bytes = Buffer.from(name)
  return encoding === 'buffer' ? bytes : bytes.toString(encoding)
}

/** The signal in an options argument. */
export function signalOf(options: unknown): AbortSignal | undefined {
  const signal = field(options, 'signal')
  if (signal === undefined || signal === null) return undefined
  if (signal instanceof AbortSignal) return signal
  const message = 'The "options.signal" property must be an instance of AbortSignal.'
  throw new ArgumentError('ERR_INVALID_ARG_TYPE', message)
}

/**
 * Ends an operation whose signal was aborted.
 *
 * @throws AbortError
 */
export function checkAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new AbortError(signal.reason)
}

/** Milliseconds of a time given as a `Date`, seconds or a string of seconds. */
export function timeMs(time: unknown, name: string): number {
  if (typeof time === 'number' && Number.isFinite(time)) return time * 1000
  if (typeof time === 'string' && time.trim() !== '' && Number.isFinite(+time)) return +time * 1000
  if (isDate(time) && Number.isFinite(time.getTime())) return time.getTime()
  const message = `The "${name}" argument must be an instance of Date or a time in seconds.`
  throw new ArgumentError('ERR_INVALID_ARG_TYPE', message)
}

/** The bytes of a view of memory, without a copy. */
export function bytesOf(view: NodeJS.ArrayBufferView): Uint8Array {
  if (view instanceof Uint8Array) return view
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength)
}

/**
 * The bytes of contents to be written.
 *
 * @throws ArgumentError for what is neither text nor a view of memory.
 */
export function contentBytes(data: unknown, encoding: Encoding): Uint8Array {
  if (typeof data === 'string') {
    return Buffer.from(data, encoding === null || encoding === 'buffer' ? 'utf8' : encoding)
  }
  if (isArrayBufferView(data)) return bytesOf(data)
  const message = `The "data" argument must be of type string or an instance of Buffer, TypedArray, or DataView. Received ${typeof data}`
  throw new ArgumentError('ERR_INVALID_ARG_TYPE', message)
}
