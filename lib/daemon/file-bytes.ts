/**
 * Streams between a native file and chunks of bytes.
 *
 * Invariants:
 * - A stream holds a fixed number of buffers of `STEP_BYTES`, whatever the file's size.
 * - A buffer that the native side reads or fills is not touched until its promise has settled.
 * - Writes go to aligned multiples of `STEP_BYTES`, so that each makes whole chunks.
 */
import { guardAsync } from '../errors.js'
import type { NativeFile } from '../native.js'

/** Bytes of one read or write: the size at which the store cuts chunks. */
export const STEP_BYTES = 1024 * 1024

/**
 * The bytes of `file` from its start to its end, reading one step ahead. Closes the file when the
 * iteration ends, in whatever way.
 */
export async function* readBytes(file: NativeFile, path: string): AsyncGenerator<Uint8Array, void> {
  const context = { syscall: 'read', path }
  let ahead: Promise<Uint8Array> | undefined
  try {
    let position = 0
    ahead = stepAhead(file, position)
    for (;;) {
      const chunk = await guardAsync(context, () => ahead as Promise<Uint8Array>)
      ahead = undefined
      if (chunk.length === 0) return
      position += chunk.length
      ahead = stepAhead(file, position)
      yield chunk
    }
  } finally {
    // A reader that left early leaves a step under way, whose buffer must not go before its file.
    await ahead?.then(ignore, ignore)
    file.close()
  }
}

function ignore(): void {
  // The reader has what it wanted: neither the bytes nor an error of the step ahead matter.
}

/** A step whose failure waits for whoever asks for it, however long that takes. */
function stepAhead(file: NativeFile, position: number): Promise<Uint8Array> {
  const step = readStep(file, position)
  step.catch(ignore)
  return step
}

async function readStep(file: NativeFile, position: number): Promise<Uint8Array> {
  const buffer = Buffer.allocUnsafeSlow(STEP_BYTES)
  const count = await file.read(buffer, position)
  return buffer.subarray(0, count)
}

/**
 * Writes `source` to `file` from its start; resolves to the bytes written. Two buffers take turns:
 * one is filled while the other is written.
 */
export async function writeBytes(
  file: NativeFile,
  path: string,
  source: AsyncIterable<Uint8Array>,
): Promise<number> {
  const writer = new StepWriter(file, path)
  try {
    for await (const chunk of source) await writer.add(chunk)
    return await writer.end()
  } finally {
    await writer.settle()
  }
}

class StepWriter {
  readonly #file: NativeFile
  readonly #context: { syscall: string; path: string }
  #filling = Buffer.allocUnsafeSlow(STEP_BYTES)
  #spare: Buffer<ArrayBuffer> | undefined
  #filled = 0
  #position = 0
  #writing: Promise<unknown> | undefined

  constructor(file: NativeFile, path: string) {
    this.#file = file
    this.#context = { syscall: 'write', path }
  }

  async add(chunk: Uint8Array): Promise<void> {
    let rest = chunk
    while (rest.length > 0) {
      const count = Math.min(rest.length, STEP_BYTES - this.#filled)
      this.#filling.set(rest.subarray(0, count), this.#filled)
      this.#filled += count
      rest = rest.subarray(count)
      if (this.#filled === STEP_BYTES) await this.#flush()
    }
  }

  async end(): Promise<number> {
    if (this.#filled > 0) await this.#flush()
    await this.#written()
    return this.#position
  }

  /** Waits for a write that is still under way after a failure elsewhere. */
  async settle(): Promise<void> {
    await this.#writing?.then(ignore, ignore)
  }

  async #flush(): Promise<void> {
    await this.#written()
    const full = this.#filling
    const write = this.#file.write(full.subarray(0, this.#filled), this.#position)
    // A rejection is seen by whoever waits next; until then it must not count as unhandled.
    write.catch(ignore)
    this.#writing = write
    this.#position += this.#filled
    this.#filled = 0
    this.#filling = this.#spare ?? Buffer.allocUnsafeSlow(STEP_BYTES)
    this.#spare = full
  }

  async #written(): Promise<void> {
    const writing = this.#writing
    if (writing === undefined) return
    await guardAsync(this.#context, () => writing)
    this.#writing = undefined
  }
}
