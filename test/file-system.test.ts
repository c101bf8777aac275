/** The promises API, judged by `node:fs/promises`: the same operations must give the same answers. */
import * as fc from 'fast-check'
import { mkdirSync, rmSync } from 'node:fs'
import * as promises from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'tap'
import { FileSystem, Store } from '../lib/index.js'
import { temporaryDirectory } from './support/paths.js'
import { anyOperation, answerOf, storeSide, treeOf } from './support/two-sides.js'
import type { Operation, Side } from './support/two-sides.js'

const SEED = Number(process.env['LOCKSTEP_SEED'] ?? Date.now() & 0x7fff_ffff)
const RUNS = Number(process.env['LOCKSTEP_RUNS'] ?? 60)

/** A failure that names the operation and both answers. */
function difference(history: string[], node: unknown, ours: unknown): Error {
  const shown = [
    ...history.slice(-12),
    `node:  ${JSON.stringify(node)}`,
    `store: ${JSON.stringify(ours)}`,
  ]
  return new Error(`the sides differ after\n  ${shown.join('\n  ')}`)
}

async function compare(node: Side, ours: Side, operations: Operation[]): Promise<void> {
  const history: string[] = []
  for (const operation of operations) {
    history.push(operation.text)
    const expected = JSON.stringify(await answerOf(node, operation))
    const found = JSON.stringify(await answerOf(ours, operation))
    if (expected !== found) throw difference(history, expected, found)
  }
  const expected = JSON.stringify(await treeOf(node))
  const found = JSON.stringify(await treeOf(ours))
  if (expected !== found) throw difference(history, expected, found)
}

void test('random operations answer as node:fs does', async t => {
  const directory = temporaryDirectory(t)
  console.log(
    `seed=0x${SEED.toString(16)} replay: LOCKSTEP_SEED=${String(SEED)} npx tap dist/test/file-system.test.js`,
  )
  const store = await Store.open(join(directory, 'store'), { create: true })
  t.teardown(() => store.close())
  let count = 0
  const property = fc.asyncProperty(
    fc.array(anyOperation, { minLength: 1, maxLength: 60 }),
    async operations => {
      count += 1
      const root = join(directory, `node-${String(count)}`)
      mkdirSync(root)
      const below = `/run-${String(count)}`
      await store.fs.mkdir(below)
      try {
        const fs = new FileSystem(store.core, below)
        await compare({ api: promises, root }, storeSide(fs), operations)
      } finally {
        rmSync(root, { recursive: true })
      }
    },
  )
  await fc.assert(property, { seed: SEED, numRuns: RUNS, endOnFailure: false })
  t.pass(`${String(count)} sequences`)
})
