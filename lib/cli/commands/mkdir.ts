/** `lockstep mkdir`: makes directories. */
import type { Command } from 'commander'
import type { Entry } from '../../daemon/control.js'
import { Context, storePath } from '../context.js'

/** Adds the command. */
export function addMkdir(program: Command): void {
  program
    .command('mkdir')
    .description('make directories')
    .argument('<path...>', 'paths in the store')
    .option('-p, --parents', 'those above too; one that is there is no error')
    .action(async (paths: string[], options: { parents?: boolean }, command: Command) => {
      const context = new Context(command)
      const parents = options.parents === true
      const made: Entry[] = []
      await context.withChange(async control => {
        for (const path of paths.map(storePath)) {
          made.push(await control.makeDirectory({ path, mode: 0o777, parents }))
        }
      })
      await context.output.value(made, () => `made ${made.map(entry => entry.path).join(' ')}`)
    })
}
