/**
 * What HDFS does where POSIX does something else, for every HDFS service: create, mkdirs, rename,
 * delete, concat, truncate and replication, each on top of the one semantics of the core.
 *
 * Invariants:
 * - Nothing here decides permission or atomicity: every change is one call of the core, and a
 *   change that lost a race fails as the core says.
 * - Paths come in their one form: absolute, no empty names, no trailing slash.
 * - Where HDFS answers false, so do these; where it throws, they throw that Java exception.
 */
import { JavaException, errorCode, toJavaException } from './java-exceptions.js'
import { ATTRIBUTE, ATTRIBUTE_COUNT, KIND, OPEN, RENAME } from './native.js'
import type { NativeFile, NativeView } from './native.js'

/** How a file is created. */
export interface CreateOptions {
  readonly overwrite: boolean
  readonly createParent: boolean
  /** Permission bits, the client's umask already taken off. */
  readonly mode: number
  /** As asked for; undefined leaves the store's default. */
  readonly replication?: number | undefined
  /** In bytes; undefined leaves the store's default. */
  readonly blockSize?: number | undefined
}

/** Permission of parents that `createParent` makes: HDFS takes the directory default. */
const PARENT_MODE = 0o755

/** How often a creation that others get in the way of is tried again. */
const CREATE_TRIES = 8

function parentOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/')) || '/'
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1)
}

/**
 * Attributes of a path, or null if there is nothing.
 *
 * @throws whatever the core throws other than `ENOENT`.
 */
export function statOrNull(view: NativeView, path: string, follow = true): Float64Array | null {
  const record = new Float64Array(ATTRIBUTE_COUNT)
  try {
    view.stat(path, follow, record)
    return record
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return null
    throw error
  }
}

/** Whether a record is a directory's. */
export function isDirectory(record: Float64Array): boolean {
  return record[ATTRIBUTE.kind] === KIND.directory
}

/** Whether a record is a regular file's. */
export function isFile(record: Float64Array): boolean {
  return record[ATTRIBUTE.kind] === KIND.file
}

/**
 * Creates an empty file for writing. An overwritten file is unlinked, not cut: who reads the old
 * one, or holds it by a hard link, keeps it.
 *
 * @throws JavaException `FileAlreadyExists`, `FileNotFound` (no parent), `ParentNotDirectory`; or
 * the core's error.
 */
export function createFile(view: NativeView, path: string, options: CreateOptions): NativeFile {
  if (path === '/') throw new JavaException('FileAlreadyExists', '/ already exists as a directory')
  for (let tries = 0; tries < CREATE_TRIES; tries++) {
    try {
      return openNew(view, path, options)
    } catch (error) {
      // What stands in the way is looked at only now: mostly nothing does.
      const code = errorCode(error)
      if (code === 'EEXIST') removeForOverwrite(view, path, options.overwrite)
      else if (code === 'ENOENT' || code === 'ENOTDIR') prepareParent(view, path, options, error)
      else throw error
    }
  }
  throw new JavaException('FileAlreadyExists', `${path} already exists`)
}

function prepareParent(
  view: NativeView,
  path: string,
  { createParent }: CreateOptions,
  cause: unknown,
): void {
  const parent = parentOf(path)
  const record = statOrNull(view, parent)
  if (record === null) {
    if (!createParent) {
      throw new JavaException('FileNotFound', `Parent directory doesn't exist: ${parent}`)
    }
    makeDirectories(view, parent, PARENT_MODE)
  } else if (!isDirectory(record)) {
    throw new JavaException('ParentNotDirectory', `${parent} is not a directory`)
  } else {
    throw cause
  }
}

function removeForOverwrite(view: NativeView, path: string, overwrite: boolean): void {
  const record = statOrNull(view, path, false)
  if (record === null) return
  if (isDirectory(record)) {
    throw new JavaException('FileAlreadyExists', `${path} already exists as a directory`)
  }
  if (!overwrite) throw new JavaException('FileAlreadyExists', `${path} already exists`)
  // HDFS asks for write access to the file itself too, not only to its directory.
  view.access(path, 2)
  try {
    view.unlink(path)
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error
  }
}

function openNew(view: NativeView, path: string, options: CreateOptions): NativeFile {
  // Read as well, so that what was written can be checked through the same handle.
  const flags = OPEN.read | OPEN.write | OPEN.create | OPEN.exclusive
  const file = view.open(path, flags, options.mode & 0o777)
  const { replication, blockSize } = options
  if (replication === undefined && blockSize === undefined) return file
  try {
    view.setAttributes(path, false, {
      ...(replication === undefined ? {} : { replication }),
      ...(blockSize === undefined ? {} : { blockSize }),
    })
    return file
  } catch (error) {
    file.close()
    throw error
  }
}

/**
 * `mkdirs`: makes what is missing; false if the directory was there already.
 *
 * @throws JavaException `FileAlreadyExists` if a file stands there; or the core's error.
 */
export function makeDirectories(view: NativeView, path: string, mode: number): boolean {
  try {
    return view.makeDirectories(path, mode & 0o1777)
  } catch (error) {
    if (errorCode(error) !== 'EEXIST') throw error
    const record = statOrNull(view, path)
    if (record === null) throw error
    if (isDirectory(record)) return false
    throw new JavaException('FileAlreadyExists', `Path is not a directory: ${path}`, error)
  }
}

/**
 * The old `rename`: into a directory that exists it moves below it; most refusals answer false.
 *
 * @throws the core's error for refused permission, snapshots and paths through files.
 */
export function rename(view: NativeView, from: string, to: string): boolean {
  if (from === '/') return false
  const source = statOrNull(view, from, false)
  if (source === null) return false
  const existing = statOrNull(view, to)
  const target = existing !== null && isDirectory(existing) ? `${trimmed(to)}/${nameOf(from)}` : to
  if (target === from) return !isDirectory(source)
  if (target.startsWith(`${from}/`)) return false
  if (target !== to ? statOrNull(view, target, false) !== null : existing !== null) return false
  if (statOrNull(view, parentOf(target)) === null) return false
  try {
    view.rename(from, target, RENAME.noReplace)
    return true
  } catch (error) {
    const code = errorCode(error)
    if (code === 'EEXIST' || code === 'ENOENT') return false
    throw error
  }
}

function trimmed(path: string): string {
  return path === '/' ? '' : path
}

/**
 * `rename2`: the target is the new name itself; `overwrite` replaces a file or an empty directory.
 *
 * @throws JavaException for everything that HDFS refuses; or the core's error.
 */
export function renameTo(view: NativeView, from: string, to: string, overwrite: boolean): void {
  if (from === '/') throw new JavaException('IO', 'rename source cannot be the root')
  const source = statOrNull(view, from, false)
  if (source === null) {
    throw new JavaException('FileNotFound', `rename source ${from} is not found.`)
  }
  if (from === to) {
    throw new JavaException(
      'FileAlreadyExists',
      `The source ${from} and destination ${to} are the same`,
    )
  }
  if (to.startsWith(`${from}/`)) {
    throw new JavaException(
      'IO',
      `Rename destination ${to} is a directory or file under source ${from}`,
    )
  }
  if (to === '/') throw new JavaException('IO', 'rename destination cannot be the root')
  checkRenameParent(view, to)
  const existing = statOrNull(view, to, false)
  if (existing !== null) checkOverwrite(view, [from, source], [to, existing], overwrite)
  view.rename(from, to, overwrite ? RENAME.replace : RENAME.noReplace)
}

function checkRenameParent(view: NativeView, to: string): void {
  const parent = statOrNull(view, parentOf(to))
  if (parent === null) {
    throw new JavaException('FileNotFound', `rename destination parent ${to} not found.`)
  }
  if (!isDirectory(parent)) {
    throw new JavaException('ParentNotDirectory', `rename destination parent ${to} is a file.`)
  }
}

function checkOverwrite(
  view: NativeView,
  [from, source]: [string, Float64Array],
  [to, existing]: [string, Float64Array],
  overwrite: boolean,
): void {
  if (isDirectory(source) !== isDirectory(existing)) {
    const kind = isDirectory(source) ? 'directories' : 'files'
    throw new JavaException('IO', `Source ${from} and destination ${to} must both be ${kind}`)
  }
  if (!overwrite) {
    throw new JavaException('FileAlreadyExists', `rename destination ${to} already exists`)
  }
  if (isDirectory(existing) && !isEmpty(view, to)) {
    throw new JavaException('IO', `rename destination directory is not empty: ${to}`)
  }
}

/**
 * `delete`: false if there was nothing, and for the root, which stays.
 *
 * @throws JavaException `PathIsNotEmptyDirectory` without `recursive`; or the core's error.
 */
export function deletePath(view: NativeView, path: string, recursive: boolean): boolean {
  const record = statOrNull(view, path, false)
  if (record === null) return false
  if (path === '/') {
    if (recursive || isEmpty(view, path)) return false
    throw toJavaException({ code: 'ENOTEMPTY' }, { path })
  }
  try {
    if (!isDirectory(record)) view.unlink(path)
    else if (recursive) view.removeTree(path)
    else view.removeDirectory(path)
    return true
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return false
    if (errorCode(error) === 'ENOTEMPTY') throw notEmpty(view, path, recursive, error)
    throw error
  }
}

function isEmpty(view: NativeView, directory: string): boolean {
  return view.list(directory, null, 1, false).names.length === 0
}

function notEmpty(
  view: NativeView,
  path: string,
  recursive: boolean,
  cause: unknown,
): JavaException {
  // A recursive removal is refused as not empty only where snapshots hold the directory.
  if (!recursive && !isEmpty(view, path)) {
    return toJavaException(cause, { path })
  }
  const holder = snapshotHolder(view, path)
  return new JavaException(
    'Snapshot',
    `The directory ${path} cannot be deleted since ${holder} is snapshottable and already has snapshots`,
    cause,
  )
}

/** The directory at or below `path` whose snapshots keep it; `path` itself if that cannot be seen. */
function snapshotHolder(view: NativeView, path: string): string {
  const below = `${path}/`
  try {
    const holders = view
      .snapshotDirectories()
      .filter(directory => directory === path || directory.startsWith(below))
    return holders.find(directory => view.listSnapshots(directory).length > 0) ?? path
  } catch {
    return path
  }
}

/**
 * `concat`: appends whole files of the same directory to the target and removes them.
 *
 * @throws JavaException `HadoopIllegalArgument` for what HDFS refuses; or the core's error.
 */
export function concat(view: NativeView, target: string, sources: readonly string[]): void {
  if (sources.length === 0) {
    throw new JavaException('HadoopIllegalArgument', 'concat: no source files were given')
  }
  const directory = parentOf(target)
  const seen = new Set<string>([target])
  for (const source of sources) {
    if (source === target) {
      throw concatError(`the src file ${source} is the same with the target file ${target}`)
    }
    if (seen.has(source)) throw concatError('at least two of the source files are the same')
    seen.add(source)
    if (parentOf(source) !== directory) {
      throw concatError(
        `Source file ${source} is not in the same directory with the target ${target}`,
      )
    }
    checkConcatSource(view, source)
  }
  view.concat(target, [...sources])
}

function checkConcatSource(view: NativeView, source: string): void {
  const record = statOrNull(view, source)
  if (record === null) throw new JavaException('FileNotFound', `File does not exist: ${source}`)
  if (!isFile(record) || record[ATTRIBUTE.size] === 0) {
    throw concatError(`source file ${source} is invalid or empty or underConstruction`)
  }
}

function concatError(why: string): JavaException {
  return new JavaException('HadoopIllegalArgument', `concat: ${why}`)
}

/**
 * `truncate`: cuts a file. Always true: the new length stands at once, no recovery follows.
 *
 * @throws JavaException `HadoopIllegalArgument` for a longer length, `FileNotFound`; or the core's error.
 */
export function truncate(view: NativeView, path: string, length: number): true {
  const record = statOrNull(view, path)
  if (record === null) throw new JavaException('FileNotFound', `File does not exist: ${path}`)
  if (!isFile(record)) throw new JavaException('FileNotFound', `Path is not a file: ${path}`)
  const size = record[ATTRIBUTE.size] ?? 0
  if (length > size) {
    throw new JavaException(
      'HadoopIllegalArgument',
      `Cannot truncate to a larger file size. Current size: ${String(size)}, ` +
        `truncate size: ${String(length)}.`,
    )
  }
  view.setAttributes(path, true, { size: length })
  return true
}

/** `setReplication`: false for what is not a file; the number is remembered and reported. */
export function setReplication(view: NativeView, path: string, replication: number): boolean {
  const record = statOrNull(view, path)
  if (record === null || !isFile(record)) return false
  view.setAttributes(path, true, { replication })
  return true
}
