/** How many small files are created a second: one after the other, and sixteen at a time synced? */
import { Checksum, smallFile } from './harness/payload.js'
import { figure, seconds } from './harness/result.js'
import type { Figure } from './harness/result.js'
import type { Subject } from './harness/subject.js'
import type { Sizes } from './harness/options.js'

const FILE_BYTES = 4096
const FILES_PER_DIRECTORY = 1000
const WORKERS = 16

/** One way of creating files. */
interface Work {
  readonly count: number
  readonly workers: number
}

/** What one subject was seen to do. */
interface Seen {
  readonly subject: Subject
  readonly samples: number[]
  readonly checksum: Checksum
}

/** Creates files of 4 KiB; the subjects take turns, so that all see the same machine. */
export async function creation(subjects: readonly Subject[], sizes: Sizes): Promise<Figure[]> {
  const figures: Figure[] = []
  for (const work of [
    { count: sizes.fileCount, workers: 1 },
    { count: sizes.syncedFileCount, workers: WORKERS },
  ]) {
    const all = subjects.map(subject => ({ subject, samples: [], checksum: new Checksum() }))
    for (let run = 0; run < sizes.runs; run++) {
      for (const seen of all) await create(seen, work, run === sizes.runs - 1)
    }
    figures.push(...all.map(seen => figureOf(seen, work)))
  }
  return figures
}

async function create(seen: Seen, { count, workers }: Work, isLast: boolean): Promise<void> {
  const { subject } = seen
  const root = 'creation'
  for (let index = 0; index < count; index += FILES_PER_DIRECTORY) {
    await subject.makeDirectory(directoryOf(root, index))
  }
  seen.samples.push(count / (await seconds(() => createAll(subject, root, count, workers))))
  if (isLast) await check(subject, root, count, seen.checksum)
  await subject.remove(root)
}

function figureOf({ subject, samples, checksum }: Seen, { count, workers }: Work): Figure {
  const isSynced = workers > 1
  const files = `create ${count.toLocaleString('en-US')} files of 4 KiB`
  return figure({
    question: 'creation',
    work: isSynced ? `${files}, each synced, ${String(workers)} at a time` : `${files}, one by one`,
    subject: subject.name,
    unit: 'files/s',
    durability: isSynced ? 'synced' : subject.plainDurability,
    samples,
    checksum: checksum.digest(),
  })
}

async function createAll(
  subject: Subject,
  root: string,
  count: number,
  workers: number,
): Promise<void> {
  let next = 0
  const work = async (): Promise<void> => {
    while (next < count) {
      const index = next++
      await subject.createFile(pathOf(root, index), smallFile(index, FILE_BYTES), workers > 1)
    }
  }
  await Promise.all(Array.from({ length: workers }, work))
}

async function check(
  subject: Subject,
  root: string,
  count: number,
  checksum: Checksum,
): Promise<void> {
  for (let index = 0; index < count; index++) {
    await subject.readPieces(pathOf(root, index), checksum)
  }
}

function directoryOf(root: string, index: number): string {
  return `${root}/${String(Math.floor(index / FILES_PER_DIRECTORY))}`
}

function pathOf(root: string, index: number): string {
  return `${directoryOf(root, index)}/file-${String(index)}`
}
