/**
 * The control interface over a store that this process has open: the command line's own, and the
 * one behind the daemon's socket.
 *
 * Invariants:
 * - The user is the process's own; the store decides what it may do.
 * - A file that is being stored has a temporary name beside its own until all its bytes are there.
 */
import { randomBytes } from 'node:crypto'
import { codeOf, errorFor, guard, guardAsync, systemError } from '../errors.js'
import { ATTRIBUTE, ATTRIBUTE_COUNT, KIND, OPEN, RENAME } from '../native.js'
import type { Listing, NativeFile, NativeStore, NativeView, ScrubStatus } from '../native.js'
import { CONTROL_PROTOCOL } from './control.js'
import type * as control from './control.js'
import { changeEntry, EntryReader, join, snapshotEntry, split, volumeEntry } from './entry.js'
import { readBytes, writeBytes } from './file-bytes.js'
import { VERSION } from './version.js'

/** Entries read from a directory at once. */
const LIST_LIMIT = 1000
/** Longest name in bytes. */
const NAME_BYTES_MAX = 255

/** The control interface over an open store. */
export class LocalControl implements control.Control {
  readonly #store: NativeStore
  readonly #view: NativeView
  readonly #entries: EntryReader
  readonly #directory: string
  readonly #closeStore: boolean

  /**
   * @param store - The open store.
   * @param directory - Where it lies.
   * @param closeStore - Whether `close` closes it too.
   */
  constructor(store: NativeStore, directory: string, closeStore: boolean) {
    this.#store = store
    this.#directory = directory
    this.#closeStore = closeStore
    this.#entries = new EntryReader(store)
    this.#view = guard({ syscall: 'open', path: directory }, () => store.view(ownNumbers()))
  }

  about(): Promise<control.About> {
    return Promise.resolve({
      protocol: CONTROL_PROTOCOL,
      version: VERSION,
      pid: process.pid,
      store: this.#directory,
    })
  }

  async stat({ path, follow }: control.PathRequest & { follow: boolean }): Promise<control.Entry> {
    return await this.#ask('stat', path, () => this.#entry(path, follow))
  }

  async *list({ path }: control.PathRequest): AsyncGenerator<control.Entry, void> {
    if (!this.#isDirectory(path)) {
      yield await this.stat({ path, follow: false })
      return
    }
    let after: string | null = null
    for (;;) {
      const from: string | null = after
      const part: Listing = guard({ syscall: 'scandir', path }, () =>
        this.#view.list(path, from, LIST_LIMIT, true),
      )
      for (const [index, name] of part.names.entries()) {
        const entryPath = join(path, name)
        const entry = this.#entries.entry(entryPath, part.attributes, index * ATTRIBUTE_COUNT)
        if (entry.kind === 'symlink') this.#addTarget(entry)
        yield entry
        after = name
      }
      if (!part.more || part.names.length === 0) return
    }
  }

  async read({ path }: control.PathRequest): Promise<control.Reading> {
    return await this.#ask('open', path, () => {
      const entry = this.#entry(path, true)
      if (entry.kind === 'directory') throw systemError('EISDIR', { syscall: 'read', path })
      if (entry.kind !== 'file') throw systemError('EINVAL', { syscall: 'read', path })
      const file = this.#view.open(path, OPEN.read, 0)
      return { entry, bytes: readBytes(file, path) }
    })
  }

  async write(
    { path, mode }: control.PathRequest & { mode: number },
    bytes: AsyncIterable<Uint8Array>,
  ): Promise<control.Entry> {
    const target = await this.#ask('open', path, () => this.#writeTarget(path))
    const { directory, name } = split(target)
    if (Buffer.byteLength(name) > NAME_BYTES_MAX) {
      throw systemError('ENAMETOOLONG', { syscall: 'open', path })
    }
    const temporary = join(directory, temporaryName(name))
    const file = await this.#ask('open', path, () =>
      this.#view.open(temporary, OPEN.write | OPEN.create | OPEN.exclusive, mode),
    )
    try {
      await writeAndClose(file, path, bytes)
      guard({ syscall: 'rename', path }, () => {
        this.#view.rename(temporary, join(directory, name), RENAME.replace)
      })
    } catch (error) {
      this.#discard(temporary)
      throw error
    }
    return await this.stat({ path: target, follow: false })
  }

  async makeDirectory({
    path,
    mode,
    parents,
  }: control.PathRequest & { mode: number; parents: boolean }): Promise<control.Entry> {
    return await this.#ask('mkdir', path, () => {
      if (parents) this.#view.makeDirectories(path, mode)
      else this.#view.makeDirectory(path, mode)
      return this.#entry(path, true)
    })
  }

  async makeLink({
    path,
    target,
  }: control.PathRequest & { target: string }): Promise<control.Entry> {
    return await this.#ask('symlink', path, () => {
      this.#view.symlink(target, path)
      return this.#entry(path, false)
    })
  }

  async remove({ path, recursive }: control.PathRequest & { recursive: boolean }): Promise<void> {
    await this.#ask('rm', path, () => {
      if (this.#entry(path, false).kind !== 'directory') this.#view.unlink(path)
      else if (recursive) this.#removeTree(path)
      else throw systemError('EISDIR', { syscall: 'rm', path })
    })
  }

  async createSnapshot({ path, name }: control.SnapshotRequest): Promise<control.SnapshotEntry> {
    return await this.#ask('snapshot', path, () =>
      snapshotEntry(path, this.#view.createSnapshot(path, name)),
    )
  }

  async listSnapshots({ path }: control.PathRequest): Promise<control.SnapshotEntry[]> {
    return await this.#ask('snapshot', path, () =>
      this.#view.listSnapshots(path).map(info => snapshotEntry(path, info)),
    )
  }

  async deleteSnapshot({ path, name }: control.SnapshotRequest): Promise<void> {
    await this.#ask('snapshot', join(join(path, '.snapshot'), name), () => {
      this.#view.deleteSnapshot(path, name)
    })
  }

  async renameSnapshot({
    path,
    name,
    to,
  }: control.SnapshotRequest & { to: string }): Promise<void> {
    await this.#ask('snapshot', join(join(path, '.snapshot'), name), () => {
      this.#view.renameSnapshot(path, name, to)
    })
  }

  async createClone({
    path,
    snapshot,
    newPath,
  }: control.PathRequest & { snapshot: string; newPath: string }): Promise<control.VolumeEntry> {
    return await guardAsync({ syscall: 'clone', path, dest: newPath }, () =>
      Promise.resolve().then(() => volumeEntry(this.#view.createClone(path, snapshot, newPath))),
    )
  }

  async createVolume({ path }: control.PathRequest): Promise<control.VolumeEntry> {
    return await this.#ask('volume', path, () => volumeEntry(this.#view.createVolume(path)))
  }

  async listVolumes(): Promise<control.VolumeEntry[]> {
    return await this.#ask('volume', '/', () => this.#store.listVolumes().map(volumeEntry))
  }

  async deleteVolume({ path }: control.PathRequest): Promise<void> {
    await this.#ask('volume', path, () => {
      this.#view.deleteVolume(path)
    })
  }

  async *diff({
    path,
    from,
    to,
  }: control.PathRequest & { from: string; to: string }): AsyncGenerator<
    control.ChangeEntry,
    void
  > {
    const changes = await guardAsync({ syscall: 'diff', path }, () =>
      this.#view.diff(path, from, to),
    )
    for (const change of changes) yield changeEntry(change)
  }

  async space({ path }: control.PathRequest): Promise<control.SpaceEntry> {
    return await guardAsync({ syscall: 'statfs', path }, async () => {
      const host = this.#view.statistics(path)
      const content = await this.#view.contentSummary(path)
      return {
        store: this.#store.space(),
        health: this.#store.health(),
        host: {
          totalBytes: host.totalBytes,
          freeBytes: host.freeBytes,
          availableBytes: host.availableBytes,
        },
        path,
        content: {
          length: content.length,
          files: content.files,
          directories: content.directories,
        },
      }
    })
  }

  async startScrub({ rateBytes, resume }: control.ScrubRequest): Promise<void> {
    await this.#ask('scrub', this.#directory, () => {
      this.#store.startScrub({ rateBytes, resume })
    })
  }

  scrubStatus(): Promise<ScrubStatus | null> {
    return Promise.resolve(this.#store.scrubStatus() ?? null)
  }

  async stopScrub(): Promise<void> {
    await guardAsync({ syscall: 'scrub' }, () => this.#store.stopScrub())
  }

  async sync(): Promise<void> {
    await guardAsync({ syscall: 'sync' }, () => this.#store.sync())
  }

  async close(): Promise<void> {
    if (!this.#closeStore) return
    await guardAsync({ syscall: 'close', path: this.#directory }, () => this.#store.close())
  }

  /** Makes a synchronous native call a promise with a translated error. */
  #ask<T>(syscall: string, path: string, call: () => T): Promise<T> {
    return guardAsync({ syscall, path }, () => Promise.resolve().then(call))
  }

  #entry(path: string, follow: boolean): control.Entry {
    const record = new Float64Array(ATTRIBUTE_COUNT)
    this.#view.stat(path, follow, record)
    const entry = this.#entries.entry(path, record)
    if (entry.kind === 'symlink') this.#addTarget(entry)
    return entry
  }

  #addTarget(entry: control.Entry): void {
    try {
      entry.target = this.#view.readLink(entry.path)
    } catch {
      // Removed since it was listed, or not for this user: the entry stands without its target.
      delete entry.target
    }
  }

  /** A link to a directory is one; a link to nothing is not, and can be listed itself. */
  #isDirectory(path: string): boolean {
    const record = new Float64Array(ATTRIBUTE_COUNT)
    try {
      guard({ syscall: 'scandir', path }, () => {
        this.#view.stat(path, true, record)
      })
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return false
      throw error
    }
    return record[ATTRIBUTE.kind] === KIND.directory
  }

  /** Where the bytes go: through a symbolic link to the file behind it, as an ordinary write would. */
  #writeTarget(path: string): string {
    if (split(path).name === '') throw systemError('EISDIR', { syscall: 'open', path })
    const record = new Float64Array(ATTRIBUTE_COUNT)
    try {
      this.#view.stat(path, true, record)
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return path
      throw error
    }
    const kind = record[ATTRIBUTE.kind]
    if (kind === KIND.directory) throw systemError('EISDIR', { syscall: 'open', path })
    if (kind !== KIND.file) throw systemError('EINVAL', { syscall: 'open', path })
    const link = new Float64Array(ATTRIBUTE_COUNT)
    this.#view.stat(path, false, link)
    if (link[ATTRIBUTE.kind] !== KIND.symlink) return path
    return this.#view.pathOf(record[ATTRIBUTE.view] ?? 0, record[ATTRIBUTE.inode] ?? 0)
  }

  #removeTree(path: string): void {
    try {
      this.#view.removeTree(path)
    } catch (error) {
      if (codeOf(error) !== 'ENOTEMPTY') throw error
      const why = `${path} has snapshots or volumes, in it or below; delete those first`
      throw errorFor('ENOTEMPTY', `ENOTEMPTY: ${why}`, { syscall: 'rm', path, cause: error })
    }
  }

  #discard(temporary: string): void {
    try {
      this.#view.unlink(temporary)
    } catch {
      // The store is closed or full: the first error is the one to report.
      return
    }
  }
}

async function writeAndClose(
  file: NativeFile,
  path: string,
  bytes: AsyncIterable<Uint8Array>,
): Promise<void> {
  try {
    await writeBytes(file, path, bytes)
  } finally {
    file.close()
  }
}

/** A hidden name beside `name` in the manner of `hdfs dfs -put`, never longer than a name may be. */
function temporaryName(name: string): string {
  const suffix = `._COPYING_.${randomBytes(4).toString('hex')}`
  let kept = name
  while (Buffer.byteLength(kept) + suffix.length > NAME_BYTES_MAX) kept = kept.slice(0, -1)
  return kept + suffix
}

function ownNumbers(): { uid: number; gid: number; groups: number[]; umask: number } {
  return {
    uid: process.geteuid?.() ?? 0,
    gid: process.getegid?.() ?? 0,
    groups: process.getgroups?.() ?? [],
    umask: ownUmask(),
  }
}

/** The process's mask. Reading it means setting it, so it is read once, before threads run. */
function ownUmask(): number {
  const mask = process.umask(0o022)
  process.umask(mask)
  return mask
}
