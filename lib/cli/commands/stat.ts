/** `lockstep stat`: everything known about a path. */
import type { Command } from 'commander'
import type { Entry } from '../../daemon/control.js'
import { Context, storePath } from '../context.js'
import { byteSize, visible } from '../render.js'
import { modeText } from './ls.js'

/** Adds the command. */
export function addStat(program: Command): void {
  program
    .command('stat')
    .description('show the attributes of a path')
    .argument('<path>', 'path in the store')
    .option('-L, --dereference', 'of a symbolic link, show what it points at')
    .action(async (path: string, options: { dereference?: boolean }, command: Command) => {
      const context = new Context(command)
      const follow = options.dereference === true
      const entry = await context.withControl(control =>
        control.stat({ path: storePath(path), follow }),
      )
      await context.output.value(entry, () => statText(entry))
    })
}

function statText(entry: Entry): string {
  const lines: [string, string][] = [
    ['path', entry.target === undefined ? entry.path : `${entry.path} -> ${entry.target}`],
    ['kind', entry.kind],
    ['mode', `${entry.mode} (${modeText(entry)})`],
    ['owner', `${entry.user}:${entry.group} (${entry.uid}:${entry.gid})`],
    ['size', entry.kind === 'directory' ? String(entry.size) : sizeText(entry)],
    ['links', String(entry.nlink)],
    ['inode', `${entry.inode} in view ${entry.view}${entry.readOnly ? ', read-only' : ''}`],
    ['modified', entry.mtime],
    ['changed', entry.ctime],
    ['accessed', entry.atime],
    ['born', entry.btime],
  ]
  if (entry.blockSize !== 0) lines.push(['block size', String(entry.blockSize)])
  if (entry.replication !== 0) lines.push(['replication', String(entry.replication)])
  return lines.map(([name, text]) => `${name.padEnd(12)}${visible(text)}`).join('\n')
}

function sizeText(entry: Entry): string {
  return `${entry.size} (${byteSize(entry.allocated)} stored)`
}
