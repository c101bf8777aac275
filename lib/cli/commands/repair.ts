/** `lockstep repair`: derives again what can be derived, in a store that nobody has open. */
import { resolve } from 'node:path'
import type { Command } from 'commander'
import type { RepairReport } from '../../native.js'
import { Store } from '../../store.js'
import { Context } from '../context.js'
import { problemLines } from '../problems.js'
import { Share, visible } from '../render.js'

/** Adds the command. */
export function addRepair(program: Command): void {
  program
    .command('repair')
    .description('say what a repair of a store that is not being served would do, or do it')
    .argument('<dir>', 'directory of the store')
    .option('--yes', 'do it; what was there before is kept in a folder of the store')
    .action(async (dir: string, flags: { yes?: boolean }, command: Command) => {
      const { output } = new Context(command)
      const share = new Share('check', output.json)
      const report = await Store.repair(resolve(dir), {
        apply: flags.yes === true,
        onProgress: progress => {
          share.show(progress)
        },
      }).finally(() => {
        share.clear()
      })
      await output.value(report, () => reportText(report))
    })
}

function reportText({ steps, refused, remaining, kept }: RepairReport): string {
  const isDone = kept !== undefined
  const lines: string[] = []
  if (steps.length === 0) lines.push('nothing to repair')
  else lines.push(isDone ? 'repaired:' : 'a repair would:', ...steps.map(step => `  ${step}`))
  if (refused !== undefined) lines.push(`cannot repair accounts and chunks: ${refused}`)
  if (remaining.length > 0) {
    const what = 'stays, for nobody else has it (restore these files from another copy):'
    lines.push(what, ...remaining.flatMap(problemLines).map(line => `  ${line}`))
  }
  if (isDone) lines.push(`what was there before is in ${visible(kept)}; delete it when all is well`)
  else if (steps.length > 0) lines.push('nothing was changed; --yes does it')
  return lines.join('\n')
}
