/**
 * The life of a mount: checks of the mount point, mounting, unmounting.
 *
 * Invariants:
 * - A mount point never lies inside the store, nor the store below the mount point: the first would
 *   put the store's own files in the way, the second would hide them.
 * - A refusal changes nothing and is one line that says what to do.
 */
import { readFileSync, realpathSync, statSync } from 'node:fs'
import { relative, resolve, sep } from 'node:path'
import { codeOf, errorFor, guardAsync } from '../errors.js'
import { holderProgram } from '../native.js'
import type { NativeMount, NativeMountOptions, NativeStore } from '../native.js'

/** How a store is mounted. */
export interface MountOptions {
  /** The directory to mount on; must be there and empty. */
  path: string
  /** The directory of the store. */
  store: string
  /** Refuse all changes through this mount. */
  readOnly?: boolean
  /**
   * Keep the mount for so many seconds when this process dies, for the next one to take over. Needs
   * a store that was opened `waiting`.
   */
  holdSeconds?: number
}

/** A mounted store. */
export class Mount {
  /** The mount point, absolute. */
  readonly path: string
  readonly #native: NativeMount
  #ended = false

  private constructor(path: string, native: NativeMount) {
    this.path = path
    this.#native = native
  }

  /**
   * Mounts `store`. The superuser's mount is for everybody, others' for themselves.
   *
   * @throws `ERR_LOCKSTEP_MOUNT_POINT`, `ERR_LOCKSTEP_MOUNT_BUSY`, `ERR_LOCKSTEP_MOUNT_STALE`,
   * `ERR_LOCKSTEP_MOUNT_DENIED`, `ERR_LOCKSTEP_NO_FUSE`.
   */
  static async create(store: NativeStore, options: MountOptions): Promise<Mount> {
    const path = resolve(options.path)
    // A mount whose daemon is away would not answer; the native side takes it over or away.
    if (!hasStoreMount(path)) checkMountPoint(path, options.store)
    const native: NativeMountOptions = {
      allowOther: process.geteuid?.() === 0,
      readOnly: options.readOnly === true,
    }
    const program = options.holdSeconds === undefined ? undefined : holderProgram()
    if (program !== undefined && options.holdSeconds !== undefined) {
      const directory = resolve(options.store)
      native.holder = { program, directory, timeoutSeconds: options.holdSeconds }
    }
    const mount = await guardAsync({ syscall: 'mount', path }, () => store.mount(path, native))
    return new Mount(path, mount)
  }

  /** Whether an earlier process made the mount, and its users know nothing of this one. */
  get isTaken(): boolean {
    return this.#native.isTaken
  }

  /** Leaves the mount to the next process; this one must end then. */
  leave(): void {
    this.#ended = true
    this.#native.leave()
  }

  /** Resolves to true if the mount was ended from outside (`umount`), to false if by `unmount`. */
  async ended(): Promise<boolean> {
    await guardAsync({ syscall: 'mount', path: this.path }, () => this.#native.ended())
    const outside = !this.#ended
    this.#ended = true
    return outside
  }

  /** Unmounts, lazily if files are open. Does nothing if the mount has ended. */
  async unmount(): Promise<void> {
    if (this.#ended) return
    this.#ended = true
    await guardAsync({ syscall: 'umount', path: this.path }, () => this.#native.unmount())
  }
}

/**
 * Refuses a mount point that can never work. What depends on the state of the system (busy, stale,
 * not permitted) is the native side's to find.
 */
export function checkMountPoint(path: string, store: string): void {
  let directory: boolean
  try {
    directory = statSync(path).isDirectory()
  } catch (error) {
    const code = codeOf(error)
    // A dead mount answers ENOTCONN to everything; the native side cleans up what was ours.
    if (code === 'ENOTCONN') return
    if (code !== 'ENOENT' && code !== 'ENOTDIR') throw error
    throw errorFor(
      'ERR_LOCKSTEP_MOUNT_POINT',
      `the mount point ${path} does not exist; make it first`,
    )
  }
  if (!directory) {
    throw errorFor('ERR_LOCKSTEP_MOUNT_POINT', `the mount point ${path} is not a directory`)
  }
  const real = realpathSync(path)
  const realStore = realpathSync(store)
  if (!contains(real, realStore) && !contains(realStore, real)) return
  throw errorFor(
    'ERR_LOCKSTEP_MOUNT_POINT',
    `the mount point ${path} and the store ${store} lie inside one another; mount somewhere else`,
  )
}

/** Whether a store is mounted at `path`, without touching what is mounted. */
export function hasStoreMount(path: string): boolean {
  let table: string
  try {
    table = readFileSync('/proc/self/mountinfo', 'utf8')
  } catch {
    // No Linux: no mounts of ours.
    return false
  }
  const written = path.replace(
    /[ \t\n\\]/g,
    char => `\\${char.charCodeAt(0).toString(8).padStart(3, '0')}`,
  )
  return table
    .split('\n')
    .some(line => line.split(' ')[4] === written && line.includes(' - fuse.lockstep '))
}

function contains(outer: string, inner: string): boolean {
  const path = relative(outer, inner)
  return path === '' || (path !== '..' && !path.startsWith(`..${sep}`))
}
