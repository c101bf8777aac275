/**
 * Copies of files and trees, with the rules and error codes of node's `copyFile` and `cp`.
 *
 * Invariants:
 * - A file's bytes pass through one buffer; its size does not matter.
 * - Nothing is copied into itself.
 */
import type { CopyOptions } from 'node:fs'
import { constants } from 'node:fs'
import { entriesOf } from './dir.js'
import { LockstepError, codeOf, guard, systemError } from './errors.js'
import type { NativeFile, NativeView } from './native.js'
import { ATTRIBUTE, ATTRIBUTE_COUNT, KIND, OPEN } from './native.js'
import { joinPath, relativePath } from './paths.js'
import { realPath } from './real-path.js'

const BUFFER_BYTES = 4 * 1024 * 1024
const ALL_MODE_BITS = 0o7777

/** What a copy reads from and writes to. */
export interface CopyPaths {
  /** Absolute in the namespace. */
  from: string
  to: string
}

/** What is looked at before a copy. */
interface Found {
  view: number
  inode: number
  kind: number
  mode: number
  size: number
  atimeMs: number
  mtimeMs: number
}

function look(view: NativeView, path: string, follow: boolean): Found {
  const record = new Float64Array(ATTRIBUTE_COUNT)
  view.stat(path, follow, record)
  const at = (index: number) => record[index] ?? 0
  const millis = (index: number) => at(index) * 1000 + at(index + 1) / 1e6
  return {
    view: at(ATTRIBUTE.view),
    inode: at(ATTRIBUTE.inode),
    kind: at(ATTRIBUTE.kind),
    mode: at(ATTRIBUTE.mode),
    size: at(ATTRIBUTE.size),
    atimeMs: millis(ATTRIBUTE.atimeSeconds),
    mtimeMs: millis(ATTRIBUTE.mtimeSeconds),
  }
}

function lookIfThere(view: NativeView, path: string, follow: boolean): Found | undefined {
  try {
    return look(view, path, follow)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    throw error
  }
}

function isSame(one: Found, other: Found): boolean {
  return one.view === other.view && one.inode === other.inode
}

/**
 * Copies one file's bytes and permission bits.
 *
 * @param view - Who copies.
 * @param paths - From where to where.
 * @param mode - Bits of `COPYFILE_*`.
 * @throws LockstepError `EEXIST` with `COPYFILE_EXCL`, `ENOTSUP` with `COPYFILE_FICLONE_FORCE`,
 * `EISDIR` for a directory.
 */
export async function copyFile(view: NativeView, paths: CopyPaths, mode: number): Promise<void> {
  if (mode & constants.COPYFILE_FICLONE_FORCE) throw systemError('ENOTSUP')
  const source = look(view, paths.from, true)
  const exclusive = (mode & constants.COPYFILE_EXCL) !== 0
  const target = lookIfThere(view, paths.to, !exclusive)
  if (target && exclusive) throw systemError('EEXIST')
  if (!target) look(view, parentOf(paths.to), true)
  if (source.kind === KIND.directory) throw systemError('EISDIR')
  if (target && isSame(source, target)) return
  const input = view.open(paths.from, OPEN.read, 0)
  try {
    const flags = OPEN.write | OPEN.create | OPEN.truncate | (exclusive ? OPEN.exclusive : 0)
    const output = view.open(paths.to, flags, source.mode)
    try {
      await pump(input, output)
      // The mask of new files took bits away, and an existing file kept its own.
      output.setAttributes({ mode: source.mode & ALL_MODE_BITS })
    } finally {
      output.close()
    }
  } finally {
    input.close()
  }
}

async function pump(input: NativeFile, output: NativeFile): Promise<void> {
  const buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES)
  for (let position = 0; ;) {
    const count = await input.read(buffer, position)
    if (count > 0) await output.write(buffer.subarray(0, count), position)
    position += count
    if (count < buffer.byteLength) return
  }
}

/** How a tree is copied: node's options, with their defaults. */
type Options = CopyOptions & { force: boolean; errorOnExist: boolean; mode: number }

/**
 * Copies a file or, with `recursive`, a tree.
 *
 * @param view - Who copies.
 * @param paths - From where to where.
 * @param options - As node's.
 * @throws LockstepError with node's `ERR_FS_CP_*` and `ERR_FS_EISDIR` codes.
 */
export async function copyTree(
  view: NativeView,
  paths: CopyPaths,
  options: CopyOptions | undefined,
): Promise<void> {
  const merged = { ...options, force: options?.force ?? true } as Options
  merged.errorOnExist = options?.errorOnExist ?? false
  merged.mode = options?.mode ?? 0
  await copyAny(view, paths, merged, true)
}

async function copyAny(
  view: NativeView,
  paths: CopyPaths,
  options: Options,
  isTop: boolean,
): Promise<void> {
  if (options.filter && !(await options.filter(paths.from, paths.to))) return
  const follow = options.dereference ?? false
  const source = look(view, paths.from, follow)
  const target = lookIfThere(view, paths.to, follow)
  checkPair(view, paths, source, target)
  if (isTop) makeParent(view, paths.to)
  switch (source.kind) {
    case KIND.directory:
      await copyDirectory(view, paths, source, target, options)
      return
    case KIND.file:
      await copyRegular(view, paths, source, target, options)
      return
    case KIND.symlink:
      copyLink(view, paths, target, options)
      return
    default:
      throw refusal('ERR_FS_CP_UNKNOWN', 'cannot copy a file of this kind', paths)
  }
}

function refusal(code: string, why: string, paths: CopyPaths): LockstepError {
  const message = `${why}: cp '${paths.from}' -> '${paths.to}'`
  return new LockstepError(code, message, { syscall: 'cp', path: paths.from, dest: paths.to })
}

function checkPair(
  view: NativeView,
  paths: CopyPaths,
  source: Found,
  target: Found | undefined,
): void {
  const isDirectory = source.kind === KIND.directory
  if (target) {
    const targetIsDirectory = target.kind === KIND.directory
    if (isSame(source, target)) {
      throw refusal('ERR_FS_CP_EINVAL', 'src and dest cannot be the same', paths)
    }
    if (isDirectory && !targetIsDirectory) {
      throw refusal('ERR_FS_CP_DIR_TO_NON_DIR', 'cannot overwrite a file by a directory', paths)
    }
    if (!isDirectory && targetIsDirectory) {
      throw refusal('ERR_FS_CP_NON_DIR_TO_DIR', 'cannot overwrite a directory by a file', paths)
    }
  }
  if (isDirectory && isInside(view, source, paths.to)) {
    throw refusal('ERR_FS_CP_EINVAL', 'cannot copy a directory to a subdirectory of itself', paths)
  }
}

/** Whether some directory above `path` is `directory`. */
function isInside(view: NativeView, directory: Found, path: string): boolean {
  for (let parent = parentOf(path); ; parent = parentOf(parent)) {
    const found = lookIfThere(view, parent, true)
    if (found && isSame(found, directory)) return true
    if (parent === '/') return false
  }
}

function parentOf(path: string): string {
  const parts = path.split('/').filter(part => part !== '' && part !== '.')
  return `/${parts.slice(0, -1).join('/')}`
}

function makeParent(view: NativeView, path: string): void {
  const parent = parentOf(path)
  if (!lookIfThere(view, parent, true)) view.makeDirectories(parent, 0o777)
}

async function copyDirectory(
  view: NativeView,
  paths: CopyPaths,
  source: Found,
  target: Found | undefined,
  options: Options,
): Promise<void> {
  if (!options.recursive) {
    const why = 'Recursive option not enabled, cannot copy a directory'
    throw refusal('ERR_FS_EISDIR', why, paths)
  }
  if (!target) view.makeDirectory(paths.to, ALL_MODE_BITS & (source.mode | 0o700))
  for (const { name } of entriesOf(view, paths.from)) {
    const below = { from: joinPath(paths.from, name), to: joinPath(paths.to, name) }
    await copyAny(view, below, options, false)
  }
  if (!target) view.setAttributes(paths.to, true, { mode: source.mode })
}

async function copyRegular(
  view: NativeView,
  paths: CopyPaths,
  source: Found,
  target: Found | undefined,
  options: Options,
): Promise<void> {
  if (target && !mayReplace(paths, options)) return
  if (target) view.unlink(paths.to)
  await copyFile(view, paths, options.mode)
  if (!options.preserveTimestamps) return
  const { atimeMs, mtimeMs } = source
  view.setAttributes(paths.to, true, { atimeMs, mtimeMs })
}

function mayReplace(paths: CopyPaths, options: Options): boolean {
  if (options.force) return true
  if (options.errorOnExist) throw refusal('ERR_FS_CP_EEXIST', 'Target already exists', paths)
  return false
}

function copyLink(
  view: NativeView,
  paths: CopyPaths,
  target: Found | undefined,
  options: Options,
): void {
  const text = view.readLink(paths.from)
  let goal = text
  if (!options.verbatimSymlinks && !text.startsWith('/')) {
    goal = joinPath(parentOf(paths.from), text)
  }
  if (target) {
    if (!mayReplace(paths, options)) return
    view.unlink(paths.to)
  }
  guard({ syscall: 'cp', path: paths.from, dest: paths.to }, () => {
    view.symlink(goal, paths.to)
  })
}

/** The target to store for a symbolic link at `path` that is to lead to `goal` in a rooted view. */
export function rootedTarget(view: NativeView, root: string, goal: string, path: string): string {
  if (root === '' || !goal.startsWith('/')) return goal
  const parent = realPath(view, parentOf(path))
  return relativePath(joinPath(parent, 'link'), `${root}${goal}`)
}
