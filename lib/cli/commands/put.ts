/**
 * `lockstep put`: copies files, directory trees or standard input into the store.
 *
 * Permission bits and symbolic links are kept; owner and times are those of now. A file that is
 * replaced stays whole until the new one is.
 */
import { createReadStream } from 'node:fs'
import type { Stats } from 'node:fs'
import { lstat, opendir, readlink, stat } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import type { Command } from 'commander'
import type { Control } from '../../daemon/control.js'
import { codeOf, guardAsync } from '../../errors.js'
import { childPath, Context, storePath, usageError } from '../context.js'
import { Copy } from '../copy.js'
import type { CopyReport } from '../copy.js'
import { byteSize, plural } from '../render.js'

const READ_BYTES = 1024 * 1024

/** Adds the command. */
export function addPut(program: Command): void {
  program
    .command('put')
    .description('copy files or directory trees (or - for standard input) into the store')
    .argument('<source...>', 'local files or directories, or -; then the destination in the store')
    .usage('[options] <source...> <destination>')
    .action(async (paths: string[], _options: unknown, command: Command) => {
      const target = paths.at(-1)
      const sources = paths.slice(0, -1)
      if (target === undefined || sources.length === 0) {
        throw usageError('put needs a source and a destination')
      }
      const context = new Context(command)
      const copy = new Copy('put', context.output.json)
      try {
        const path = storePath(target)
        const intoDirectory = sources.length > 1 || target.endsWith('/')
        const report = await context.withChange(control =>
          putAll(control, copy, sources, path, intoDirectory),
        )
        await context.output.value(report, () => reportText('stored', report))
      } finally {
        copy.progress.end()
      }
    })
}

/** The line that people read after a copy. */
export function reportText(what: string, report: CopyReport): string {
  const links = report.links === 0 ? '' : `, ${plural(report.links, 'link')}`
  const counts = `${plural(report.files, 'file')}${links}, ${byteSize(report.bytes)}`
  return `${what} ${counts} in ${report.seconds.toFixed(1)} s: ${report.path}`
}

async function putAll(
  control: Control,
  copy: Copy,
  sources: string[],
  path: string,
  intoDirectory: boolean,
): Promise<CopyReport> {
  const isDirectory = await isStoreDirectory(control, path)
  if (intoDirectory && !isDirectory) {
    await control.stat({ path, follow: true })
    throw usageError(`${path} is not a directory`)
  }
  await copy.run(async () => {
    for (const source of sources) {
      if (source === '-' && isDirectory) throw usageError('standard input needs the name of a file')
      await put(control, copy, source, isDirectory ? childPath(path, localName(source)) : path)
    }
  })
  const only = sources.length === 1 ? sources[0] : undefined
  const made = isDirectory && only !== undefined ? childPath(path, localName(only)) : path
  return copy.report(made)
}

function localName(source: string): string {
  return basename(resolve(source))
}

async function isStoreDirectory(control: Control, path: string): Promise<boolean> {
  try {
    return (await control.stat({ path, follow: true })).kind === 'directory'
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return false
    throw error
  }
}

async function put(control: Control, copy: Copy, source: string, path: string): Promise<void> {
  if (source === '-') {
    const bytes = copy.progress.count(process.stdin as AsyncIterable<Uint8Array>)
    await copy.file(async () => {
      await control.write({ path, mode: 0o666 }, bytes)
    })
    return
  }
  // What is named is followed; links inside a tree stay links.
  await putEntry(control, copy, source, await local('stat', source, stat(source)), path)
}

async function putEntry(
  control: Control,
  copy: Copy,
  source: string,
  stats: Stats,
  path: string,
): Promise<void> {
  const mode = stats.mode & 0o777
  if (stats.isFile()) {
    await copy.file(async () => {
      await control.write({ path, mode }, copy.progress.count(localBytes(source)))
    })
  } else if (stats.isDirectory()) {
    // Its owner must be able to fill it, whatever the source allows.
    await control.makeDirectory({ path, mode: mode | 0o300, parents: true })
    copy.directories += 1
    for await (const entry of await local('opendir', source, opendir(source))) {
      const child = join(source, entry.name)
      const childStats = await local('lstat', child, lstat(child))
      await putEntry(control, copy, child, childStats, childPath(path, entry.name))
    }
  } else if (stats.isSymbolicLink()) {
    await putLink(control, path, await local('readlink', source, readlink(source)))
    copy.links += 1
  } else {
    copy.skip(source, 'neither a file, a directory nor a symbolic link')
  }
}

async function putLink(control: Control, path: string, target: string): Promise<void> {
  try {
    await control.makeLink({ path, target })
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw error
    await control.remove({ path, recursive: false })
    await control.makeLink({ path, target })
  }
}

async function* localBytes(source: string): AsyncGenerator<Uint8Array, void> {
  try {
    for await (const chunk of createReadStream(source, { highWaterMark: READ_BYTES })) {
      yield chunk as Buffer
    }
  } catch (error) {
    await local('read', source, Promise.reject(error as Error))
  }
}

/** Gives the errors of the local file system the form of ours. */
function local<T>(syscall: string, path: string, result: Promise<T>): Promise<T> {
  return guardAsync({ syscall, path }, () => result)
}
