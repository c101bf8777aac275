/**
 * What does it cost that nothing acknowledged is lost? Appends with an fsync each, alone and by many
 * threads at once, and what an unsynced write costs the daemon.
 */
import { closeSync, constants, openSync, writeSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { BLOCK_BYTES, appendConcurrently, appendSynced } from './harness/appender.js'
import type { Daemon } from './harness/daemon.js'
import { Checksum, smallFile } from './harness/payload.js'
import { figure, percentile, seconds } from './harness/result.js'
import type { Figure } from './harness/result.js'
import type { FileSystemSubject } from './harness/subject.js'
import type { Sizes } from './harness/options.js'

const THREADS = 16
/** After this long a daemon that has nothing to do has committed what was written. */
const SETTLED_MS = 1500

/** The figures of appends on `subjects` (the plain directory and what is compared with it). */
export async function durability(
  subjects: readonly FileSystemSubject[],
  daemon: Daemon,
  sizes: Sizes,
): Promise<Figure[]> {
  const figures = [...(await latencies(subjects, sizes)), ...(await threads(subjects, sizes))]
  for (const subject of subjects) {
    const cpu = subject.root === daemon.ready.mount ? () => daemon.cpuSeconds() : undefined
    for (const order of ['in order', 'at random'] as const) {
      figures.push(...(await unsynced(subject, cpu, order, sizes)))
    }
  }
  return figures
}

/** One thread; the subjects take turns block by block, so that a slow disk is slow for all. */
async function latencies(
  subjects: readonly FileSystemSubject[],
  { appendCount }: Sizes,
): Promise<Figure[]> {
  const path = 'appended'
  const lists = appendSynced(
    subjects.map(subject => subject.pathOf(path)),
    appendCount,
  )
  const figures: Figure[] = []
  for (const [index, subject] of subjects.entries()) {
    const samples = lists[index] ?? []
    const common = {
      question: 'durability',
      subject: subject.name,
      unit: 'us',
      durability: 'synced' as const,
      samples,
      checksum: await checksumOf(subject, [path]),
    }
    for (const rank of [50, 99]) {
      const work = `append 4 KiB and fsync, p${String(rank)}`
      figures.push({ ...common, work, value: percentile(samples, rank) })
    }
    await subject.remove(path)
  }
  return figures
}

/** Many threads, a file each, against one. */
async function threads(
  subjects: readonly FileSystemSubject[],
  { runs, appendCount }: Sizes,
): Promise<Figure[]> {
  const count = Math.ceil(appendCount / THREADS)
  const figures: Figure[] = []
  for (const threadCount of [1, THREADS]) {
    const paths = Array.from({ length: threadCount }, (_, index) => `appended-${String(index)}`)
    const rates = subjects.map((): number[] => [])
    const checksums = subjects.map(() => '')
    for (let run = 0; run < runs; run++) {
      for (const [index, subject] of subjects.entries()) {
        const full = paths.map(path => subject.pathOf(path))
        rates[index]?.push((threadCount * count) / (await appendConcurrently(full, count)))
        checksums[index] = await checksumOf(subject, paths)
        for (const path of paths) await subject.remove(path)
      }
    }
    for (const [index, subject] of subjects.entries()) {
      figures.push(
        figure({
          question: 'durability',
          work: `append 4 KiB and fsync, ${String(threadCount)} thread${threadCount > 1 ? 's' : ''}`,
          subject: subject.name,
          unit: 'appends/s',
          durability: 'synced',
          samples: rates[index] ?? [],
          checksum: checksums[index] ?? '',
        }),
      )
    }
  }
  return figures
}

/** Plain writes of 4 KiB: time a write takes, and the processor time it costs the daemon. */
async function unsynced(
  subject: FileSystemSubject,
  cpuSeconds: (() => Promise<number>) | undefined,
  order: 'in order' | 'at random',
  { runs, unsyncedWriteCount }: Sizes,
): Promise<Figure[]> {
  const path = 'unsynced'
  const elapsed: number[] = []
  const cost: number[] = []
  const perWrite = (total: number): number => (total / unsyncedWriteCount) * 1e6
  write(subject.pathOf(path), unsyncedWriteCount, index => index)
  for (let run = 0; run < runs; run++) {
    if (order === 'in order') await subject.remove(path)
    await delay(cpuSeconds === undefined ? 0 : SETTLED_MS)
    const before = await cpuSeconds?.()
    const blockAt = order === 'in order' ? (index: number) => index : shuffle(unsyncedWriteCount)
    elapsed.push(
      perWrite(
        await seconds(() => {
          write(subject.pathOf(path), unsyncedWriteCount, blockAt)
        }),
      ),
    )
    if (cpuSeconds === undefined || before === undefined) continue
    // What the daemon does later belongs to the writes, too.
    await delay(SETTLED_MS)
    cost.push(perWrite((await cpuSeconds()) - before))
  }
  const common = {
    question: 'durability',
    subject: subject.name,
    unit: 'us',
    durability: 'acknowledged' as const,
    checksum: await checksumOf(subject, [path]),
  }
  await subject.remove(path)
  const work = `write 4 KiB ${order}`
  const figures = [figure({ ...common, work, samples: elapsed })]
  if (cost.length > 0) figures.push(figure({ ...common, work: `${work}, daemon`, samples: cost }))
  return figures
}

/** Writes `count` blocks to the places that `blockAt` says, with blocking calls. */
function write(path: string, count: number, blockAt: (index: number) => number): void {
  const file = openSync(path, constants.O_WRONLY | constants.O_CREAT)
  try {
    for (let index = 0; index < count; index++) {
      const at = blockAt(index)
      writeSync(file, smallFile(at, BLOCK_BYTES), 0, BLOCK_BYTES, at * BLOCK_BYTES)
    }
  } finally {
    closeSync(file)
  }
}

/** Visits each of `count` blocks once, out of order: the step is a prime. */
function shuffle(count: number): (index: number) => number {
  const step = 7_368_787
  return index => (index * step) % count
}

async function checksumOf(subject: FileSystemSubject, paths: readonly string[]): Promise<string> {
  const checksum = new Checksum()
  for (const path of paths) await subject.readPieces(path, checksum)
  return checksum.digest()
}
