/**
 * Appends blocks to files the way a database writes its log: blocking calls on a thread of its own.
 *
 * Invariants:
 * - Calls block the thread that makes them: no event loop and no thread pool is part of a latency.
 * - Block number `index` of every file holds the same bytes.
 */
import { once } from 'node:events'
import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs'
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads'
import { smallFile } from './payload.js'
import { seconds } from './result.js'

/** Bytes of one append. */
export const BLOCK_BYTES = 4096

/**
 * Appends `count` blocks to each of `paths` in turn, with an fsync after each; the file that goes
 * first changes each time. Returns the latencies in microseconds, one list per path.
 */
export function appendSynced(paths: readonly string[], count: number): number[][] {
  const files = paths.map(path => openSync(path, 'a'))
  const latencies: number[][] = paths.map(() => [])
  try {
    for (let index = 0; index < count; index++) {
      const block = smallFile(index, BLOCK_BYTES)
      for (let turn = 0; turn < files.length; turn++) {
        const which = (index + turn) % files.length
        const file = files[which] ?? -1
        const start = process.hrtime.bigint()
        writeSync(file, block)
        fsyncSync(file)
        latencies[which]?.push(Number(process.hrtime.bigint() - start) / 1e3)
      }
    }
  } finally {
    files.forEach(closeSync)
  }
  return latencies
}

/** What a thread is to do. */
interface Task {
  readonly path: string
  readonly count: number
  /** Not 0 once all may begin. */
  readonly gate: Int32Array
}

/** Has one thread per path append `count` blocks with an fsync each. Returns the seconds it took. */
export async function appendConcurrently(paths: readonly string[], count: number): Promise<number> {
  const gate = new Int32Array(new SharedArrayBuffer(4))
  const threads = paths.map(path => {
    const task: Task = { path, count, gate }
    return new Worker(new URL(import.meta.url), { workerData: task })
  })
  const said = (): Promise<unknown> => Promise.all(threads.map(thread => once(thread, 'message')))
  await said()
  const finished = said()
  return await seconds(async () => {
    Atomics.store(gate, 0, 1)
    Atomics.notify(gate, 0)
    await finished
  })
}

function work({ path, count, gate }: Task): void {
  parentPort?.postMessage('ready')
  Atomics.wait(gate, 0, 0)
  appendSynced([path], count)
  parentPort?.postMessage('done')
}

if (!isMainThread) work(workerData as Task)
