/**
 * The promises API of `node:fs` over a store: code written for `node:fs/promises` works unchanged.
 *
 * Invariants:
 * - Every method is bound, so that `const { readFile } = store.fs` works.
 * - Failures are rejections with node's `code`, `errno`, `syscall`, `path` and `dest`; bad arguments
 *   are node's `ERR_INVALID_ARG_*` and `ERR_OUT_OF_RANGE`.
 * - Nothing is decided here: who may do what, and what it means, is decided in the native core.
 *
 * Metadata operations are done when the promise is made: they cost microseconds and take no thread.
 */
/* eslint @typescript-eslint/no-unsafe-class-instance-assignment: off -- these classes stand for node's by their shape */
import type * as promises from 'node:fs/promises'
import type * as fs from 'node:fs'
import { constants } from 'node:fs'
import { randomBytes } from 'node:crypto'
import { constants as osConstants } from 'node:os'
import { posix } from 'node:path'
import {
  checkAborted,
  encodeName,
  encodingOf,
  field,
  fileMode,
  isSet,
  openFlags,
  signalOf,
  timeMs,
  wholeNumber,
} from './arguments.js'
import { checkContents, decoded } from './contents.js'
import { copyFile, copyTree, rootedTarget } from './copy.js'
import { Dir, entriesOf, treeOf } from './dir.js'
import { LockstepError, codeOf, guard, guardAsync, systemError } from './errors.js'
import { FileHandle, owners } from './file-handle.js'
import type { HandleTarget } from './file-handle.js'
import type { NativeView } from './native.js'
import { ATTRIBUTE, KIND, OPEN, RENAME, XATTR } from './native.js'
import { absolutePath, joinPath, pathText, rootOf } from './paths.js'
import { realPath } from './real-path.js'
import { Dirent, bigIntStatsFs, scratch, statsFs, statsOf } from './stats.js'
import { readStream, writeStream } from './streams.js'

type PathLike = fs.PathLike
type Promises = typeof promises

const DEFAULT_FILE_MODE = 0o666
const DEFAULT_DIRECTORY_MODE = 0o777
const TEMPORARY_NAME_LETTERS = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789'
const TEMPORARY_NAME_LENGTH = 6

/** What a file system stands on. */
export interface FileSystemCore {
  /** Who asks. */
  view: NativeView
  /** Makes everything acknowledged so far durable. */
  sync: () => Promise<void>
}

/** Options of a read stream made by path. */
export interface PathReadStreamOptions extends promises.CreateReadStreamOptions {
  /** How the file is opened; `'r'` unless given. */
  flags?: string
}

/** Options of a write stream made by path. */
export interface PathWriteStreamOptions extends promises.CreateWriteStreamOptions {
  /** How the file is opened; `'w'` unless given. */
  flags?: string
  /** Permission bits of a new file. */
  mode?: number
}

/** `node:fs/promises` for one directory of a store, as one user sees it. */
export class FileSystem {
  /** The constants of `node:fs`. */
  readonly constants = constants
  readonly #view: NativeView
  readonly #sync: () => Promise<void>
  readonly #root: string

  /**
   * @param core - What it stands on.
   * @param directory - What `/` is: a path of the namespace.
   */
  constructor(core: FileSystemCore, directory: string) {
    this.#view = core.view
    this.#sync = core.sync
    this.#root = rootOf(directory)
  }

  /** Opens a file; a directory may be opened for reading, to `stat` and `sync` it. */
  readonly open: Promises['open'] = async (path, flags, mode) => {
    const shown = pathText(path)
    const how = openFlags(flags, 'r')
    const bits = fileMode(mode, DEFAULT_FILE_MODE)
    return await guardAsync({ syscall: 'open', path: shown }, async () => {
      const at = this.#at(shown)
      if (how.noFollow && this.#kind(at, false) === KIND.symlink) throw systemError('ELOOP')
      if (how.directory && this.#kind(at, true) !== KIND.directory) throw systemError('ENOTDIR')
      return await Promise.resolve(
        new FileHandle(this.#target(at, how.bits, bits), shown, how.bits),
      )
    })
  }

  /** Reads a whole file (or what follows the position of an open one). Up to 2 GiB. */
  readonly readFile = (async (path: PathLike | FileHandle, options?: unknown) => {
    if (path instanceof FileHandle) return await path.readFile(options as null)
    const encoding = encodingOf(options, null)
    const signal = signalOf(options)
    const flags = openFlags(field(options, 'flag'), 'r')
    const shown = pathText(path)
    return await guardAsync({ syscall: 'open', path: shown }, async () => {
      const target = this.#target(this.#at(shown), flags.bits, DEFAULT_FILE_MODE)
      const handle = new FileHandle(target, shown, flags.bits)
      try {
        const bytes = await handle.readFile(signal === undefined ? null : { signal })
        return decoded(bytes, encoding)
      } finally {
        await handle.close()
      }
    })
  }) as Promises['readFile']

  /** Replaces (or, by `flag`, extends) a file's contents; takes streams and iterables too. */
  readonly writeFile: Promises['writeFile'] = async (file, data, options) => {
    await this.#writeContents(file, data, options, 'w')
  }

  /** Appends to a file, which is created if missing. */
  readonly appendFile: Promises['appendFile'] = async (file, data, options) => {
    await this.#writeContents(file, data, options, 'a')
  }

  /** The names in a directory; with `recursive` the paths below it. Sorted by bytes. */
  readonly readdir = (async (path: PathLike, options?: unknown) => {
    const encoding = encodingOf(options, 'utf8')
    const shown = pathText(path)
    return await this.#metadata('scandir', shown, at => {
      const entries = isSet(options, 'recursive') ? treeOf(this.#view, at) : topOf(this.#view, at)
      if (!isSet(options, 'withFileTypes')) {
        return Array.from(entries, ({ parent, name }) =>
          encodeName(parent === '' ? name : joinPath(parent, name), encoding),
        )
      }
      return Array.from(entries, ({ parent, name, kind }) => {
        const holder = parent === '' ? shown : posix.join(shown, parent)
        return new Dirent(encodeName(name, encoding), holder, kind)
      })
    })
  }) as Promises['readdir']

  /** Opens a directory to be read entry by entry. */
  readonly opendir: Promises['opendir'] = async (path, options) => {
    const shown = pathText(path)
    const encoding = encodingOf(options, 'utf8')
    return await this.#metadata('opendir', shown, at => {
      if (this.#kind(at, true) !== KIND.directory) throw systemError('ENOTDIR')
      this.#view.access(at, constants.R_OK)
      return new Dir(this.#view, shown, at, options?.recursive ?? false, encoding)
    })
  }

  /** Makes a directory; with `recursive` its parents too, and answers the first one made. */
  readonly mkdir = (async (path: PathLike, options?: unknown) => {
    const plain = typeof options === 'number' || typeof options === 'string'
    const mode = fileMode(plain ? options : field(options, 'mode'), DEFAULT_DIRECTORY_MODE)
    const recursive = isSet(options, 'recursive')
    return await this.#metadata('mkdir', pathText(path), at => {
      if (recursive) return this.#makeDirectories(at, mode)
      this.#view.makeDirectory(at, mode)
      return undefined
    })
  }) as Promises['mkdir']

  /** Creates a directory with a unique name that starts with `prefix`. */
  readonly mkdtemp = (async (prefix: string, options?: unknown) => {
    const encoding = encodingOf(options, 'utf8')
    const start = pathText(prefix, 'prefix')
    return await this.#metadata('mkdtemp', start, () => {
      for (;;) {
        const path = start + temporaryName()
        try {
          this.#view.makeDirectory(this.#at(path), 0o700)
          return encodeName(path, encoding)
        } catch (error) {
          if (codeOf(error) !== 'EEXIST') throw error
        }
      }
    })
  }) as Promises['mkdtemp']

  /** Removes a file, or with `recursive` a tree: at once, whatever its size. */
  readonly rm: Promises['rm'] = async (path, options) => {
    const shown = pathText(path)
    await this.#metadata('rm', shown, at => {
      try {
        this.#remove(at, shown, options?.recursive ?? false)
      } catch (error) {
        if (!options?.force || codeOf(error) !== 'ENOENT') throw error
      }
    })
  }

  /** Removes an empty directory. */
  readonly rmdir: Promises['rmdir'] = async (path, options) => {
    await this.#metadata('rmdir', pathText(path), at => {
      if (!isSet(options, 'recursive')) {
        this.#view.removeDirectory(at)
        return
      }
      if (this.#kind(at, false) !== KIND.directory) throw systemError('ENOTDIR')
      this.#view.removeTree(at)
    })
  }

  /** Removes a name that is no directory. */
  readonly unlink: Promises['unlink'] = async path => {
    await this.#metadata('unlink', pathText(path), at => {
      this.#view.unlink(at)
    })
  }

  /** Gives a file or directory another name, atomically; replaces where POSIX allows. */
  readonly rename: Promises['rename'] = async (oldPath, newPath) => {
    await this.#pair(
      'rename',
      pathText(oldPath, 'oldPath'),
      pathText(newPath, 'newPath'),
      (a, b) => {
        this.#view.rename(a, b, RENAME.replace)
      },
    )
  }

  /** Gives a file a second name. */
  readonly link: Promises['link'] = async (existingPath, newPath) => {
    const [from, to] = [pathText(existingPath, 'existingPath'), pathText(newPath, 'newPath')]
    await this.#pair('link', from, to, (a, b) => {
      this.#view.link(a, b)
    })
  }

  /**
   * Makes a symbolic link. In a volume's or snapshot's file system, a target that starts with `/`
   * is stored relative to the link, so that it holds in every view, clone and mount.
   */
  readonly symlink: Promises['symlink'] = async (target, path) => {
    const [goal, shown] = [pathText(target, 'target'), pathText(path)]
    await guardAsync({ syscall: 'symlink', path: goal, dest: shown }, async () => {
      const at = this.#at(shown)
      this.#view.symlink(rootedTarget(this.#view, this.#root, goal, at), at)
      await Promise.resolve()
    })
  }

  /** The target of a symbolic link, as it is stored. */
  readonly readlink = (async (path: PathLike, options?: unknown) => {
    const encoding = encodingOf(options, 'utf8')
    return await this.#metadata('readlink', pathText(path), at =>
      encodeName(this.#view.readLink(at), encoding),
    )
  }) as Promises['readlink']

  /** The path without symbolic links, `.` and `..`. */
  readonly realpath = (async (path: PathLike, options?: unknown) => {
    const encoding = encodingOf(options, 'utf8')
    return await this.#metadata('realpath', pathText(path), at => {
      const found = realPath(this.#view, at)
      if (this.#root === '') return encodeName(found, encoding)
      const root = realPath(this.#view, this.#root)
      if (found !== root && !found.startsWith(`${root}/`)) throw systemError('EXDEV')
      return encodeName(found.slice(root.length) || '/', encoding)
    })
  }) as Promises['realpath']

  /** Attributes; of what a symbolic link leads to. */
  readonly stat = (async (path: PathLike, options?: unknown) =>
    await this.#stat('stat', path, true, options)) as Promises['stat']

  /** Attributes; of a symbolic link itself. */
  readonly lstat = (async (path: PathLike, options?: unknown) =>
    await this.#stat('lstat', path, false, options)) as Promises['lstat']

  /** Figures of the file system that the store lies in. */
  readonly statfs = (async (path: PathLike, options?: unknown) =>
    await this.#metadata('statfs', pathText(path), at => {
      const figures = this.#view.statistics(at)
      return isSet(options, 'bigint') ? bigIntStatsFs(figures) : statsFs(figures)
    })) as Promises['statfs']

  /** Whether the user may read, write, execute (`constants.R_OK`, ...) or see that it exists. */
  readonly access: Promises['access'] = async (path, mode) => {
    const mask = wholeNumber(mode ?? constants.F_OK, 'mode', 0, 7)
    await this.#metadata('access', pathText(path), at => {
      this.#view.access(at, mask)
    })
  }

  /** Sets permission bits. */
  readonly chmod: Promises['chmod'] = async (path, mode) => {
    const bits = fileMode(mode)
    await this.#metadata('chmod', pathText(path), at => {
      this.#view.setAttributes(at, true, { mode: bits })
    })
  }

  /** Not offered: on Linux symbolic links have no permission bits of their own. */
  readonly lchmod: Promises['lchmod'] = async () => {
    const message = 'The lchmod() method is not implemented'
    await Promise.reject(new LockstepError('ERR_METHOD_NOT_IMPLEMENTED', message))
  }

  /** Sets owner and group; -1 leaves one as it is. */
  readonly chown: Promises['chown'] = async (path, uid, gid) => {
    await this.#chown('chown', path, uid, gid, true)
  }

  /** As `chown`, for a symbolic link itself. */
  readonly lchown: Promises['lchown'] = async (path, uid, gid) => {
    await this.#chown('lchown', path, uid, gid, false)
  }

  /** Sets the times of last access and last change. */
  readonly utimes: Promises['utimes'] = async (path, atime, mtime) => {
    await this.#utimes('utime', path, atime, mtime, true)
  }

  /** As `utimes`, for a symbolic link itself. */
  readonly lutimes: Promises['lutimes'] = async (path, atime, mtime) => {
    await this.#utimes('lutime', path, atime, mtime, false)
  }

  /** Cuts or extends a file. */
  readonly truncate: Promises['truncate'] = async (path, length) => {
    const handle = await this.open(path, 'r+')
    try {
      await handle.truncate(length)
    } finally {
      await handle.close()
    }
  }

  /** Copies a file's bytes and permission bits. */
  readonly copyFile: Promises['copyFile'] = async (source, target, mode) => {
    const [from, to] = [pathText(source, 'src'), pathText(target, 'dest')]
    const bits = wholeNumber(mode ?? 0, 'mode', 0, 7)
    await guardAsync({ syscall: 'copyfile', path: from, dest: to }, async () => {
      await copyFile(this.#view, { from: this.#at(from), to: this.#at(to) }, bits)
    })
  }

  /** Copies a file or, with `recursive`, a tree. */
  readonly cp: Promises['cp'] = async (source, target, options) => {
    const [from, to] = [pathText(source, 'src'), pathText(target, 'dest')]
    await guardAsync({ syscall: 'cp', path: from, dest: to }, async () => {
      await copyTree(this.#view, { from: this.#at(from), to: this.#at(to) }, options)
    })
  }

  /**
   * Not offered.
   *
   * @throws LockstepError `ENOTSUP`, at once.
   */
  readonly watch = (path: PathLike): never => {
    throw systemError('ENOTSUP', { syscall: 'watch', path: pathText(path) })
  }

  /** A stream that reads a file; opened when it is first read. */
  readonly createReadStream = (path: PathLike, options?: PathReadStreamOptions): fs.ReadStream => {
    const open = async () => (await this.open(path, options?.flags ?? 'r')) as FileHandle
    return readStream(pathText(path), open, options)
  }

  /** A stream that writes a file; opened at once. */
  readonly createWriteStream = (
    path: PathLike,
    options?: PathWriteStreamOptions,
  ): fs.WriteStream => {
    const open = async () =>
      (await this.open(path, options?.flags ?? 'w', options?.mode)) as FileHandle
    return writeStream(pathText(path), open, options)
  }

  /** The names of a file's extended attributes that the user may see. */
  readonly listxattr = async (path: PathLike): Promise<string[]> =>
    await this.#metadata('listxattr', pathText(path), at => this.#view.listXattrs(at, true))

  /** The value of an extended attribute (`user.x`). Fails with `ENODATA` if there is none. */
  readonly getxattr = async (path: PathLike, name: string): Promise<Buffer> =>
    await this.#metadata('getxattr', pathText(path), at => this.#view.getXattr(at, name, true))

  /** Sets an extended attribute. */
  readonly setxattr = async (path: PathLike, name: string, value: Uint8Array): Promise<void> => {
    await this.#metadata('setxattr', pathText(path), at => {
      this.#view.setXattr(at, name, value, XATTR.set, true)
    })
  }

  /** Removes an extended attribute. Fails with `ENODATA` if there is none. */
  readonly removexattr = async (path: PathLike, name: string): Promise<void> => {
    await this.#metadata('removexattr', pathText(path), at => {
      this.#view.removeXattr(at, name, true)
    })
  }

  #at(shown: string): string {
    return absolutePath(this.#root, shown)
  }

  /** Runs a call on one path, as a promise. */
  async #metadata<T>(syscall: string, shown: string, call: (at: string) => T): Promise<T> {
    return await guardAsync({ syscall, path: shown }, () => Promise.resolve(call(this.#at(shown))))
  }

  /** Runs a call on two paths, as a promise. */
  async #pair(
    syscall: string,
    from: string,
    to: string,
    call: (from: string, to: string) => void,
  ): Promise<void> {
    await guardAsync({ syscall, path: from, dest: to }, async () => {
      call(this.#at(from), this.#at(to))
      await Promise.resolve()
    })
  }

  #kind(at: string, follow: boolean): number {
    try {
      this.#view.stat(at, follow, scratch)
      return scratch[ATTRIBUTE.kind] ?? 0
    } catch (error) {
      if (codeOf(error) === 'ENOENT' && !follow) return 0
      throw error
    }
  }

  /** Opens a file, or a directory for what can be done with one. */
  #target(at: string, bits: number, mode: number): HandleTarget {
    try {
      return this.#view.open(at, bits, mode)
    } catch (error) {
      const readOnly = (bits & (OPEN.write | OPEN.append | OPEN.create)) === 0
      if (codeOf(error) !== 'EISDIR' || !readOnly) throw error
    }
    this.#view.access(at, constants.R_OK)
    this.#view.stat(at, true, scratch)
    const [view, inode] = [scratch[ATTRIBUTE.view] ?? 0, scratch[ATTRIBUTE.inode] ?? 0]
    return directoryTarget(this.#view, this.#sync, view, inode)
  }

  async #writeContents(
    file: PathLike | promises.FileHandle,
    data: unknown,
    options: unknown,
    flag: string,
  ): Promise<void> {
    checkContents(data)
    const contents = data as string
    if (file instanceof FileHandle) {
      await file.writeFile(contents, options as null)
      return
    }
    const flags = openFlags(field(options, 'flag'), flag)
    const mode = fileMode(field(options, 'mode'), DEFAULT_FILE_MODE)
    const shown = pathText(file)
    await guardAsync({ syscall: 'open', path: shown }, async () => {
      checkAborted(signalOf(options))
      const target = this.#target(this.#at(shown), flags.bits, mode)
      const handle = new FileHandle(target, shown, flags.bits)
      try {
        await handle.writeFile(contents, options as null)
      } finally {
        await handle.close()
      }
    })
  }

  #remove(at: string, shown: string, recursive: boolean): void {
    guard({ syscall: 'lstat', path: shown }, () => {
      this.#view.stat(at, false, scratch)
    })
    if (scratch[ATTRIBUTE.kind] !== KIND.directory) {
      this.#view.unlink(at)
      return
    }
    if (!recursive) {
      const message = `Path is a directory: rm returned EISDIR (is a directory) ${shown}`
      const context = { syscall: 'rm', path: shown, errno: osConstants.errno.EISDIR }
      throw new LockstepError('ERR_FS_EISDIR', message, context)
    }
    this.#view.removeTree(at)
  }

  /** mkdir -p; the first directory that was made. */
  #makeDirectories(at: string, mode: number): string | undefined {
    let first: string | undefined
    let path = ''
    const names = at.split('/').filter(name => name !== '')
    for (const [index, name] of names.entries()) {
      path += `/${name}`
      const isLast = index === names.length - 1
      if (!this.#makeMissing(path, mode, isLast, at.endsWith('/'))) continue
      // As in node, the path itself is answered in the caller's own spelling.
      first ??= (isLast ? at : path).slice(this.#root.length)
    }
    return first
  }

  /** Makes a directory unless it is there; whether it was made. */
  #makeMissing(at: string, mode: number, isLast: boolean, hasSlash: boolean): boolean {
    const kind = this.#kindIfThere(at)
    if (kind === KIND.directory) return false
    if (kind !== undefined) throw systemError(isLast && !hasSlash ? 'EEXIST' : 'ENOTDIR')
    try {
      this.#view.makeDirectory(at, mode)
      return true
    } catch (error) {
      if (codeOf(error) !== 'EEXIST') throw error
      // Somebody else made it meanwhile, through another view; or a symbolic link leads nowhere.
      if (this.#kindIfThere(at) === KIND.directory) return false
      if (isLast) throw systemError('ENOENT')
      throw systemError('ENOTDIR', { syscall: 'mkdir', path: at.slice(this.#root.length) })
    }
  }

  #kindIfThere(at: string): number | undefined {
    try {
      return this.#kind(at, true)
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return undefined
      throw error
    }
  }

  async #stat(syscall: string, path: PathLike, follow: boolean, options: unknown) {
    return await this.#metadata(syscall, pathText(path), at => {
      this.#view.stat(at, follow, scratch)
      return statsOf(scratch, isSet(options, 'bigint'))
    })
  }

  async #chown(
    syscall: string,
    path: PathLike,
    uid: number,
    gid: number,
    follow: boolean,
  ): Promise<void> {
    const change = owners(uid, gid)
    await this.#metadata(syscall, pathText(path), at => {
      this.#view.setAttributes(at, follow, change)
    })
  }

  async #utimes(
    syscall: string,
    path: PathLike,
    atime: fs.TimeLike,
    mtime: fs.TimeLike,
    follow: boolean,
  ): Promise<void> {
    const change = { atimeMs: timeMs(atime, 'atime'), mtimeMs: timeMs(mtime, 'mtime') }
    await this.#metadata(syscall, pathText(path), at => {
      this.#view.setAttributes(at, follow, change)
    })
  }
}

function* topOf(view: NativeView, at: string) {
  for (const entry of entriesOf(view, at)) yield { ...entry, parent: '' }
}

function temporaryName(): string {
  const letters = Array.from(randomBytes(TEMPORARY_NAME_LENGTH), byte =>
    TEMPORARY_NAME_LETTERS.charAt(byte % TEMPORARY_NAME_LETTERS.length),
  )
  return letters.join('')
}

/** What an open directory can do: tell and change its attributes, and be made durable. */
function directoryTarget(
  view: NativeView,
  sync: () => Promise<void>,
  viewId: number,
  inode: number,
): HandleTarget {
  const refuse = (): never => {
    throw systemError('EISDIR')
  }
  return {
    stat: into => {
      view.statNode(viewId, inode, into)
    },
    setAttributes: change => {
      view.setNodeAttributes(viewId, inode, change)
    },
    sync,
    read: refuse,
    write: refuse,
    readSync: refuse,
    writeSync: refuse,
    truncate: () => {
      throw systemError('EINVAL')
    },
    close: () => undefined,
  }
}
