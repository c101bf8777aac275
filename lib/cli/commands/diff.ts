/** `lockstep diff`: what changed between two snapshots. */
import type { Command } from 'commander'
import type { ChangeEntry } from '../../daemon/control.js'
import { Context, storePath } from '../context.js'
import type { Column } from '../render.js'

/** The letters of HDFS's snapshot diff. */
const LETTER: Record<ChangeEntry['kind'], string> = {
  created: '+',
  deleted: '-',
  modified: 'M',
  renamed: 'R',
}

const COLUMNS: Column<ChangeEntry>[] = [
  { title: ' ', text: change => LETTER[change.kind] },
  { title: 'KIND', text: change => change.fileKind },
  {
    title: 'PATH',
    text: ({ path, target }) => (target === null ? shown(path) : `${shown(path)} -> ${target}`),
  },
]

/** Adds the command. */
export function addDiff(program: Command): void {
  program
    .command('diff')
    .description('list the changes below PATH from snapshot FROM to snapshot TO')
    .argument('<path>', 'a directory')
    .argument('<from>', 'a snapshot, or . for now')
    .argument('<to>', 'a snapshot, or . for now')
    .action(async (path: string, from: string, to: string, _options: unknown, command: Command) => {
      const context = new Context(command)
      const request = { path: storePath(path), from: state(from), to: state(to) }
      await context.withControl(control =>
        context.output.list(control.diff(request), COLUMNS, 'no changes'),
      )
    })
}

function state(name: string): string {
  return name === '.' ? '' : name
}

function shown(path: string): string {
  return path === '' ? '.' : path
}
