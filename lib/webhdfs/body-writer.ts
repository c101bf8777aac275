/**
 * Writes an upload into a file: gathers network pieces into large, aligned writes.
 *
 * Invariants:
 * - At most two buffers of 1 MiB per upload, whatever its size; the socket waits while both are full.
 * - Every write but the first and the last ends on a multiple of 1 MiB of the file's offset.
 * - After a broken upload the file holds exactly the bytes that arrived, in order.
 */
import type { NativeFile } from '../native.js'
import { BUFFER_BYTES, giveBuffer, takeBuffer } from './buffer-pool.js'

/** Writes end on multiples of this. */
export const WRITE_BYTES = BUFFER_BYTES

/** A write up to this size is done at once: handing it to another thread costs more. */
const DIRECT_BYTES_MAX = 64 * 1024

/** One upload into one open file. */
export class BodyWriter {
  readonly #file: NativeFile
  readonly #bufferBytes: number
  /** File offset of the first byte of the buffer being filled. */
  #offset: number
  #filling: Buffer | undefined
  #spare: Buffer | undefined
  #filled = 0
  /** The write under way; its buffer is `#spare`. */
  #writing: Promise<unknown> | undefined

  /**
   * @param file - Open for writing; stays open.
   * @param offset - Where the first byte goes.
   * @param expectedBytes - How many bytes will come, if that is known; they may be more.
   */
  constructor(file: NativeFile, offset: number, expectedBytes = WRITE_BYTES) {
    this.#file = file
    this.#offset = offset
    this.#bufferBytes = Math.max(1, Math.min(expectedBytes, WRITE_BYTES))
  }

  /** Takes one piece; resolves when it is copied, and so when the next may come. */
  async take(piece: Uint8Array): Promise<void> {
    let taken = 0
    while (taken < piece.length) {
      this.#filling ??= takeBuffer(this.#bufferBytes)
      const room = this.#room(this.#filling)
      const count = Math.min(room, piece.length - taken)
      this.#filling.set(piece.subarray(taken, taken + count), this.#filled)
      this.#filled += count
      taken += count
      if (count === room) await this.#start()
    }
  }

  /** Writes what is left and waits for all writes; returns the offset after the last byte. */
  async finish(): Promise<number> {
    await this.#start()
    await this.#writing
    giveBuffer(this.#filling)
    giveBuffer(this.#spare)
    this.#filling = this.#spare = undefined
    return this.#offset
  }

  #room(filling: Buffer): number {
    const toBoundary = WRITE_BYTES - (this.#offset % WRITE_BYTES)
    return Math.min(filling.length, toBoundary) - this.#filled
  }

  async #start(): Promise<void> {
    await this.#writing
    this.#writing = undefined
    if (this.#filling === undefined || this.#filled === 0) return
    const bytes = this.#filling.subarray(0, this.#filled)
    if (bytes.length <= DIRECT_BYTES_MAX) {
      this.#file.writeSync(bytes, this.#offset)
    } else {
      this.#writing = this.#file.write(bytes, this.#offset)
      // The failure is seen at the next await; until then nobody may call it unhandled.
      this.#writing.catch(() => undefined)
      ;[this.#filling, this.#spare] = [this.#spare, this.#filling]
    }
    this.#offset += this.#filled
    this.#filled = 0
  }
}

/**
 * Copies a body into a file from `offset` on; resolves to the bytes that were written.
 *
 * @param expectedBytes - The body's announced length, if it has one.
 */
export async function writeBody(
  body: AsyncIterable<Uint8Array>,
  file: NativeFile,
  offset: number,
  expectedBytes?: number,
): Promise<number> {
  const writer = new BodyWriter(file, offset, expectedBytes)
  try {
    for await (const piece of body) await writer.take(piece)
  } catch (error) {
    // What arrived stays, as in HDFS; the client learns of the failure that came first.
    await writer.finish().catch(() => undefined)
    throw error
  }
  return (await writer.finish()) - offset
}
