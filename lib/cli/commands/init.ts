/** `lockstep init`: makes an empty store. */
import { resolve } from 'node:path'
import type { Command } from 'commander'
import { guard } from '../../errors.js'
import { NativeStore } from '../../native.js'
import { Context } from '../context.js'

/** Adds the command. */
export function addInit(program: Command): void {
  program
    .command('init')
    .description('make an empty store in DIR, which must be empty or missing')
    .argument('<dir>', 'directory of the store')
    .action(async (dir: string, _options: unknown, command: Command) => {
      const store = resolve(dir)
      guard({ syscall: 'init', path: store }, () => {
        NativeStore.create(store)
      })
      const { output } = new Context(command)
      await output.value({ store }, () => `made an empty store in ${store}`)
    })
}
