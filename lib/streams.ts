/**
 * Streams over an open file: node's own `ReadStream` and `WriteStream`, whose calls go to a
 * `FileHandle` instead of a descriptor. So options, events and errors are node's.
 *
 * Invariants:
 * - A stream holds one chunk in flight; a file of any size passes through a constant of memory.
 * - A stream ends its file once, unless `autoClose` is false.
 */
import * as fs from 'node:fs'
import type { CreateReadStreamOptions, CreateWriteStreamOptions } from 'node:fs/promises'
import type { FileHandle } from './file-handle.js'

/** Bytes of one read, and of what a write stream gathers, unless the caller says otherwise. */
const STREAM_CHUNK_BYTES = 512 * 1024

/** Opens the file when the stream starts. */
export type OpenHandle = () => Promise<FileHandle>

type Done<T extends unknown[]> = (error: NodeJS.ErrnoException | null, ...values: T) => void

/** Settles a callback with a promise; a callback's own error is not taken for the promise's. */
function settle<T>(promise: Promise<T>, done: (error: Error | null, value?: T) => void): void {
  promise.then(
    value => {
      process.nextTick(done, null, value)
    },
    (error: unknown) => {
      process.nextTick(done, error)
    },
  )
}

/** The part of `node:fs` that its streams call. */
function streamCalls(open: OpenHandle) {
  let handle: FileHandle | undefined
  const opened = (): FileHandle => {
    if (handle === undefined) throw new Error('the stream uses its file before it opened it')
    return handle
  }
  return {
    open(_path: string, _flags: string, _mode: number, done: Done<[fd?: number]>): void {
      const start = async () => {
        handle = await open()
        return handle.fd
      }
      settle(start(), done)
    },
    read(
      _fd: number,
      buffer: Buffer,
      offset: number,
      length: number,
      position: number | null | undefined,
      done: Done<[count?: number, buffer?: Buffer]>,
    ): void {
      settle(opened().read(buffer, offset, length, position ?? null), (error, result) => {
        done(error, result?.bytesRead, buffer)
      })
    },
    write(
      _fd: number,
      buffer: Buffer,
      offset: number,
      length: number,
      position: number | null | undefined,
      done: Done<[count?: number, buffer?: Buffer]>,
    ): void {
      settle(opened().write(buffer, offset, length, position ?? null), (error, result) => {
        done(error, result?.bytesWritten, buffer)
      })
    },
    writev(
      _fd: number,
      buffers: readonly NodeJS.ArrayBufferView[],
      position: number | null | undefined,
      done: Done<[count?: number, buffers?: readonly NodeJS.ArrayBufferView[]]>,
    ): void {
      const whole = gathered(buffers)
      settle(opened().write(whole, 0, whole.byteLength, position ?? null), (error, result) => {
        done(error, result?.bytesWritten, buffers)
      })
    },
    fsync(_fd: number, done: Done<[]>): void {
      settle(opened().sync(), done)
    },
    close(_fd: number, done: Done<[]>): void {
      settle(handle === undefined ? Promise.resolve() : handle.close(), done)
    },
  }
}

/** One piece of memory for many: one write costs less than its copy saves. */
function gathered(buffers: readonly NodeJS.ArrayBufferView[]): Buffer {
  return Buffer.concat(
    buffers.map(view => Buffer.from(view.buffer, view.byteOffset, view.byteLength)),
  )
}

/**
 * A stream that reads.
 *
 * @param path - What the stream shows as its path.
 * @param open - Opens the file.
 * @param options - As node's; chunks are larger unless `highWaterMark` says otherwise.
 */
export function readStream(
  path: string,
  open: OpenHandle,
  options: CreateReadStreamOptions | undefined,
): fs.ReadStream {
  const merged = { highWaterMark: STREAM_CHUNK_BYTES, ...options, fs: streamCalls(open) }
  // The types know the callbacks with required values only.
  return fs.createReadStream(path, merged as unknown as Parameters<typeof fs.createReadStream>[1])
}

/**
 * A stream that writes.
 *
 * @param path - What the stream shows as its path.
 * @param open - Opens the file.
 * @param options - As node's; more is gathered unless `highWaterMark` says otherwise.
 */
export function writeStream(
  path: string,
  open: OpenHandle,
  options: CreateWriteStreamOptions | undefined,
): fs.WriteStream {
  const merged = { highWaterMark: STREAM_CHUNK_BYTES, ...options, fs: streamCalls(open) }
  return fs.createWriteStream(path, merged as unknown as Parameters<typeof fs.createWriteStream>[1])
}
