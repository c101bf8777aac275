/**
 * Stores: opening, closing, and who looks.
 *
 * Invariants:
 * - One process has a store open at a time; a second one is told who.
 * - `close` commits everything. A process that ends without it loses nothing that was acknowledged.
 */
import { setTimeout } from 'node:timers/promises'
import { nativeOptions } from './config.js'
import type { StoreOptions } from './config.js'
import { AbortError, codeOf, errorFor, guard, guardAsync, systemError } from './errors.js'
import { NativeStore, checkStore, repairStore } from './native.js'
import type {
  CheckProgress,
  CheckReport,
  NativeScrubOptions,
  RepairReport,
  RecoveryReport,
  ScrubStatus,
  SpaceReport,
  StoreHealth,
  UserNumbers,
} from './native.js'
import { Session } from './session.js'

/** A user by name, as the machine and the store know it, or by numbers. */
export type StoreUser =
  { user: string } | { uid: number; gid: number; groups?: readonly number[]; umask?: number }

/** How a scrub is done. */
export interface ScrubOptions extends NativeScrubOptions {
  /** Told how it stands. */
  onProgress?: (status: ScrubStatus) => void
  /** Ends it. */
  signal?: AbortSignal
}

const UMASK_DEFAULT = 0o022
/** How often a scrub is looked at. */
export const SCRUB_LOOK_MS = 100

/** An open store, as the process's own user sees it. */
export class Store extends Session {
  /** The directory it lies in. */
  readonly directory: string
  /** What opening it found in its log. */
  readonly recovery: RecoveryReport
  #closing: Promise<void> | undefined

  private constructor(directory: string, native: NativeStore) {
    super(native, native.view(processUser()))
    this.directory = directory
    this.recovery = native.recovery()
  }

  /**
   * Makes a new, empty store without opening it.
   *
   * @param directory - Made if missing; must be empty.
   * @throws LockstepError `ERR_LOCKSTEP_NOT_EMPTY`, `EACCES`, `ENOSPC`.
   */
  static async create(directory: string): Promise<void> {
    await guardAsync({ syscall: 'create', path: directory }, async () => {
      NativeStore.create(directory)
      await Promise.resolve()
    })
  }

  /**
   * Opens a store; recovers what an unclean stop left.
   *
   * @param directory - Where it lies.
   * @param options - `create: true` makes it if there is nothing yet.
   * @throws LockstepError `ERR_LOCKSTEP_NOT_A_STORE`, `ERR_LOCKSTEP_LOCKED` (somebody has it open),
   * `ERR_LOCKSTEP_SUPERBLOCK`, `ERR_LOCKSTEP_NEWER_FORMAT`, `ERR_LOCKSTEP_UNKNOWN_FEATURE`,
   * `ERR_LOCKSTEP_NO_BINDING`.
   */
  static async open(directory: string, options: StoreOptions = {}): Promise<Store> {
    const native = nativeOptions(options)
    return await guardAsync({ syscall: 'open', path: directory }, async () => {
      try {
        return new Store(directory, await NativeStore.open(directory, native))
      } catch (error) {
        if (!options.create || codeOf(error) !== 'ERR_LOCKSTEP_NOT_A_STORE') throw error
      }
      NativeStore.create(directory)
      return new Store(directory, await NativeStore.open(directory, native))
    })
  }

  /**
   * Checks a store that nobody has open: every page, inode, chunk, footer and byte. Damage is named:
   * by file of the store, and by path, range and snapshot of what it takes.
   *
   * @param directory - Where it lies.
   * @param options - `onProgress` is told now and then how far it is.
   * @throws LockstepError `ERR_LOCKSTEP_LOCKED`, `ERR_LOCKSTEP_NOT_A_STORE`.
   */
  static async check(
    directory: string,
    options: { onProgress?: (progress: CheckProgress) => void } = {},
  ): Promise<CheckReport> {
    return await guardAsync({ syscall: 'check', path: directory }, () =>
      checkStore(directory, options.onProgress),
    )
  }

  /**
   * Repairs a store that nobody has open: what can be derived again is, and nothing else. Without
   * `apply` it only says what it would do. Copies of what it changes stay in the store's directory.
   *
   * @param directory - Where it lies.
   * @param options - `apply`: do it; `onProgress` is told how far the checks before and after are.
   * @throws LockstepError `ERR_LOCKSTEP_LOCKED`, `ERR_LOCKSTEP_NOT_A_STORE`; `ERR_LOCKSTEP_CORRUPT`
   * if it cannot be opened at all: then it cannot be repaired.
   */
  static async repair(
    directory: string,
    options: { apply?: boolean; onProgress?: (progress: CheckProgress) => void } = {},
  ): Promise<RepairReport> {
    return await guardAsync({ syscall: 'repair', path: directory }, () =>
      repairStore(directory, options.apply === true, options.onProgress),
    )
  }

  /**
   * The store as another user sees it. It lives as long as the store is open.
   *
   * @param user - A name (groups from the machine), or numbers; uid 0 is the superuser.
   */
  as(user: StoreUser): Session {
    const view = guard({ syscall: 'as' }, () =>
      'user' in user
        ? this.native.viewOf(user.user)
        : this.native.view({
            uid: user.uid,
            gid: user.gid,
            groups: [...(user.groups ?? [])],
            umask: user.umask ?? UMASK_DEFAULT,
          }),
    )
    return new Session(this.native, view)
  }

  /**
   * Makes everything acknowledged so far durable: it survives the loss of power.
   *
   * @throws LockstepError `EIO`; the store is closed then, for nobody knows what the disk holds.
   */
  async sync(): Promise<void> {
    await guardAsync({ syscall: 'sync', path: this.directory }, () => this.native.sync())
  }

  /**
   * Reads every page, chunk and footer while the store is in use, and names what is damaged. It goes on
   * in the background; its place is kept in the store, so that one that was ended can be resumed.
   *
   * @param options - `rateBytes`: at most so many bytes a second; `resume`: go on where the last one
   * was interrupted; `onProgress`: told a few times a second; `signal`: ends it.
   * @throws LockstepError `EBUSY` if one is under way, `EIO` if the disk does not answer; `AbortError`.
   */
  async scrub(options: ScrubOptions = {}): Promise<ScrubStatus> {
    const context = { syscall: 'scrub', path: this.directory }
    const { signal, onProgress, ...native } = options
    const isAborted = (): boolean => signal?.aborted === true
    if (isAborted()) throw new AbortError(signal?.reason)
    guard(context, () => {
      this.native.startScrub(native)
    })
    for (;;) {
      const status = this.native.scrubStatus()
      if (status?.running !== true) return guard(context, () => endedScrub(status))
      onProgress?.(status)
      await setTimeout(SCRUB_LOOK_MS)
      if (!isAborted()) continue
      await this.native.stopScrub()
      throw new AbortError(signal?.reason)
    }
  }

  /** How the scrub that is under way stands, or the last one; nothing if there was none. */
  scrubStatus(): ScrubStatus | undefined {
    return (
      guard({ syscall: 'scrub', path: this.directory }, () => this.native.scrubStatus()) ??
      undefined
    )
  }

  /**
   * Tells of damage that reads meet, each once.
   *
   * @param listener - Gets a line that names the file of the store and the place in it.
   */
  onDamage(listener: (message: string) => void): void {
    this.native.onDamage(listener)
  }

  /** Where the bytes of the store went. */
  async space(): Promise<SpaceReport> {
    return await guardAsync({ syscall: 'space', path: this.directory }, () =>
      Promise.resolve(this.native.space()),
    )
  }

  /** Whether the store accepts changes: not after a failure, and on a full disk only some. */
  health(): StoreHealth {
    return guard({ syscall: 'health', path: this.directory }, () => this.native.health())
  }

  /**
   * Commits and closes. Later calls answer `ERR_LOCKSTEP_CLOSED`; closing again does nothing.
   *
   * @throws LockstepError `ERR_LOCKSTEP_CLOSED` if a failed write or sync had closed it for changes.
   */
  async close(): Promise<void> {
    this.#closing ??= guardAsync({ syscall: 'close', path: this.directory }, () =>
      this.native.close(),
    )
    await this.#closing
  }

  /** As `close`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

/** The result of a scrub, or the failure that ended it. */
export function endedScrub(status: ScrubStatus | null): ScrubStatus {
  if (status?.failureCode !== undefined) {
    throw errorFor(status.failureCode, status.failure ?? status.failureCode)
  }
  if (status === null) throw systemError('EIO')
  return status
}

/** The process's own user; the superuser where the system knows no users. */
function processUser(): UserNumbers {
  const uid = process.getuid?.() ?? 0
  const gid = process.getgid?.() ?? 0
  const groups = process.getgroups?.() ?? []
  // Read once, when a store is opened: what the deprecation warns of is a change from two threads.
  // eslint-disable-next-line @typescript-eslint/no-deprecated
  const umask = process.umask()
  return { uid, gid, groups, umask }
}
