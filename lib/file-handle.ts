/**
 * An open file, in the manner of node's `FileHandle`.
 *
 * Invariants:
 * - Reads and writes without a position happen one after the other, in the order of the calls, and
 *   share one position.
 * - `close` waits for the operations under way; later ones answer `EBADF`.
 */
import { EventEmitter } from 'node:events'
import type { ReadOptions, ReadOptionsWithBuffer } from 'node:fs'
import type * as fs from 'node:fs'
import type * as promises from 'node:fs/promises'
import { createInterface } from 'node:readline'
import type { Interface as Readline } from 'node:readline'
import { ReadableStream } from 'node:stream/web'
import { isArrayBufferView } from 'node:util/types'
import {
  bytesOf,
  contentBytes,
  encodingOf,
  fileMode,
  isSet,
  ownerNumber,
  signalOf,
  timeMs,
  wholeNumber,
} from './arguments.js'
import { checkContents, decoded, readAll, writeAll } from './contents.js'
import type { Contents, Sink, Source } from './contents.js'
import { ArgumentError, guard, guardAsync, systemError } from './errors.js'
import type { AttributeChange } from './native.js'
import { ATTRIBUTE, KIND, OPEN } from './native.js'
import { scratch, statsOf } from './stats.js'
import { readStream, writeStream } from './streams.js'

/** What a handle stands on: an open file of the native core, or a directory. */
export interface HandleTarget {
  stat(into: Float64Array): void
  read(into: Uint8Array, position: number): Promise<number>
  write(bytes: Uint8Array, position: number): Promise<number>
  readSync(into: Uint8Array, position: number): number
  writeSync(bytes: Uint8Array, position: number): number
  truncate(length: number): void
  setAttributes(change: AttributeChange): void
  sync(): Promise<void>
  close(): void
}

/** Numbers of handles start above any descriptor, so that one given to `node:fs` is refused. */
const FIRST_FD = 0x4000_0000
const LAST_FD = 0x7fff_ffff
/** Memory of a `read` that was given none, as in node. */
const DEFAULT_READ_BYTES = 16_384
/** Bytes of one pull of a web stream. */
const WEB_STREAM_BYTES = 64 * 1024
/**
 * Up to this many bytes the contents lie beside the attributes (`limits::INLINE_BYTES_MAX` of the
 * format): moving them costs less than a trip to the thread pool.
 */
const INLINE_BYTES_MAX = 2048

let nextFd = FIRST_FD

function takeFd(): number {
  const fd = nextFd
  nextFd = fd === LAST_FD ? FIRST_FD : fd + 1
  return fd
}

interface Range {
  buffer: NodeJS.ArrayBufferView
  bytes: Uint8Array
  position: number | null
}

/** An open file. Obtained from `open` of a `FileSystem`; close it, or use `await using`. */
export class FileHandle extends EventEmitter implements promises.FileHandle {
  readonly #target: HandleTarget
  readonly #path: string
  readonly #fd = takeFd()
  readonly #bits: number
  readonly #underWay = new Set<Promise<unknown>>()
  #turn: Promise<unknown> = Promise.resolve()
  #position = 0
  #closing: Promise<void> | undefined

  /**
   * @param target - What it stands on.
   * @param path - The path it was opened with.
   * @param bits - The bits of `OPEN` it was opened with.
   */
  constructor(target: HandleTarget, path: string, bits: number) {
    super()
    this.#target = target
    this.#path = path
    this.#bits = bits
  }

  /** A number for this handle; -1 once it is closed. It is no descriptor of the system. */
  get fd(): number {
    return this.#closing === undefined ? this.#fd : -1
  }

  /**
   * Reads bytes into memory; fewer than asked for only at the end of the file.
   *
   * @throws LockstepError `EBADF` if the file is closed or was not opened for reading, `EISDIR`.
   */
  read<T extends NodeJS.ArrayBufferView>(
    buffer: T,
    offset?: number | null,
    length?: number | null,
    position?: number | null,
  ): Promise<promises.FileReadResult<T>>
  read<T extends NodeJS.ArrayBufferView>(
    buffer: T,
    options?: ReadOptions,
  ): Promise<promises.FileReadResult<T>>
  read<T extends NodeJS.ArrayBufferView = Buffer<ArrayBuffer>>(
    options?: ReadOptionsWithBuffer<T>,
  ): Promise<promises.FileReadResult<T>>
  async read(
    first?: unknown,
    second?: unknown,
    length?: number | null,
    position?: number | bigint | null,
  ): Promise<promises.FileReadResult<NodeJS.ArrayBufferView>> {
    const range = readRange(first, second, length, position)
    if (range.bytes.byteLength === 0) return { bytesRead: 0, buffer: range.buffer }
    const bytesRead = await this.#readAt(range.bytes, range.position)
    return { bytesRead, buffer: range.buffer }
  }

  /**
   * Fills several pieces of memory from one place on.
   *
   * @throws LockstepError as `read`.
   */
  async readv<T extends readonly NodeJS.ArrayBufferView[]>(
    buffers: T,
    position?: number | null,
  ): Promise<fs.ReadVResult<T>> {
    const start = typeof position === 'number' ? wholeNumber(position, 'position') : null
    const read = async () => {
      let bytesRead = 0
      for (const view of buffers) {
        if (view.byteLength === 0) continue
        const at = (start ?? this.#position) + bytesRead
        const count = await guardAsync(this.#context('read'), () =>
          this.#target.read(bytesOf(view), at),
        )
        bytesRead += count
        if (count < view.byteLength) break
      }
      if (start === null) this.#position += bytesRead
      return { bytesRead, buffers }
    }
    return await (start === null ? this.#inTurn('read', read) : this.#run('read', read))
  }

  /**
   * Writes all of the bytes or text, or fails.
   *
   * @throws LockstepError `EBADF` if the file is closed or was not opened for writing, `ENOSPC`.
   */
  write<T extends NodeJS.ArrayBufferView>(
    buffer: T,
    offset?: number | null,
    length?: number | null,
    position?: number | null,
  ): Promise<{ bytesWritten: number; buffer: T }>
  write<T extends NodeJS.ArrayBufferView>(
    buffer: T,
    options?: { offset?: number; length?: number; position?: number | null },
  ): Promise<{ bytesWritten: number; buffer: T }>
  write(
    data: string,
    position?: number | null,
    encoding?: BufferEncoding | null,
  ): Promise<{ bytesWritten: number; buffer: string }>
  async write(
    data: unknown,
    second?: unknown,
    third?: unknown,
    position?: unknown,
  ): Promise<{ bytesWritten: number; buffer: never }> {
    const range =
      typeof data === 'string'
        ? textRange(data, second, third)
        : writeRange(data, second, third, position)
    const bytesWritten = range.bytes.byteLength
    if (bytesWritten > 0) await this.#writeAt(range.bytes, range.position)
    // The overloads give the memory or the text back as it came.
    return { bytesWritten, buffer: data as never }
  }

  /**
   * Writes several pieces of memory in a row.
   *
   * @throws LockstepError as `write`.
   */
  async writev<T extends readonly NodeJS.ArrayBufferView[]>(
    buffers: T,
    position?: number | null,
  ): Promise<fs.WriteVResult<T>> {
    const start = typeof position === 'number' ? wholeNumber(position, 'position') : null
    const whole = Buffer.concat(buffers.map(bytesOf))
    if (whole.byteLength > 0) await this.#writeAt(whole, start)
    return { bytesWritten: whole.byteLength, buffers }
  }

  /**
   * Reads from the current position to the end.
   *
   * @throws LockstepError as `read`, `ERR_FS_FILE_TOO_LARGE`; AbortError.
   */
  readFile: promises.FileHandle['readFile'] = (async (options?: unknown) => {
    const encoding = encodingOf(options, null)
    const signal = signalOf(options)
    const bytes = await this.#inTurn('read', () => readAll(this.#source(), signal))
    return decoded(bytes, encoding)
  }) as promises.FileHandle['readFile']

  /**
   * Writes contents from the current position on. The file is not cut before.
   *
   * @throws LockstepError as `write`; AbortError.
   */
  async writeFile(
    data: Contents,
    options?: fs.ObjectEncodingOptions | BufferEncoding | null,
  ): Promise<void> {
    checkContents(data)
    const encoding = encodingOf(options, 'utf8')
    const signal = signalOf(options)
    await this.#inTurn('write', () => writeAll(this.#sink(), data, encoding, signal))
    if (isSet(options, 'flush')) await this.sync()
  }

  /** As `writeFile`; appends if the file was opened for that. */
  async appendFile(
    data: Contents,
    options?: fs.ObjectEncodingOptions | BufferEncoding | null,
  ): Promise<void> {
    await this.writeFile(data, options)
  }

  /**
   * The attributes of the open file.
   *
   * @throws LockstepError `EBADF`.
   */
  stat: promises.FileHandle['stat'] = (async (options?: fs.StatOptions) =>
    await this.#run('fstat', () => {
      this.#target.stat(scratch)
      return statsOf(scratch, isSet(options, 'bigint'))
    })) as promises.FileHandle['stat']

  /**
   * Cuts or extends the file; what is added reads as zeros and takes no space.
   *
   * @throws LockstepError `EBADF`, `EINVAL` if it was not opened for writing.
   */
  async truncate(length?: number | null): Promise<void> {
    const size = Math.max(0, wholeNumber(length ?? 0, 'len', Number.MIN_SAFE_INTEGER))
    await this.#run('ftruncate', () => {
      this.#target.truncate(size)
    })
  }

  /** Makes the file durable: it survives the loss of power. Everything before it does too. */
  async sync(): Promise<void> {
    await this.#run('fsync', () => this.#target.sync())
  }

  /** As `sync`. */
  async datasync(): Promise<void> {
    await this.#run('fdatasync', () => this.#target.sync())
  }

  /**
   * Sets the permission bits.
   *
   * @throws LockstepError `EPERM` if another user owns the file, `EROFS` in a snapshot.
   */
  async chmod(mode: fs.Mode): Promise<void> {
    const bits = fileMode(mode)
    await this.#run('fchmod', () => {
      this.#target.setAttributes({ mode: bits })
    })
  }

  /**
   * Sets owner and group; -1 leaves one as it is.
   *
   * @throws LockstepError `EPERM`, `EROFS`.
   */
  async chown(uid: number, gid: number): Promise<void> {
    const change = owners(uid, gid)
    await this.#run('fchown', () => {
      this.#target.setAttributes(change)
    })
  }

  /**
   * Sets the times of last access and last change.
   *
   * @throws LockstepError `EPERM`, `EROFS`.
   */
  async utimes(atime: fs.TimeLike, mtime: fs.TimeLike): Promise<void> {
    const change = { atimeMs: timeMs(atime, 'atime'), mtimeMs: timeMs(mtime, 'mtime') }
    await this.#run('futime', () => {
      this.#target.setAttributes(change)
    })
  }

  /** A stream that reads this file, and closes it at its end unless `autoClose` is false. */
  createReadStream(options?: promises.CreateReadStreamOptions): fs.ReadStream {
    return readStream(this.#path, () => Promise.resolve(this), options)
  }

  /** A stream that writes this file, and closes it at its end unless `autoClose` is false. */
  createWriteStream(options?: promises.CreateWriteStreamOptions): fs.WriteStream {
    return writeStream(this.#path, () => Promise.resolve(this), options)
  }

  /** The file's bytes as a web stream. The handle stays open. */
  readableWebStream(): ReadableStream {
    return new ReadableStream({
      type: 'bytes',
      autoAllocateChunkSize: WEB_STREAM_BYTES,
      pull: async controller => {
        const request = controller.byobRequest
        const view = request?.view
        if (!request || !view) return
        const count = await this.#readAt(bytesOf(view as NodeJS.ArrayBufferView), null)
        if (count === 0) controller.close()
        request.respond(count)
      },
    })
  }

  /** The file's lines. */
  readLines(options?: promises.CreateReadStreamOptions): Readline {
    return createInterface({ input: this.createReadStream(options), crlfDelay: Infinity })
  }

  /** Ends the handle once the operations under way have ended. Closing again does nothing. */
  async close(): Promise<void> {
    this.#closing ??= this.#end()
    await this.#closing
  }

  /** As `close`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #end(): Promise<void> {
    await Promise.allSettled([...this.#underWay])
    guard(this.#context('close'), () => {
      this.#target.close()
    })
    this.emit('close')
  }

  #context(syscall: string): { syscall: string } {
    return { syscall }
  }

  /** Runs an operation that `close` waits for. */
  async #run<T>(syscall: string, call: () => T | Promise<T>): Promise<T> {
    if (this.#closing !== undefined) throw systemError('EBADF', { syscall })
    const running = guardAsync(this.#context(syscall), async () => await call())
    this.#underWay.add(running)
    try {
      return await running
    } finally {
      this.#underWay.delete(running)
    }
  }

  /** Runs an operation that uses the position after those that were called before it. */
  async #inTurn<T>(syscall: string, call: () => Promise<T>): Promise<T> {
    return await this.#run(syscall, async () => {
      const before = this.#turn
      const mine = before.then(call, call)
      this.#turn = mine
      return await mine
    })
  }

  async #readAt(into: Uint8Array, position: number | null): Promise<number> {
    if (position !== null) return await this.#run('read', () => this.#target.read(into, position))
    return await this.#inTurn('read', () => this.#source().readNext(into))
  }

  async #writeAt(bytes: Uint8Array, position: number | null): Promise<void> {
    if (position === null) {
      await this.#inTurn('write', () => this.#sink().writeNext(bytes))
      return
    }
    await this.#run('write', () => this.#target.write(bytes, position))
  }

  #source(): Source {
    return {
      remaining: () => {
        if ((this.#bits & OPEN.read) === 0) throw systemError('EBADF')
        this.#target.stat(scratch)
        if (scratch[ATTRIBUTE.kind] === KIND.directory) throw systemError('EISDIR')
        return Math.max(0, (scratch[ATTRIBUTE.size] ?? 0) - this.#position)
      },
      readNext: async into => {
        const at = this.#position
        const small = into.byteLength <= INLINE_BYTES_MAX
        const count = small ? this.#target.readSync(into, at) : await this.#target.read(into, at)
        this.#position = at + count
        return count
      },
    }
  }

  #sink(): Sink {
    return {
      writeNext: async bytes => {
        const at = this.#position
        const small = at + bytes.byteLength <= INLINE_BYTES_MAX && (this.#bits & OPEN.sync) === 0
        const length = small
          ? this.#target.writeSync(bytes, at)
          : await this.#target.write(bytes, at)
        this.#position = this.#bits & OPEN.append ? length : at + bytes.byteLength
      },
    }
  }
}

/** The change that `chown` asks for. */
export function owners(uid: unknown, gid: unknown): AttributeChange {
  const change: AttributeChange = {}
  const user = ownerNumber(uid, 'uid')
  const group = ownerNumber(gid, 'gid')
  if (user !== undefined) change.uid = user
  if (group !== undefined) change.gid = group
  return change
}

function positionOf(value: unknown): number | null {
  if (value === undefined || value === null || value === -1 || value === -1n) return null
  return wholeNumber(typeof value === 'bigint' ? Number(value) : value, 'position')
}

function subrange(buffer: NodeJS.ArrayBufferView, offset: unknown, length: unknown): Uint8Array {
  const bytes = bytesOf(buffer)
  const start = wholeNumber(offset ?? 0, 'offset', 0, bytes.byteLength)
  const count = wholeNumber(length ?? bytes.byteLength - start, 'length', 0)
  wholeNumber(count, 'length', 0, bytes.byteLength - start)
  return bytes.subarray(start, start + count)
}

interface RangeOptions {
  buffer?: unknown
  offset?: unknown
  length?: unknown
  position?: unknown
}

function readRange(first: unknown, second: unknown, length: unknown, position: unknown): Range {
  let options: RangeOptions = { offset: second, length, position }
  let buffer = first
  if (!isArrayBufferView(first)) {
    if (first !== undefined && first !== null && typeof first !== 'object') {
      throw new ArgumentError('ERR_INVALID_ARG_TYPE', 'The "buffer" argument must be a view')
    }
    options = first ?? {}
    buffer = options.buffer ?? Buffer.alloc(DEFAULT_READ_BYTES)
  } else if (typeof second === 'object' && second !== null) {
    options = second
  }
  if (!isArrayBufferView(buffer)) {
    throw new ArgumentError('ERR_INVALID_ARG_TYPE', 'The "buffer" argument must be a view')
  }
  const bytes = subrange(buffer, options.offset, options.length)
  return { buffer, bytes, position: positionOf(options.position) }
}

function writeRange(data: unknown, second: unknown, length: unknown, position: unknown): Range {
  if (!isArrayBufferView(data)) {
    const message =
      'The "buffer" argument must be of type string or an instance of Buffer, TypedArray, or DataView.'
    throw new ArgumentError('ERR_INVALID_ARG_TYPE', message)
  }
  const given = typeof second === 'object' && second !== null
  const options: RangeOptions = given ? second : { offset: second, length, position }
  const bytes = subrange(data, options.offset, options.length)
  const at = typeof options.position === 'number' ? options.position : null
  return { buffer: data, bytes, position: positionOf(at) }
}

function textRange(data: string, position: unknown, encoding: unknown): Range {
  const bytes = contentBytes(data, encodingOf(encoding, 'utf8'))
  const at = typeof position === 'number' ? position : null
  return { buffer: bytes, bytes, position: positionOf(at) }
}
