/**
 * What the command line prints: text for people, or with `--json` one JSON document.
 *
 * Invariants:
 * - Standard output carries results only; everything else goes to standard error.
 * - Long lists are printed as they come; nothing is held but one batch of rows.
 * - Progress appears only where standard error is a terminal.
 */
import { once } from 'node:events'
import { codeOf } from '../errors.js'

/** Rows that share their column widths. */
const BATCH_ROWS = 500
const PROGRESS_MS = 100

/** How a column of a table is set. */
export interface Column<T> {
  /** Its heading. */
  title: string
  /** Its text for a row. */
  text: (row: T) => string
  /** Numbers stand right. */
  right?: boolean
}

/** Prints results. */
export class Output {
  /** Whether `--json` was given. */
  readonly json: boolean

  /** @param json - Whether `--json` was given. */
  constructor(json: boolean) {
    this.json = json
  }

  /** Prints one result: `value` as JSON, or the lines that `human` makes of it. */
  async value(value: unknown, human: () => string): Promise<void> {
    await this.#line(this.json ? JSON.stringify(value, null, 2) : human())
  }

  /** Prints a list: a JSON array, or a table. Without rows people read `nothing`. */
  async list<T>(
    rows: AsyncIterable<T> | Iterable<T>,
    columns: Column<T>[],
    nothing: string,
  ): Promise<void> {
    if (this.json) await this.#array(rows)
    else await this.#table(rows, columns, nothing)
  }

  /** Writes bytes as they are. */
  async bytes(chunk: Uint8Array | string): Promise<void> {
    if (!process.stdout.write(chunk)) await once(process.stdout, 'drain')
  }

  async #array<T>(rows: AsyncIterable<T> | Iterable<T>): Promise<void> {
    let separator = '[\n'
    for await (const row of rows) {
      await this.bytes(`${separator}${JSON.stringify(row)}`)
      separator = ',\n'
    }
    await this.bytes(separator === '[\n' ? '[]\n' : '\n]\n')
  }

  async #table<T>(
    rows: AsyncIterable<T> | Iterable<T>,
    columns: Column<T>[],
    nothing: string,
  ): Promise<void> {
    let batch: string[][] = [columns.map(column => column.title)]
    let count = 0
    for await (const row of rows) {
      count += 1
      batch.push(columns.map(column => visible(column.text(row))))
      if (batch.length < BATCH_ROWS) continue
      await this.bytes(tableText(batch, columns))
      batch = []
    }
    if (count === 0) await this.#line(nothing)
    else await this.bytes(tableText(batch, columns))
  }

  async #line(text: string): Promise<void> {
    await this.bytes(`${text}\n`)
  }
}

function tableText<T>(rows: string[][], columns: Column<T>[]): string {
  const widths = columns.map((_, index) => Math.max(...rows.map(row => row[index]?.length ?? 0)))
  const line = (row: string[]): string =>
    row
      .map((text, index) => {
        const width = widths[index] ?? 0
        return columns[index]?.right === true ? text.padStart(width) : text.padEnd(width)
      })
      .join('  ')
      .trimEnd()
  return rows.map(row => `${line(row)}\n`).join('')
}

/** A name for a terminal: control characters are shown, not obeyed. */
export function visible(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, character => {
    return `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`
  })
}

/** A number of bytes for people: `1.5 GiB`. */
export function byteSize(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']
  let value = bytes
  let unit = 0
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024
    unit += 1
  }
  return `${unit === 0 ? String(value) : value.toFixed(1)} ${units[unit] ?? ''}`
}

/** `1 file`, `2 files`. */
export function plural(count: number, singular: string, several = `${singular}s`): string {
  return `${count} ${count === 1 ? singular : several}`
}

/** A time for people: whole seconds, UTC. */
export function shortTime(iso: string): string {
  return iso.replace(/T(\d\d:\d\d:\d\d).*$/, ' $1')
}

/** Prints a failure: one line, or JSON. Returns the exit status. */
export function printFailure(error: unknown, json: boolean): number {
  const { code, message } = describe(error)
  const text = json
    ? JSON.stringify({ error: { code, message } })
    : visible(`lockstep: ${code}: ${message}`)
  process.stderr.write(`${text}\n`)
  return code === USAGE_CODE ? 2 : 1
}

/** The code of an error in how a command was called. */
export const USAGE_CODE = 'ERR_LOCKSTEP_USAGE'

function describe(error: unknown): { code: string; message: string } {
  if (!(error instanceof Error)) return { code: 'ERR_LOCKSTEP_FAILED', message: String(error) }
  const code = codeOf(error) ?? 'ERR_LOCKSTEP_FAILED'
  const message = error.message === '' ? error.name : error.message
  return {
    code,
    message: message.startsWith(`${code}: `) ? message.slice(code.length + 2) : message,
  }
}

/** Counts files and bytes, and shows them on a terminal while they grow. */
export class Progress {
  files = 0
  bytes = 0
  readonly #what: string
  readonly #started = performance.now()
  readonly #timer: NodeJS.Timeout | undefined

  /**
   * @param what - What is being done: `put`, `get`.
   * @param quiet - Show nothing.
   */
  constructor(what: string, quiet: boolean) {
    this.#what = what
    if (quiet || !process.stderr.isTTY) return
    this.#timer = setInterval(() => {
      process.stderr.write(`\r\u001b[K${this.#text()}`)
    }, PROGRESS_MS)
  }

  /** Seconds since it began. */
  seconds(): number {
    return Math.round(performance.now() - this.#started) / 1000
  }

  /** Passes chunks on and counts them. */
  async *count(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void> {
    for await (const chunk of chunks) {
      this.bytes += chunk.length
      yield chunk
    }
  }

  /** Clears the line on the terminal. */
  end(): void {
    if (this.#timer === undefined) return
    clearInterval(this.#timer)
    process.stderr.write('\r\u001b[K')
  }

  #text(): string {
    const seconds = Math.max(this.seconds(), 0.001)
    const rate = byteSize(Math.round(this.bytes / seconds))
    return `${this.#what}: ${plural(this.files, 'file')}, ${byteSize(this.bytes)}, ${rate}/s`
  }
}

/** Shows on a terminal how much of a known amount of bytes is done. */
export class Share {
  readonly #what: string
  readonly #quiet: boolean
  readonly #started = performance.now()
  #shown = 0

  /**
   * @param what - What is being done: `check`, `scrub`.
   * @param quiet - Show nothing.
   */
  constructor(what: string, quiet: boolean) {
    this.#what = what
    this.#quiet = quiet || !process.stderr.isTTY
  }

  /** Shows how far it is, at most ten times a second. */
  show(state: { doneBytes: number; totalBytes: number; problemCount: number }): void {
    const now = performance.now()
    if (this.#quiet || now - this.#shown < PROGRESS_MS) return
    this.#shown = now
    const rate = state.doneBytes / Math.max((now - this.#started) / 1000, 0.001)
    const amount = `${byteSize(state.doneBytes)} of ${byteSize(state.totalBytes)}`
    const text = `${this.#what}: ${amount}, ${byteSize(rate)}/s, ${plural(state.problemCount, 'problem')}`
    process.stderr.write(`\r\u001b[K${text}`)
  }

  /** Removes what is shown. */
  clear(): void {
    if (this.#shown > 0) process.stderr.write('\r\u001b[K')
  }
}
