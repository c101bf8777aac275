/**
 * A store as one user sees it: its files, volumes and snapshots. `Store` is the session of the
 * process's own user; `Store.as` gives those of others.
 *
 * Invariant: permission is decided in the native core, from the user's numbers alone.
 */
import { changeOf } from './change.js'
import type { Change } from './change.js'
import { nameText } from './config.js'
import { guardAsync, systemError } from './errors.js'
import { FileSystem } from './file-system.js'
import type { FileSystemCore } from './file-system.js'
import type { ContentSummary, NativeStore, NativeView, VolumeInfo } from './native.js'
import { absolutePath, pathText, rootOf } from './paths.js'
import { Snapshot } from './snapshot.js'
import { Volume } from './volume.js'

const ROOT_PATH = '/'

/** The path of a directory as the core knows it. */
function directoryPath(path: string): string {
  return rootOf(absolutePath('', pathText(path))) || ROOT_PATH
}

/** A store as one user sees it. */
export class Session {
  /** What the file systems of this session stand on. @internal */
  readonly core: FileSystemCore
  /** The store in the native core, for the services of this package. @internal */
  readonly native: NativeStore
  /** The files of the whole namespace, in the manner of `node:fs/promises`. */
  readonly fs: FileSystem
  readonly #view: NativeView

  /**
   * @param native - The open store.
   * @param view - Who asks.
   */
  constructor(native: NativeStore, view: NativeView) {
    this.native = native
    this.#view = view
    this.core = { view, sync: () => native.sync() }
    this.fs = new FileSystem(this.core, ROOT_PATH)
  }

  /** The user's number. */
  get uid(): number {
    return this.#view.uid
  }

  /** The number of the user's group. */
  get gid(): number {
    return this.#view.gid
  }

  /** The root volume. */
  get root(): Volume {
    const info = this.native.listVolumes().find(({ path }) => path === ROOT_PATH)
    if (info === undefined) throw systemError('ENOENT', { syscall: 'volume', path: ROOT_PATH })
    return new Volume(this, info)
  }

  /**
   * The volume that is attached at a path.
   *
   * @throws LockstepError `ENOENT` if there is none.
   */
  async volume(path: string): Promise<Volume> {
    return new Volume(this, await this.volumeInfo(path))
  }

  /** All volumes, clones among them. */
  async *volumes(): AsyncIterable<Volume> {
    const infos = await this.#run('volumes', ROOT_PATH, () => this.native.listVolumes())
    for (const info of infos) yield new Volume(this, info)
  }

  /**
   * Attaches a new, empty volume. Its root belongs to the user.
   *
   * @param path - Where; its parent must exist.
   * @throws LockstepError `EEXIST`, `ENOENT`, `EACCES`, `EROFS`.
   */
  async createVolume(path: string): Promise<Volume> {
    return new Volume(this, await this.#run('volume', path, at => this.#view.createVolume(at)))
  }

  /** As `Volume.delete`. */
  async deleteVolume(path: string): Promise<void> {
    await this.#run('volume', path, at => {
      this.#view.deleteVolume(at)
    })
  }

  /**
   * Takes a snapshot of a directory, as `Volume.snapshot` does of a volume's root.
   *
   * @throws LockstepError `ENOENT`, `ENOTDIR`, `EEXIST`, `EINVAL` (the name), `EACCES`, `EROFS`.
   */
  async snapshot(path: string, name: string): Promise<Snapshot> {
    const info = await this.#run('snapshot', path, at =>
      this.#view.createSnapshot(at, nameText(name, 'name')),
    )
    return new Snapshot(this, directoryPath(path), info)
  }

  /** The snapshots of a directory, oldest first. */
  async *snapshots(path: string): AsyncIterable<Snapshot> {
    const infos = await this.#run('snapshots', path, at => this.#view.listSnapshots(at))
    for (const info of infos) yield new Snapshot(this, directoryPath(path), info)
  }

  /** As `Snapshot.rename`. */
  async renameSnapshot(path: string, from: string, to: string): Promise<void> {
    await this.#run('snapshot', path, at => {
      this.#view.renameSnapshot(at, nameText(from, 'from'), nameText(to, 'to'))
    })
  }

  /** As `Snapshot.delete`. */
  async deleteSnapshot(path: string, name: string): Promise<void> {
    await this.#run('snapshot', path, at => {
      this.#view.deleteSnapshot(at, nameText(name, 'name'))
    })
  }

  /**
   * A writable volume that starts as a snapshot; costs the same whatever the size.
   *
   * @param path - The directory that the snapshot was taken of.
   * @param snapshot - The snapshot or its name.
   * @param newPath - Where to attach the volume; its parent must exist.
   * @throws LockstepError `ENOENT`, `EEXIST`, `EACCES`, `EROFS`.
   */
  async clone(path: string, snapshot: Snapshot | string, newPath: string): Promise<Volume> {
    const name = stateName(snapshot)
    const dest = pathText(newPath, 'newPath')
    const context = { syscall: 'clone', path: pathText(path), dest }
    const info = await guardAsync(context, () =>
      Promise.resolve(this.#view.createClone(directoryPath(path), name, directoryPath(dest))),
    )
    return new Volume(this, info)
  }

  /**
   * What differs between two states of a directory, in the order in which a replay needs it: what
   * is deleted, renamed, created, modified. Costs what changed, not what there is.
   *
   * @param path - The directory.
   * @param from - A snapshot of it, or its name; now if it is left out.
   * @param to - The same for the later state.
   * @throws LockstepError `ENOENT`, `EACCES`.
   */
  async *diff(
    path: string,
    from?: Snapshot | string,
    to?: Snapshot | string,
  ): AsyncIterable<Change> {
    const [older, newer] = [stateName(from), stateName(to)]
    const context = { syscall: 'diff', path: pathText(path) }
    const changes = await guardAsync(context, () =>
      this.#view.diff(directoryPath(path), older, newer),
    )
    for (const change of changes) yield changeOf(change)
  }

  /**
   * Sums over everything below a path.
   *
   * @throws LockstepError `ENOENT`, `EACCES`.
   */
  async summary(path: string): Promise<ContentSummary> {
    const context = { syscall: 'summary', path: pathText(path) }
    return await guardAsync(context, () => this.#view.contentSummary(directoryPath(path)))
  }

  /** What the native core tells of the volume at a path. @internal */
  async volumeInfo(path: string): Promise<VolumeInfo> {
    return await this.#run('volume', path, at => {
      const info = this.native.listVolumes().find(volume => volume.path === at)
      if (info === undefined) throw systemError('ENOENT')
      return info
    })
  }

  async #run<T>(syscall: string, path: string, call: (at: string) => T): Promise<T> {
    return await guardAsync({ syscall, path: pathText(path) }, () =>
      Promise.resolve(call(directoryPath(path))),
    )
  }
}

/** The name of a state for the core: a snapshot's, or empty for now. */
function stateName(state: Snapshot | string | undefined): string {
  if (state === undefined) return ''
  return state instanceof Snapshot ? state.name : nameText(state, 'snapshot')
}
