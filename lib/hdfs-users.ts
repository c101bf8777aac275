/**
 * Hadoop user names and what they mean in the store, for every HDFS service.
 *
 * Invariants:
 * - Groups are resolved by the store, never taken from a client.
 * - The user who runs the service, and `root`, see the store as uid 0: HDFS's superuser.
 * - Views have umask 0: Hadoop clients apply their umask themselves.
 * - What is remembered is bounded; a forgotten name is looked up again.
 */
import { JavaException } from './java-exceptions.js'
import type { InodeFacts, PermissionSource } from './java-exceptions.js'
import { ATTRIBUTE, ATTRIBUTE_COUNT, KIND } from './native.js'
import type { NativeStore, NativeView } from './native.js'

/** Groups of a user are looked up again after this long. */
const REFRESH_MS = 300_000

/** Most users, and most names of numbers, remembered at once. */
const NAME_COUNT_MAX = 100_000

/** Names that no service accepts: empty, over 255 characters, or with control characters, `/`, `:`. */
const NOT_A_NAME = /^$|^.{256}|[\u0000-\u001f\u007f/:]/

/** A Hadoop user. */
export interface HdfsUser {
  /** The name the client gave. */
  readonly name: string
  readonly isSuperuser: boolean
  /** The store with this user's rights, umask 0. */
  readonly view: NativeView
  /** Whom new files belong to; differs from the view's uid for a superuser who is not root. */
  readonly uid: number
  readonly gid: number
  readonly groups: readonly string[]
  /** For the messages of refused permissions. */
  readonly source: PermissionSource
}

/** The users of one store. */
export class HdfsUsers {
  /** The user who runs the service; requests without a name get it. */
  readonly serviceUser: string
  /** The store with every right. */
  readonly rootView: NativeView
  readonly #store: NativeStore
  readonly #users = new Map<string, { user: HdfsUser; loadedMs: number }>()
  readonly #owners = new Map<number, string>()
  readonly #groups = new Map<number, string>()

  /**
   * @param store - The store.
   * @param serviceUser - Who runs the service.
   */
  constructor(store: NativeStore, serviceUser: string) {
    this.#store = store
    this.serviceUser = serviceUser
    this.rootView = store.view({ uid: 0, gid: 0, groups: [], umask: 0 })
  }

  /**
   * The user of that name. The first look asks the machine for the groups; later ones are a map read.
   *
   * @throws JavaException `IllegalArgument` for a name that is none.
   */
  of(name: string): HdfsUser {
    const known = this.#users.get(name)
    const nowMs = performance.now()
    if (known !== undefined && nowMs - known.loadedMs < REFRESH_MS) return known.user
    if (NOT_A_NAME.test(name)) {
      throw new JavaException('IllegalArgument', `Invalid user name: ${JSON.stringify(name)}`)
    }
    const user = this.#load(name)
    if (this.#users.size >= NAME_COUNT_MAX) this.#users.clear()
    this.#users.set(name, { user, loadedMs: nowMs })
    return user
  }

  /** Name of an owner; the number in decimal if it has none. */
  ownerName(uid: number): string {
    return cachedName(this.#owners, uid, () => this.#store.userName(uid))
  }

  /** Name of a group; the number in decimal if it has none. */
  groupName(gid: number): string {
    return cachedName(this.#groups, gid, () => this.#store.groupName(gid))
  }

  /**
   * Runs `make`, which creates `path` and whatever directory above it is missing, and gives the new
   * inodes to a superuser who is not root: the store made them root's.
   *
   * @param replaces - What stands at `path` afterwards is new even if something stood there before.
   */
  creating<T>(user: HdfsUser, path: string, make: () => T, replaces = false): T {
    if (!user.isSuperuser || user.uid === 0) return make()
    const missing = this.#missing(path)
    if (replaces && missing.length === 0) missing.push(path)
    const made = make()
    for (const fresh of missing) {
      this.rootView.setAttributes(fresh, false, { uid: user.uid, gid: user.gid })
    }
    return made
  }

  /** The path and the directories above it, as far as they do not exist. */
  #missing(path: string): string[] {
    const missing: string[] = []
    for (
      let at = path;
      at !== '' && this.#facts(at) === null;
      at = at.slice(0, at.lastIndexOf('/'))
    ) {
      missing.push(at)
    }
    return missing
  }

  #load(name: string): HdfsUser {
    const store = this.#store
    const isSuperuser = name === this.serviceUser || name === 'root'
    const { uid, gid } = store.viewOf(name)
    const groups = store.groupsOf(name)
    const numbers = { uid, gid, groups: groups.map(group => store.gidOf(group)), umask: 0 }
    const view = isSuperuser ? this.rootView : store.view(numbers)
    return { name, isSuperuser, view, uid, gid, groups, source: this.#source(name, view) }
  }

  #source(user: string, view: NativeView): PermissionSource {
    return {
      user,
      facts: path => this.#facts(path),
      may: (path, mask) => {
        try {
          view.access(path, mask)
          return true
        } catch {
          return false
        }
      },
    }
  }

  #facts(path: string): InodeFacts | null {
    const record = new Float64Array(ATTRIBUTE_COUNT)
    try {
      this.rootView.stat(path, true, record)
    } catch {
      return null
    }
    return {
      owner: this.ownerName(record[ATTRIBUTE.uid] ?? 0),
      group: this.groupName(record[ATTRIBUTE.gid] ?? 0),
      mode: record[ATTRIBUTE.mode] ?? 0,
      isDirectory: record[ATTRIBUTE.kind] === KIND.directory,
    }
  }
}

function cachedName(cache: Map<number, string>, id: number, load: () => string): string {
  const known = cache.get(id)
  if (known !== undefined) return known
  const name = load()
  // A number without a name may get one later.
  if (name !== String(id)) {
    if (cache.size >= NAME_COUNT_MAX) cache.clear()
    cache.set(id, name)
  }
  return name
}
