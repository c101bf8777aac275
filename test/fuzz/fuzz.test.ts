/** Nothing that a stranger sends ends a server, escapes, or is answered with a mistake of ours. */
import { join } from 'node:path'
import t from 'tap'
import { checkStore } from '../../lib/native.js'
import { temporaryDirectory } from '../support/paths.js'
import { fuzz } from './run.js'
import { startTargets } from './targets.js'

const SECONDS = 2

const directory = temporaryDirectory(t)
const targets = await startTargets(directory)
for (const target of targets.list) {
  await t.test(target.name, async t => {
    await fuzz(t, target, SECONDS)
  })
}
await t.test('the store is sound after all of it', async t => {
  await targets.close()
  t.same((await checkStore(join(directory, 'store'))).problems, [])
})
