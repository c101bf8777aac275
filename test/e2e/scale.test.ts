/**
 * Snapshots and clones copy nothing and take the same time whatever the size: 100 files beside
 * 100,000 files, in one store each, through the library.
 *
 * Times are printed. What is asserted is that the large one costs no more than a generous multiple
 * of the small one, and that the store's directory does not grow with the number of files.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Store } from '../../lib/index.js'
import { diskUsage } from './data-set.js'

const ROUNDS = 15
const FILES_A_DIRECTORY = 1000
const GROWTH_BYTES_MAX = 8 << 20
const TIME_FACTOR_MAX = 20
const TIME_SLACK_MS = 5

interface Measured {
  files: number
  snapshotMs: number
  cloneMs: number
  grownBytes: number
}

const directory = await mkdtemp(join(tmpdir(), 'lockstep-scale-'))
t.teardown(() => rm(directory, { recursive: true, force: true }))

async function makeFiles(store: Store, count: number): Promise<void> {
  for (let first = 0; first < count; first += FILES_A_DIRECTORY) {
    const parent = `/data/d${String(first / FILES_A_DIRECTORY)}`
    await store.fs.mkdir(parent, { recursive: true })
    const names = Array.from({ length: Math.min(FILES_A_DIRECTORY, count - first) }, (_, i) => i)
    await Promise.all(
      names.map(name => store.fs.writeFile(`${parent}/f${String(name)}`, `file ${String(name)}`)),
    )
  }
  await store.sync()
}

function median(times: number[]): number {
  return times.toSorted((a, b) => a - b)[Math.floor(times.length / 2)] ?? 0
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = process.hrtime.bigint()
  await work()
  return Number(process.hrtime.bigint() - start) / 1e6
}

async function measure(t: Test, files: number): Promise<Measured> {
  const path = join(directory, String(files))
  const store = await Store.open(path, { create: true })
  try {
    await makeFiles(store, files)
    const before = await diskUsage(path)
    const snapshots: number[] = []
    const clones: number[] = []
    for (let round = 0; round < ROUNDS; round += 1) {
      // Each snapshot pins a state of its own.
      await store.fs.writeFile('/data/d0/f0', `round ${String(round)}`)
      await store.sync()
      const name = `s${String(round)}`
      snapshots.push(await timed(() => store.snapshot('/data', name)))
      clones.push(await timed(() => store.clone('/data', name, `/clone${String(round)}`)))
    }
    await store.fs.writeFile('/clone3/d0/f0', 'written in the clone')
    await store.sync()
    const grownBytes = (await diskUsage(path)) - before
    t.equal(await store.fs.readFile('/clone3/d0/f0', 'utf8'), 'written in the clone')
    t.equal(await store.fs.readFile('/data/.snapshot/s3/d0/f0', 'utf8'), 'round 3')
    t.equal(await store.fs.readFile('/clone4/d0/f0', 'utf8'), 'round 4')
    return { files, snapshotMs: median(snapshots), cloneMs: median(clones), grownBytes }
  } finally {
    await store.close()
  }
}

await t.test('a snapshot and a clone of 100 and of 100,000 files', async t => {
  const small = await measure(t, 100)
  const large = await measure(t, 100_000)
  for (const { files, snapshotMs, cloneMs, grownBytes } of [small, large]) {
    const grown = `${String(ROUNDS)} of each: du grew by ${(grownBytes / 1e6).toFixed(2)} MB`
    t.comment(
      `${String(files)} files: snapshot ${snapshotMs.toFixed(3)} ms, ` +
        `clone ${cloneMs.toFixed(3)} ms (medians); ${grown}`,
    )
  }
  t.ok(large.snapshotMs <= small.snapshotMs * TIME_FACTOR_MAX + TIME_SLACK_MS, 'snapshot: constant')
  t.ok(large.cloneMs <= small.cloneMs * TIME_FACTOR_MAX + TIME_SLACK_MS, 'clone: constant')
  t.ok(large.grownBytes <= small.grownBytes + GROWTH_BYTES_MAX, 'nothing is copied')
})
