/** `lockstep space`: where the bytes went. */
import type { Command } from 'commander'
import type { SpaceEntry } from '../../daemon/control.js'
import { Context, storePath } from '../context.js'
import { byteSize, plural } from '../render.js'

/** Adds the command. */
export function addSpace(program: Command): void {
  program
    .command('space')
    .description('show what a path holds and what the store takes')
    .argument('[path]', 'path in the store', '/')
    .action(async (path: string, _options: unknown, command: Command) => {
      const context = new Context(command)
      const space = await context.withControl(control => control.space({ path: storePath(path) }))
      await context.output.value(space, () => spaceText(space))
    })
}

function spaceText({ path, content, store, host, health }: SpaceEntry): string {
  const held = `${plural(content.files, 'file')} in ${plural(content.directories, 'directory', 'directories')}`
  const lines: [string, string][] = [
    [path, `${byteSize(content.length)} in ${held}`],
    ['live', `${byteSize(store.liveBytes)} that a volume or snapshot reaches`],
    ['snapshots', `${byteSize(store.snapshotBytes)} that only snapshots keep`],
    ['segments', `${byteSize(store.segmentBytes)} in ${plural(store.segments, 'segment')}`],
    ['metadata', `${byteSize(store.pageBytes)} of pages`],
    ['disk', `${byteSize(host.availableBytes)} available of ${byteSize(host.totalBytes)}`],
  ]
  if (health.full) lines.push(['full', 'the disk is full: only what frees space is accepted'])
  if (health.failure !== null)
    lines.push(['failed', `no changes until opened again: ${health.failure}`])
  const width = Math.max(...lines.map(([name]) => name.length)) + 2
  return lines.map(([name, text]) => name.padEnd(width) + text).join('\n')
}
