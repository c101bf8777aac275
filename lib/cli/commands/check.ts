/** `lockstep check`: reads every page, inode, chunk and byte of a store that nobody has open. */
import { resolve } from 'node:path'
import type { Command } from 'commander'
import { errorFor, guardAsync } from '../../errors.js'
import { checkStore } from '../../native.js'
import type { CheckReport } from '../../native.js'
import { Context } from '../context.js'
import { byteSize, plural, visible } from '../render.js'

/** Adds the command. */
export function addCheck(program: Command): void {
  program
    .command('check')
    .description('check a store that is not being served, in full; changes nothing')
    .argument('<dir>', 'directory of the store')
    .action(async (dir: string, _options: unknown, command: Command) => {
      const store = resolve(dir)
      const report = await guardAsync({ syscall: 'check', path: store }, () => checkStore(store))
      const { output } = new Context(command)
      await output.value(report, () => reportText(report))
      if (report.problems.length === 0) return
      const found = plural(report.problems.length, 'problem')
      throw errorFor('ERR_LOCKSTEP_CORRUPT', `${found} found in ${store}`)
    })
}

function reportText(report: CheckReport): string {
  const read = `${plural(report.pages, 'page')}, ${plural(report.inodes, 'inode')}, ${plural(report.chunks, 'chunk')}, ${byteSize(report.bytes)}`
  if (report.problems.length === 0) return `sound: ${read}`
  return [...report.problems.map(visible), `read ${read}`].join('\n')
}
