/** `lockstep ls`: lists directories. */
import type { Command } from 'commander'
import type { Control, Entry } from '../../daemon/control.js'
import { Context, lastName, storePath } from '../context.js'
import { shortTime } from '../render.js'
import type { Column } from '../render.js'

const TYPE_LETTER: Record<Entry['kind'], string> = {
  file: '-',
  directory: 'd',
  symlink: 'l',
  fifo: 'p',
  socket: 's',
  'character-device': 'c',
  'block-device': 'b',
}

/** Adds the command. */
export function addLs(program: Command): void {
  program
    .command('ls')
    .description('list a directory, or show a file')
    .argument('[path...]', 'paths in the store', ['/'])
    .option('-R, --recursive', 'everything below as well, with whole paths')
    .action(async (paths: string[], options: { recursive?: boolean }, command: Command) => {
      const context = new Context(command)
      const whole = options.recursive === true || paths.length > 1
      await context.withControl(async control => {
        const entries = listAll(control, paths.map(storePath), options.recursive === true)
        await context.output.list(entries, columns(whole), 'nothing there')
      })
    })
}

async function* listAll(
  control: Control,
  paths: string[],
  recursive: boolean,
): AsyncGenerator<Entry, void> {
  for (const path of paths) {
    for await (const entry of control.list({ path })) {
      yield entry
      if (!recursive || entry.kind !== 'directory') continue
      yield* listAll(control, [entry.path], true)
    }
  }
}

function columns(whole: boolean): Column<Entry>[] {
  return [
    { title: 'MODE', text: modeText },
    { title: 'LINKS', text: entry => String(entry.nlink), right: true },
    { title: 'USER', text: entry => entry.user },
    { title: 'GROUP', text: entry => entry.group },
    { title: 'SIZE', text: entry => String(entry.size), right: true },
    { title: 'MODIFIED', text: entry => shortTime(entry.mtime) },
    { title: 'NAME', text: entry => nameText(entry, whole) },
  ]
}

function nameText(entry: Entry, whole: boolean): string {
  const name = whole ? entry.path : lastName(entry.path) || '/'
  return entry.target === undefined ? name : `${name} -> ${entry.target}`
}

/** Kind and permissions as `ls -l` shows them. */
export function modeText(entry: Entry): string {
  const mode = parseInt(entry.mode, 8)
  const bits = [0o400, 0o200, 0o100, 0o40, 0o20, 0o10, 0o4, 0o2, 0o1]
  const letters = bits.map((bit, index) => ((mode & bit) === 0 ? '-' : ('rwx'[index % 3] ?? '')))
  const special: [number, number, string][] = [
    [0o4000, 2, 's'],
    [0o2000, 5, 's'],
    [0o1000, 8, 't'],
  ]
  for (const [bit, index, letter] of special) {
    if ((mode & bit) === 0) continue
    letters[index] = letters[index] === 'x' ? letter : letter.toUpperCase()
  }
  return TYPE_LETTER[entry.kind] + letters.join('')
}
