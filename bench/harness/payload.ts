/**
 * Bytes to write: reproducible, incompressible and without repetition.
 *
 * Invariant: the same index gives the same bytes in every run and for every subject.
 */
import { createHash } from 'node:crypto'

/** Bytes of one piece. */
export const PIECE_BYTES = 1024 * 1024

const PATTERN = makePattern()

function makePattern(): Buffer {
  const words = new Uint32Array(PIECE_BYTES / 4)
  let state = 0x9e3779b9
  for (let index = 0; index < words.length; index++) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    words[index] = state
  }
  return Buffer.from(words.buffer)
}

/** Fills `into` (one piece) with piece number `index`: every 4 KiB of it differs from all others. */
export function fillPiece(into: Buffer, index: number): void {
  PATTERN.copy(into)
  for (let offset = 0; offset < into.length; offset += 4096) into.writeUInt32LE(index, offset)
}

/** The bytes of small file number `index`. */
export function smallFile(index: number, size: number): Buffer {
  const bytes = Buffer.from(PATTERN.subarray(0, size))
  bytes.writeUInt32LE(index, 0)
  return bytes
}

/** Collects what a piece of work left behind, for its checksum. */
export class Checksum {
  readonly #hash = createHash('sha256')

  /** Adds bytes or a text. */
  add(part: Uint8Array | string): void {
    this.#hash.update(part)
  }

  /** The digest, in hexadecimal. */
  digest(): string {
    return this.#hash.digest('hex')
  }
}
