/** `lockstep check`: reads every page, inode, chunk and byte of a store that nobody has open. */
import { resolve } from 'node:path'
import type { Command } from 'commander'
import { errorFor } from '../../errors.js'
import type { CheckReport } from '../../native.js'
import { Store } from '../../store.js'
import { Context } from '../context.js'
import { problemsText } from '../problems.js'
import { byteSize, plural, Share } from '../render.js'

/** Adds the command. */
export function addCheck(program: Command): void {
  program
    .command('check')
    .description('check a store that is not being served, in full; changes nothing')
    .argument('<dir>', 'directory of the store')
    .action(async (dir: string, _options: unknown, command: Command) => {
      const store = resolve(dir)
      const { output } = new Context(command)
      const share = new Share('check', output.json)
      const report = await Store.check(store, {
        onProgress: progress => {
          share.show(progress)
        },
      }).finally(() => {
        share.clear()
      })
      await output.value(report, () => reportText(report))
      if (report.problemCount === 0) return
      const found = plural(report.problemCount, 'problem')
      throw errorFor('ERR_LOCKSTEP_CORRUPT', `${found} found in ${store}`)
    })
}

function reportText(report: CheckReport): string {
  const counts = [
    plural(report.pages, 'page'),
    plural(report.inodes, 'inode'),
    plural(report.chunks, 'chunk'),
    plural(report.footers, 'footer'),
    byteSize(report.bytes),
  ]
  const read = counts.join(', ')
  if (report.problemCount === 0) return `sound: ${read}`
  return [...problemsText(report), `read ${read}`].join('\n')
}
