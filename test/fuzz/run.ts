/**
 * Runs fuzz targets: first what ever failed (`test/fuzz/corpus/TARGET/`), then changed seeds for a time.
 *
 * `LOCKSTEP_FUZZ_SEED` replays a run, `LOCKSTEP_FUZZ_SECONDS` is the time for each target. What fails
 * is told in base64; keep it in the corpus.
 */
import { randomBytes } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import type { Test } from 'tap'
import { root } from '../support/paths.js'
import { mutate, Random } from './mutate.js'

/** Something that takes strangers' bytes. */
export interface FuzzTarget {
  name: string
  /** Inputs that are right. */
  seeds: Buffer[]
  /** Rejects or throws if the input was not dealt with as it should be. */
  run(input: Buffer): Promise<void> | void
}

const CORPUS = join(root, 'test', 'fuzz', 'corpus')
/** Growth of the memory in use over a whole run that is no leak. */
const HEAP_BYTES_MAX = 256 * 1024 * 1024

/** Fuzzes `target` for `seconds`; the test fails on the first input that is not dealt with. */
export async function fuzz(t: Test, target: FuzzTarget, seconds: number): Promise<void> {
  const chosen = process.env['LOCKSTEP_FUZZ_SEED']
  const seed = chosen === undefined ? randomBytes(4).readUInt32LE() : Number(chosen)
  const time = Number(process.env['LOCKSTEP_FUZZ_SECONDS'] ?? seconds) * 1000
  const random = new Random(seed)
  let escaped: unknown
  const escape = (error: unknown): void => {
    escaped ??= error
  }
  process.on('unhandledRejection', escape)
  process.on('uncaughtException', escape)
  const before = process.memoryUsage()
  let count = 0
  try {
    const attempt = async (input: Buffer): Promise<void> => {
      try {
        await target.run(input)
        if (count % 64 === 0) await setImmediate()
        if (escaped !== undefined) throw new Error('an error escaped', { cause: escaped })
      } catch (error) {
        const text = `${target.name}: seed=${seed}, input (base64) ${input.toString('base64')}`
        throw new Error(text, { cause: error })
      }
    }
    for (const input of [...target.seeds, ...found(target.name)]) await attempt(input)
    for (const end = performance.now() + time; performance.now() < end; count++) {
      await attempt(mutate(random, target.seeds))
    }
  } finally {
    process.off('unhandledRejection', escape)
    process.off('uncaughtException', escape)
  }
  const { heapUsed, external } = process.memoryUsage()
  const grown = heapUsed + external - before.heapUsed - before.external
  t.ok(grown < HEAP_BYTES_MAX, `memory is bounded (${grown} bytes more)`)
  t.comment(`${target.name}: ${count} inputs, seed=${seed}`)
}

function found(name: string): Buffer[] {
  const folder = join(CORPUS, name)
  if (!existsSync(folder)) return []
  return readdirSync(folder).map(file => readFileSync(join(folder, file)))
}
