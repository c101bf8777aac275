/** `lockstep clone`: a writable volume out of a snapshot. */
import type { Command } from 'commander'
import { Context, storePath } from '../context.js'

/** Adds the command. */
export function addClone(program: Command): void {
  program
    .command('clone')
    .description('make a writable volume at NEWPATH out of the snapshot SNAPSHOT of PATH, at once')
    .argument('<path>', 'directory that the snapshot was taken of')
    .argument('<snapshot>', "the snapshot's name")
    .argument('<newpath>', 'where the clone appears; must not be there yet')
    .action(
      async (
        path: string,
        snapshot: string,
        newPath: string,
        _options: unknown,
        command: Command,
      ) => {
        const context = new Context(command)
        const request = { path: storePath(path), snapshot, newPath: storePath(newPath) }
        const volume = await context.withChange(control => control.createClone(request))
        await context.output.value(
          volume,
          () => `cloned ${request.path}@${snapshot} to ${volume.path}`,
        )
      },
    )
}
