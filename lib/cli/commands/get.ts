/**
 * `lockstep get`: copies a file or a directory tree out of the store.
 *
 * Permission bits and symbolic links are kept. A local file that is replaced stays whole until the
 * new one is.
 */
import { randomBytes } from 'node:crypto'
import { mkdir, open, rename, rm, stat, symlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { Command } from 'commander'
import type { Control, Entry } from '../../daemon/control.js'
import { codeOf, guardAsync } from '../../errors.js'
import { Context, lastName, storePath } from '../context.js'
import { Copy } from '../copy.js'
import type { Output } from '../render.js'
import { reportText } from './put.js'

/** Adds the command. */
export function addGet(program: Command): void {
  program
    .command('get')
    .description('copy a file or directory tree out of the store')
    .argument('<path>', 'path in the store')
    .argument(
      '[local]',
      'where to; an existing directory takes it by its name; - is standard output',
      '.',
    )
    .action(async (path: string, target: string, _options: unknown, command: Command) => {
      const context = new Context(command)
      const source = storePath(path)
      if (target === '-') {
        await context.withControl(control => print(control, source, context.output))
        return
      }
      const copy = new Copy('get', context.output.json)
      try {
        const report = await context.withControl(async control => {
          const entry = await control.stat({ path: source, follow: true })
          const local = await localTarget(target, lastName(source))
          await copy.run(() => get(control, copy, entry, local))
          return copy.report(local)
        })
        await context.output.value(report, () => reportText('copied', report))
      } finally {
        copy.progress.end()
      }
    })
}

async function print(control: Control, path: string, output: Output): Promise<void> {
  const { bytes } = await control.read({ path })
  for await (const chunk of bytes) await output.bytes(chunk)
}

async function localTarget(target: string, name: string): Promise<string> {
  try {
    return (await stat(target)).isDirectory() ? join(target, name) : target
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return target
    throw error
  }
}

async function get(control: Control, copy: Copy, entry: Entry, local: string): Promise<void> {
  const mode = parseInt(entry.mode, 8) & 0o777
  switch (entry.kind) {
    case 'file':
      await copy.file(() => getFile(control, copy, entry.path, local, mode))
      return
    case 'directory':
      await guardAsync({ syscall: 'mkdir', path: local }, () =>
        mkdir(local, { recursive: true, mode: mode | 0o300 }),
      )
      copy.directories += 1
      for await (const child of control.list({ path: entry.path })) {
        await get(control, copy, child, join(local, lastName(child.path)))
      }
      return
    case 'symlink':
      await getLink(entry.target ?? '', local)
      copy.links += 1
      return
    default:
      copy.skip(entry.path, `a ${entry.kind}`)
  }
}

async function getFile(
  control: Control,
  copy: Copy,
  path: string,
  local: string,
  mode: number,
): Promise<void> {
  const { bytes } = await control.read({ path })
  const suffix = randomBytes(4).toString('hex')
  const temporary = join(dirname(local), `.${basename(local).slice(0, 60)}.${suffix}`)
  await guardAsync({ syscall: 'open', path: local }, async () => {
    const file = await open(temporary, 'wx', mode)
    try {
      for await (const chunk of copy.progress.count(bytes)) await writeAll(file, chunk)
      await file.close()
      await rename(temporary, local)
    } catch (error) {
      await file.close()
      await rm(temporary, { force: true })
      throw error
    }
  })
}

async function writeAll(
  file: { write(bytes: Uint8Array): Promise<{ bytesWritten: number }> },
  chunk: Uint8Array,
): Promise<void> {
  let rest = chunk
  while (rest.length > 0) {
    const { bytesWritten } = await file.write(rest)
    rest = rest.subarray(bytesWritten)
  }
}

async function getLink(target: string, local: string): Promise<void> {
  await guardAsync({ syscall: 'symlink', path: local }, async () => {
    try {
      await symlink(target, local)
    } catch (error) {
      if (codeOf(error) !== 'EEXIST') throw error
      await rm(local)
      await symlink(target, local)
    }
  })
}
