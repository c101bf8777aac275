/** What a bench run measures and how large, from the command line. */
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

/** How large the work is. */
export interface Sizes {
  readonly runs: number
  readonly fileBytes: number
  readonly fileCount: number
  readonly syncedFileCount: number
  readonly snapshotFileCounts: readonly number[]
  readonly memoryBytes: number
  readonly hadoopBytes: number
  readonly appendCount: number
  readonly unsyncedWriteCount: number
}

/** A bench run's settings. */
export interface BenchOptions {
  readonly scale: 'tiny' | 'quick' | 'full'
  readonly sizes: Sizes
  /** Questions to ask; empty means all. */
  readonly only: readonly string[]
  /** Where stores and plain files lie, side by side. */
  readonly directory: string
  /** Where the JSON goes. */
  readonly results: string
  readonly json: boolean
}

const MIB = 1024 * 1024

const SIZES: Readonly<Record<BenchOptions['scale'], Sizes>> = {
  tiny: {
    runs: 1,
    fileBytes: 4 * MIB,
    fileCount: 50,
    syncedFileCount: 20,
    snapshotFileCounts: [10, 200],
    memoryBytes: 16 * MIB,
    hadoopBytes: 8 * MIB,
    appendCount: 64,
    unsyncedWriteCount: 200,
  },
  quick: {
    runs: 3,
    fileBytes: 512 * MIB,
    fileCount: 5_000,
    syncedFileCount: 1_000,
    snapshotFileCounts: [100, 100_000],
    memoryBytes: 1024 * MIB,
    hadoopBytes: 1024 * MIB,
    appendCount: 2_000,
    unsyncedWriteCount: 20_000,
  },
  full: {
    runs: 5,
    fileBytes: 2048 * MIB,
    fileCount: 50_000,
    syncedFileCount: 5_000,
    snapshotFileCounts: [100, 10_000, 100_000, 1_000_000],
    memoryBytes: 4096 * MIB,
    hadoopBytes: 1024 * MIB,
    appendCount: 10_000,
    unsyncedWriteCount: 100_000,
  },
}

/** What `--help` prints. */
export const USAGE = `npm run bench -- [--quick | --tiny] [--only NAME,...] [--dir PATH] [--results PATH] [--json]

  --quick      small but real sizes, medians of three
  --tiny       seconds; what the test run does
  --only       questions to ask: sequential, creation, snapshots, memory, durability, hadoop
  --dir        where the store and the plain files lie, side by side (default: the system's temporary directory)
  --results    directory for the results as JSON (default: bench/results)
  --json       print the results as JSON too`

/**
 * Reads the command line.
 *
 * @throws TypeError for an option that does not exist.
 */
export function parseOptions(words: readonly string[]): BenchOptions | 'help' {
  const { values } = parseArgs({
    args: [...words],
    options: {
      quick: { type: 'boolean', default: false },
      tiny: { type: 'boolean', default: false },
      only: { type: 'string', default: '' },
      dir: { type: 'string', default: tmpdir() },
      results: { type: 'string', default: join(projectDirectory(), 'bench', 'results') },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return 'help'
  const scale = values.tiny ? 'tiny' : values.quick ? 'quick' : 'full'
  return {
    scale,
    sizes: SIZES[scale],
    only: values.only.split(',').filter(name => name !== ''),
    directory: values.dir,
    results: values.results,
    json: values.json,
  }
}

/** The checkout, seen from where this file is compiled to (`dist/bench/harness`). */
function projectDirectory(): string {
  return fileURLToPath(new URL('../../../', import.meta.url))
}
