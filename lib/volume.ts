/**
 * Volumes: trees that are attached in the store's namespace, with their own root and commit order
 * shared with the others. A clone is a volume that was born from a snapshot.
 *
 * A `Volume` is a name for one; it costs nothing and holds nothing open.
 */
import type { Change } from './change.js'
import { FileSystem } from './file-system.js'
import type { VolumeInfo } from './native.js'
import type { Session } from './session.js'
import type { Snapshot } from './snapshot.js'

/** Figures of a volume. */
export interface VolumeStatistics {
  /** Inodes in it. */
  readonly inodeCount: number
  /** Bytes of file data that its live tree reaches; shared ones count. */
  readonly bytes: number
}

/** A volume of a store. */
export class Volume {
  /** Where it is attached. */
  readonly path: string
  /** The number of its live view; `stat` shows it as `dev`. */
  readonly view: number
  /** When it was made. */
  readonly created: Date
  /** Whether it was born from a snapshot. */
  readonly isClone: boolean
  readonly #session: Session
  #fs: FileSystem | undefined

  /**
   * @param session - Who asks.
   * @param info - What the native core tells.
   */
  constructor(session: Session, info: VolumeInfo) {
    this.#session = session
    this.path = info.path
    this.view = info.view
    this.created = new Date(info.createdMs)
    this.isClone = info.origin !== null
  }

  /** Its files; `/` is the volume's root. */
  get fs(): FileSystem {
    this.#fs ??= new FileSystem(this.#session.core, this.path)
    return this.#fs
  }

  /** Its figures, as of now. */
  async statistics(): Promise<VolumeStatistics> {
    const { inodes, bytes } = await this.#session.volumeInfo(this.path)
    return { inodeCount: inodes, bytes }
  }

  /**
   * Takes a snapshot of this volume's root. Costs the same whatever the volume's size, and writers
   * do not wait. Writes acknowledged before the call are in it; those issued after the promise
   * settles are not.
   *
   * @param name - Unique in the directory, 1 to 255 bytes of UTF-8, no `/`, not `.` or `..`.
   * @throws LockstepError `EEXIST` if the name is taken, `EINVAL`, `EACCES`, `EROFS`.
   */
  async snapshot(name: string): Promise<Snapshot> {
    return await this.#session.snapshot(this.path, name)
  }

  /** The snapshots of this volume's root, oldest first. */
  snapshots(): AsyncIterable<Snapshot> {
    return this.#session.snapshots(this.path)
  }

  /**
   * A writable volume that starts as a snapshot of this one; costs the same whatever the size.
   *
   * @param snapshot - The snapshot or its name.
   * @param newPath - Where to attach it, in the store's namespace; its parent must exist.
   * @throws LockstepError `ENOENT`, `EEXIST`, `EACCES`.
   */
  async clone(snapshot: Snapshot | string, newPath: string): Promise<Volume> {
    return await this.#session.clone(this.path, snapshot, newPath)
  }

  /**
   * What differs between two states of this volume. Costs what changed, not what there is.
   *
   * @param from - A snapshot of its root, or its name; now if it is left out.
   * @param to - The same for the later state.
   * @throws LockstepError `ENOENT`.
   */
  diff(from?: Snapshot | string, to?: Snapshot | string): AsyncIterable<Change> {
    return this.#session.diff(this.path, from, to)
  }

  /**
   * Drops the volume with all that is in it. What only it kept is freed in the background.
   *
   * @throws LockstepError `EBUSY` if it has snapshots, open files or volumes in it, `EACCES`.
   */
  async delete(): Promise<void> {
    await this.#session.deleteVolume(this.path)
  }
}
