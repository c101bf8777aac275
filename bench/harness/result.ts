/**
 * Results of a bench run: one row per figure, printed as a table and kept as JSON.
 *
 * Invariant: no figure without the durability it was measured at and a checksum of the work.
 */
import { mkdir, writeFile } from 'node:fs/promises'
import { cpus, release, totalmem } from 'node:os'
import { join } from 'node:path'

/** What was promised when the clock stopped. */
export type Durability =
  /** The bytes are with the kernel or the daemon: a crash of the client loses nothing. */
  | 'acknowledged'
  /** On stable storage. */
  | 'synced'
  /** Nothing was written. */
  | 'read only'

/** One figure. */
export interface Figure {
  /** The question, `sequential` and so on. */
  readonly question: string
  /** What was done, in words. */
  readonly work: string
  /** What did it. */
  readonly subject: string
  readonly value: number
  readonly unit: string
  readonly durability: Durability
  /** Every single measurement, in the unit. */
  readonly samples: readonly number[]
  /** Over the bytes or names that the work left behind. */
  readonly checksum: string
}

/** The smallest sample that at least `rank` percent of all do not exceed; of 50 the median. */
export function percentile(samples: readonly number[], rank: number): number {
  const sorted = samples.toSorted((a, b) => a - b)
  return sorted[Math.ceil((sorted.length * rank) / 100) - 1] ?? Number.NaN
}

/** A figure whose value is the median of its samples. */
export function figure(fields: Omit<Figure, 'value'>): Figure {
  return { ...fields, value: percentile(fields.samples, 50) }
}

/** Seconds that `work` takes. */
export async function seconds(work: () => unknown): Promise<number> {
  const start = process.hrtime.bigint()
  await work()
  return Number(process.hrtime.bigint() - start) / 1e9
}

function number(value: number): string {
  if (value >= 1000) return Math.round(value).toLocaleString('en-US')
  return value.toPrecision(3)
}

/** The figures as a table for people; `x plain` compares with the same work on the plain directory. */
export function table(figures: readonly Figure[]): string {
  const heads = ['work', 'subject', 'value', 'unit', 'x plain', 'durability', 'checksum']
  const rows = figures.map(row => [
    row.work,
    row.subject,
    number(row.value),
    row.unit,
    ratio(row, figures),
    row.durability,
    row.checksum.slice(0, 12),
  ])
  const widths = heads.map((head, column) =>
    Math.max(head.length, ...rows.map(row => (row[column] ?? '').length)),
  )
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd()
  return [line(heads), line(widths.map(width => '-'.repeat(width))), ...rows.map(line)].join('\n')
}

function ratio(row: Figure, figures: readonly Figure[]): string {
  if (row.subject === PLAIN || row.unit === 'MiB') return ''
  const plain = figures.find(other => other.work === row.work && other.subject === PLAIN)
  if (plain === undefined) return ''
  // Times are better when smaller, rates when larger: more than 1 is always better than plain.
  const better = /^[mu]?s$/.test(row.unit) ? plain.value / row.value : row.value / plain.value
  return better.toFixed(2)
}

/** The subject that every other one is compared with. */
export const PLAIN = 'plain directory'

/** Writes all figures and the machine they come from; returns the file's path. */
export async function save(
  directory: string,
  scale: string,
  figures: readonly Figure[],
): Promise<string> {
  await mkdir(directory, { recursive: true })
  const now = new Date().toISOString()
  const file = join(directory, `${now.replaceAll(/[:.]/g, '-')}-${scale}.json`)
  const machine = {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryBytes: totalmem(),
    kernel: release(),
    node: process.version,
  }
  await writeFile(file, `${JSON.stringify({ date: now, scale, machine, figures }, null, 2)}\n`)
  return file
}
