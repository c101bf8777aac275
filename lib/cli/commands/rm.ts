/** `lockstep rm`: removes files and trees. */
import type { Command } from 'commander'
import type { Control } from '../../daemon/control.js'
import { codeOf } from '../../errors.js'
import { Context, storePath } from '../context.js'
import { plural } from '../render.js'

interface Options {
  recursive?: boolean
  force?: boolean
}

/** Adds the command. */
export function addRm(program: Command): void {
  program
    .command('rm')
    .description('remove files')
    .argument('<path...>', 'paths in the store')
    .option('-r, --recursive', 'directories too, with everything below')
    .option('-f, --force', 'a path that is not there is no error')
    .action(async (paths: string[], options: Options, command: Command) => {
      const context = new Context(command)
      const removed: string[] = []
      await context.withChange(async control => {
        for (const path of paths.map(storePath)) {
          if (await remove(control, path, options)) removed.push(path)
        }
      })
      await context.output.value({ removed }, () => `removed ${plural(removed.length, 'path')}`)
    })
}

async function remove(control: Control, path: string, options: Options): Promise<boolean> {
  try {
    await control.remove({ path, recursive: options.recursive === true })
    return true
  } catch (error) {
    if (options.force === true && codeOf(error) === 'ENOENT') return false
    throw error
  }
}
