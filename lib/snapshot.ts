/**
 * Snapshots: immutable, named states of a directory.
 *
 * A `Snapshot` is a name for one; it costs nothing and holds nothing open. It stays valid until the
 * snapshot is deleted or renamed by somebody else.
 */
import type { Change } from './change.js'
import { FileSystem } from './file-system.js'
import type { SnapshotInfo } from './native.js'
import type { Session } from './session.js'
import type { Volume } from './volume.js'

/** A snapshot of a directory. */
export class Snapshot {
  /** The directory it was taken of. */
  readonly directory: string
  /** When it was taken. */
  readonly created: Date
  /** The last epoch that is in it; grows with every snapshot of the store. */
  readonly epoch: number
  readonly #session: Session
  #name: string
  #fs: FileSystem | undefined

  /**
   * @param session - Who asks.
   * @param directory - The directory it was taken of.
   * @param info - What the native core tells.
   */
  constructor(session: Session, directory: string, info: SnapshotInfo) {
    this.#session = session
    this.directory = directory
    this.#name = info.name
    this.created = new Date(info.createdMs)
    this.epoch = info.epoch
  }

  /** Its name, unique in the directory. */
  get name(): string {
    return this.#name
  }

  /** Its path in the namespace, the same in every view. */
  get path(): string {
    return `${this.directory === '/' ? '' : this.directory}/.snapshot/${this.#name}`
  }

  /** Its files. Whatever would change them fails with `EROFS`. */
  get fs(): FileSystem {
    this.#fs ??= new FileSystem(this.#session.core, this.path)
    return this.#fs
  }

  /**
   * Gives it another name.
   *
   * @throws LockstepError `EEXIST`, `EINVAL` (the name), `ENOENT` (it is gone), `EACCES`.
   */
  async rename(name: string): Promise<void> {
    await this.#session.renameSnapshot(this.directory, this.#name, name)
    this.#name = name
    this.#fs = undefined
  }

  /**
   * Drops it. What only it kept is freed in the background.
   *
   * @throws LockstepError `ENOENT`, `EACCES`.
   */
  async delete(): Promise<void> {
    await this.#session.deleteSnapshot(this.directory, this.#name)
  }

  /**
   * A writable volume that starts as this snapshot; costs the same whatever the size.
   *
   * @param newPath - Where to attach it; its parent must exist.
   * @throws LockstepError `EEXIST`, `ENOENT`, `EACCES`.
   */
  async clone(newPath: string): Promise<Volume> {
    return await this.#session.clone(this.directory, this.#name, newPath)
  }

  /**
   * What changed since this snapshot.
   *
   * @param to - A later (or earlier) snapshot of the directory, or its name; now unless given.
   * @throws LockstepError `ENOENT`.
   */
  diff(to?: Snapshot | string): AsyncIterable<Change> {
    return this.#session.diff(this.directory, this, to)
  }
}
