/**
 * The same operation on `node:fs/promises` (a temporary directory) and on a store's file system,
 * with what each answered made comparable. Node is the judge.
 */
import type { PathLike } from 'node:fs'
import * as fc from 'fast-check'
import type { FileSystem } from '../../lib/file-system.js'

/** What both sides offer; that `FileSystem` fits here is checked by the compiler. */
export type Api = Omit<
  typeof import('node:fs/promises'),
  'constants' | 'watch' | 'lchmod' | 'default' | 'glob'
>

/** One side: its API, and where its `/` is. */
export interface Side {
  api: Api
  root: string
}

/** The side of a store. */
export function storeSide(fs: FileSystem): Side {
  return { api: fs, root: '' }
}

/** An answer: a value, or an error's fields without the side's own root in them. */
export type Answer =
  | { value: unknown }
  | { code: unknown; errno: unknown; syscall: unknown; path: unknown; dest: unknown; name: string }

/** An operation on either side. */
export interface Operation {
  /** What it is, for a failure's report. */
  readonly text: string
  run(side: Side): Promise<unknown>
}

/** Runs an operation and makes its answer comparable. */
export async function answerOf(side: Side, operation: Operation): Promise<Answer> {
  try {
    return { value: await operation.run(side) }
  } catch (error) {
    if (!(error instanceof Error)) throw error
    const { code, errno, syscall, path, dest } = error as NodeJS.ErrnoException & { dest?: string }
    if (code === undefined) throw error
    const plain = (text: string | undefined) =>
      text?.startsWith(side.root) ? text.slice(side.root.length) : text
    const name = error instanceof TypeError ? 'TypeError' : 'Error'
    return { code, errno, syscall, path: plain(path), dest: plain(dest), name }
  }
}

const names = ['a', 'b', 'dir', 'sub', 'link']
const pathText = fc
  .array(fc.constantFrom(...names), { minLength: 1, maxLength: 3 })
  .map(parts => `/${parts.join('/')}`)
const path = fc.oneof(
  { weight: 12, arbitrary: pathText },
  { weight: 1, arbitrary: pathText.map(text => `${text}/`) },
  { weight: 1, arbitrary: pathText.map(text => `${text}/../b`) },
  { weight: 1, arbitrary: fc.constantFrom('/', '/.', `/${'n'.repeat(256)}`, '/a/./b') },
)
const mode = fc.constantFrom(0o777, 0o644, 0o600, 0o755, 0o4755, 0o1777)
const text = fc.oneof(
  fc.string({ maxLength: 20 }),
  fc.constantFrom('x'.repeat(2047), 'y'.repeat(2049), 'z'.repeat(70_000)),
)
const flag = fc.constantFrom('w', 'wx', 'a', 'ax', 'r+', 'w+', 'a+', 'as')
const seconds = fc.integer({ min: 0, max: 2_000_000_000 })

function operation(
  name: string,
  values: unknown[],
  run: (api: Api, at: (path: string) => string) => Promise<unknown>,
): Operation {
  const shown = values.map(value => JSON.stringify(value).slice(0, 60)).join(', ')
  return {
    text: `${name}(${shown})`,
    run: side => run(side.api, (below: string) => side.root + below),
  }
}

const contents = [
  fc
    .tuple(path, text, flag)
    .map(([p, data, f]) =>
      operation('writeFile', [p, data, f], (api, at) => api.writeFile(at(p), data, { flag: f })),
    ),
  fc
    .tuple(path, text)
    .map(([p, data]) =>
      operation('appendFile', [p, data], (api, at) => api.appendFile(at(p), data)),
    ),
  path.map(p => operation('readFile', [p], (api, at) => api.readFile(at(p), 'latin1'))),
  fc
    .tuple(path, fc.integer({ min: 0, max: 100_000 }))
    .map(([p, length]) =>
      operation('truncate', [p, length], (api, at) => api.truncate(at(p), length)),
    ),
  fc.tuple(path, pathText, fc.constantFrom(0, 1)).map(([a, b, bits]) =>
    operation('copyFile', [a, b, bits], async (api, at) => {
      // Node leaves an empty file behind where it was asked to copy a directory.
      if ((await api.stat(at(a))).isDirectory()) return
      await api.copyFile(at(a), at(b), bits)
    }),
  ),
]

const namesOperations = [
  fc.tuple(path, mode, fc.boolean()).map(([p, m, recursive]) =>
    operation('mkdir', [p, m, recursive], async (api, at) => {
      const made = await api.mkdir(at(p), { mode: m, recursive })
      return made?.slice(at('').length)
    }),
  ),
  pathText.map(p => operation('rmdir', [p], (api, at) => api.rmdir(at(p)))),
  path.map(p => operation('unlink', [p], (api, at) => api.unlink(at(p)))),
  fc
    .tuple(pathText, fc.boolean(), fc.boolean())
    .map(([p, recursive, force]) =>
      operation('rm', [p, recursive, force], (api, at) => api.rm(at(p), { recursive, force })),
    ),
  fc
    .tuple(path, path)
    .map(([a, b]) => operation('rename', [a, b], (api, at) => api.rename(at(a), at(b)))),
  fc
    .tuple(path, path)
    .map(([a, b]) => operation('link', [a, b], (api, at) => api.link(at(a), at(b)))),
  fc
    .tuple(fc.constantFrom('a', 'dir', 'sub/b', './a', 'nowhere', '.', 'link'), path)
    .map(([target, p]) =>
      operation('symlink', [target, p], (api, at) => api.symlink(target, at(p))),
    ),
]

const attributes = [
  fc
    .tuple(path, mode)
    .map(([p, m]) => operation('chmod', [p, m], (api, at) => api.chmod(at(p), m))),
  fc.tuple(path, seconds, seconds).map(([p, a, m]) =>
    operation('utimes', [p, a, m], async (api, at) => {
      await api.utimes(at(p), a, m)
      const { mtimeMs } = await api.stat(at(p))
      return mtimeMs
    }),
  ),
  fc
    .tuple(path, seconds)
    .map(([p, a]) => operation('lutimes', [p, a], (api, at) => api.lutimes(at(p), a, a))),
  fc
    .tuple(path, fc.integer({ min: -1, max: 5 }))
    .map(([p, id]) => operation('lchown', [p, id], (api, at) => api.lchown(at(p), id, id))),
  fc
    .tuple(path, fc.boolean())
    .map(([p, follow]) =>
      operation(follow ? 'stat' : 'lstat', [p], async (api, at) =>
        comparableStats(await (follow ? api.stat(at(p)) : api.lstat(at(p)))),
      ),
    ),
  fc
    .tuple(path, fc.integer({ min: 0, max: 7 }))
    .map(([p, m]) => operation('access', [p, m], (api, at) => api.access(at(p), m))),
]

const looks = [
  fc.tuple(path, fc.boolean()).map(([p, recursive]) =>
    operation('readdir', [p, recursive], async (api, at) => {
      // With types, because node's plain names follow symbolic links, in circles too.
      const entries = await api.readdir(at(p), { recursive, withFileTypes: true })
      return entries.map(entry => entry.parentPath.slice(at('').length) + entry.name).sort()
    }),
  ),
  path.map(p =>
    operation('opendir', [p], async (api, at) => {
      const found: string[] = []
      for await (const entry of await api.opendir(at(p))) {
        found.push(`${entry.name} ${String(entry.isDirectory())} ${String(entry.isSymbolicLink())}`)
      }
      return found.sort()
    }),
  ),
  path.map(p => operation('readlink', [p], (api, at) => api.readlink(at(p)))),
  path.map(p =>
    operation('realpath', [p], async (api, at) => {
      const found = await api.realpath(at(p))
      return found.slice(at('').length) || '/'
    }),
  ),
]

/** Any operation on a few names, so that they meet. */
export const anyOperation: fc.Arbitrary<Operation> = fc.oneof(
  ...contents,
  ...namesOperations,
  ...namesOperations,
  ...attributes,
  ...looks,
)

interface Shape {
  mode: number
  nlink: number
  size: number
  uid: number
  gid: number
  isFile(): boolean
  isDirectory(): boolean
  isSymbolicLink(): boolean
}

/** What both sides must agree on; sizes and link counts of directories are the system's matter. */
function comparableStats(stats: Shape): unknown {
  const { mode: bits, uid, gid } = stats
  const kind = [stats.isFile(), stats.isDirectory(), stats.isSymbolicLink()]
  if (stats.isDirectory()) return { bits, uid, gid, kind }
  return { bits, uid, gid, kind, nlink: stats.nlink, size: stats.size }
}

/** Everything below a side's root: attributes, targets and contents, by path. */
export async function treeOf(side: Side): Promise<Record<string, unknown>> {
  const found: Record<string, unknown> = {}
  const visit = async (at: string): Promise<void> => {
    const entries = await side.api.readdir(at === '' ? `${side.root}/` : side.root + at, {
      withFileTypes: true,
    })
    for (const entry of entries) {
      const below = `${at}/${entry.name}`
      const full: PathLike = side.root + below
      const stats = comparableStats(await side.api.lstat(full))
      if (entry.isDirectory()) {
        found[below] = [stats]
        await visit(below)
      } else if (entry.isSymbolicLink()) {
        found[below] = [stats, await side.api.readlink(full)]
      } else {
        found[below] = [stats, await side.api.readFile(full, 'latin1')]
      }
    }
  }
  await visit('')
  return Object.fromEntries(Object.entries(found).sort(([a], [b]) => (a < b ? -1 : 1)))
}
