/** What do a snapshot and a clone cost, and does the number of files matter? */
import type { Store } from '../lib/index.js'
import { Checksum } from './harness/payload.js'
import { figure, seconds } from './harness/result.js'
import type { Figure } from './harness/result.js'
import type { Sizes } from './harness/options.js'
import { diskBytes } from './harness/workspace.js'

const FILES_PER_DIRECTORY = 1000

/** Snapshots and clones of each kind that are timed. */
const REPEATS = 21

/** Takes snapshots and clones of trees of several sizes in one store. */
export async function snapshots(store: Store, dir: string, sizes: Sizes): Promise<Figure[]> {
  const figures: Figure[] = []
  for (const fileCount of sizes.snapshotFileCounts) {
    const path = `/snapshots-${String(fileCount)}`
    await populate(store, path, fileCount)
    await store.sync()
    figures.push(...(await measure(store, dir, path, fileCount)))
  }
  return figures
}

async function populate(store: Store, path: string, fileCount: number): Promise<void> {
  await store.createVolume(path)
  for (let index = 0; index < fileCount; index++) {
    const directory = `${path}/${String(Math.floor(index / FILES_PER_DIRECTORY))}`
    if (index % FILES_PER_DIRECTORY === 0) await store.fs.mkdir(directory, { recursive: true })
    await store.fs.writeFile(`${directory}/file-${String(index)}`, `file ${String(index)}`)
  }
}

async function measure(
  store: Store,
  dir: string,
  path: string,
  fileCount: number,
): Promise<Figure[]> {
  const before = await diskBytes(dir)
  const [taken, synced, cloned]: [number[], number[], number[]] = [[], [], []]
  for (let run = 0; run < REPEATS; run++) {
    // A change between any two snapshots, so that none is the same as the one before.
    await store.fs.writeFile(`${path}/0/file-0`, `run ${String(run)}`)
    taken.push(1000 * (await seconds(() => store.snapshot(path, `s${String(run)}`))))
    synced.push(1000 * (await seconds(() => store.sync())))
    const name = `${path}-clone-${String(run)}`
    cloned.push(1000 * (await seconds(() => store.clone(path, `s${String(run)}`, name))))
  }
  const grown = (await diskBytes(dir)) - before
  const checksum = await digestOf(store, `${path}-clone-${String(REPEATS - 1)}`, fileCount)
  const common = { question: 'snapshots', subject: 'library', unit: 'ms', checksum }
  const of = `of ${fileCount.toLocaleString('en-US')} files`
  return [
    figure({ ...common, work: `snapshot ${of}`, durability: 'acknowledged', samples: taken }),
    figure({ ...common, work: `flush after it ${of}`, durability: 'synced', samples: synced }),
    figure({ ...common, work: `clone ${of}`, durability: 'acknowledged', samples: cloned }),
    figure({
      ...common,
      work: `disk for ${String(REPEATS)} snapshots and clones ${of}`,
      unit: 'MiB',
      durability: 'acknowledged',
      samples: [grown / (1024 * 1024)],
    }),
  ]
}

/** Reads a sample of the clone's files: its bytes are those of the snapshot. */
async function digestOf(store: Store, path: string, fileCount: number): Promise<string> {
  const checksum = new Checksum()
  const step = Math.max(1, Math.floor(fileCount / 100))
  for (let index = 0; index < fileCount; index += step) {
    const directory = `${path}/${String(Math.floor(index / FILES_PER_DIRECTORY))}`
    checksum.add(await store.fs.readFile(`${directory}/file-${String(index)}`))
  }
  return checksum.digest()
}
