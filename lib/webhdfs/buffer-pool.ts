/**
 * Large buffers that are used again: each costs the garbage collector dearly otherwise.
 *
 * Invariants:
 * - A buffer given back is used by nobody: no write to a file or a socket holds it any more. Who is
 *   not sure of that drops it instead.
 * - At most `FREE_COUNT_MAX` buffers are kept; small ones never are.
 */

/** Bytes of a large buffer. */
export const BUFFER_BYTES = 1024 * 1024

/** Below this size a buffer is made for the purpose. */
const SMALL_BYTES_MAX = 64 * 1024

const FREE_COUNT_MAX = 32

const free: Buffer[] = []

/** A buffer of at least `size` bytes, `BUFFER_BYTES` at most; its content is undefined. */
export function takeBuffer(size: number): Buffer {
  if (size <= SMALL_BYTES_MAX) return Buffer.allocUnsafeSlow(size)
  return free.pop() ?? Buffer.allocUnsafeSlow(BUFFER_BYTES)
}

/** Gives a buffer back. */
export function giveBuffer(buffer: Buffer | undefined): void {
  if (buffer?.length === BUFFER_BYTES && free.length < FREE_COUNT_MAX) free.push(buffer)
}
