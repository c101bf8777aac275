/**
 * What all methods of the NameNode work with: the store, its users, leases and blocks, and how a
 * failure of the store becomes a refusal.
 *
 * Invariants:
 * - Permission is decided by the store alone; here only the words of a refusal are found.
 * - A method that changed something answers when the change is durable.
 * - `record` belongs to whoever runs now: it is never kept over an `await`.
 */

import type { NeededAccess } from '../../java-exceptions.js'
import {
  JavaException,
  errorCode,
  notDirectoryMessage,
  permissionMessage,
  toJavaException,
} from '../../java-exceptions.js'
import { ATTRIBUTE, ATTRIBUTE_COUNT, KIND } from '../../native.js'
import type { NativeStore, NativeView } from '../../native.js'
import type { HdfsConfig } from '../config.js'
import type { DatanodeInfoProto } from '../proto/gen/hdfs_pb.js'
import type { RpcCall } from '../rpc/protocol.js'
import { BlockMap } from './block-map.js'
import { fileNotFound, safeMode } from './exceptions.js'
import { parseFileId } from './file-id.js'
import { GroupCommit } from '../../group-commit.js'
import { Leases } from './leases.js'
import { parentOf, resolvePath } from './path.js'
import type { Facts } from './status.js'
import { factsAt } from './status.js'
import type { HdfsUser } from '../../hdfs-users.js'
import { HdfsUsers } from '../../hdfs-users.js'

const SWEEP_MS = 5000
/** Open files looked at in one sweep, the oldest first. */
const CHECKED_MAX = 1000

/** What a failed operation was about, for the words of its refusal. */
export interface Refused {
  readonly needed?: NeededAccess
  readonly about?: 'path' | 'snapshot' | 'xattr'
  readonly snapshot?: string
}

/** See the head of this file. */
export class Namespace {
  readonly store: NativeStore
  readonly config: HdfsConfig
  readonly users: HdfsUsers
  readonly leases: Leases
  readonly blocks: BlockMap
  /** The store with the superuser's eyes. */
  readonly rootView: NativeView
  /** Scratch of {@link stat}. */
  readonly record = new Float64Array(ATTRIBUTE_COUNT)
  readonly startedMs = Date.now()
  readonly #commit: GroupCommit
  readonly #sweeper: NodeJS.Timeout
  #isSafe = false

  /** @param datanode - The DataNode that has every block; asked when a block is located. */
  constructor(store: NativeStore, config: HdfsConfig, datanode: () => DatanodeInfoProto) {
    this.store = store
    this.config = config
    this.users = new HdfsUsers(store, config.serviceUser)
    this.leases = new Leases(config.leaseSoftMs, config.leaseHardMs)
    this.rootView = this.users.rootView
    const { leases, rootView } = this
    this.blocks = new BlockMap({ rootView, leases, config, datanode })
    this.#commit = new GroupCommit(() => store.sync())
    this.#sweeper = setInterval(() => {
      leases.expire()
      this.#closeDeleted()
    }, SWEEP_MS)
    this.#sweeper.unref()
  }

  /** Ends what runs in the background. */
  stop(): void {
    clearInterval(this.#sweeper)
  }

  /** Whether changes are refused: because somebody wants it so, or because the store failed. */
  get isSafe(): boolean {
    return this.#isSafe || this.store.health().failure !== null
  }

  /** Turns safe mode on or off; files that are being written may be finished. */
  setSafe(isSafe: boolean): void {
    this.#isSafe = isSafe
  }

  /** Who calls. */
  user(call: RpcCall): HdfsUser {
    return this.users.of(call.user)
  }

  /** @throws JavaException AccessControl unless the caller is a superuser. */
  superuser(call: RpcCall): HdfsUser {
    const user = this.user(call)
    if (user.isSuperuser) return user
    throw new JavaException(
      'AccessControl',
      `Access denied for user ${user.name}. Superuser privilege is required`,
    )
  }

  /** Checks a path and resolves reserved ones. */
  path(path: string): string {
    return resolvePath(path, fileId => {
      const node = parseFileId(fileId)
      if (node === undefined) throw fileNotFound(path)
      return this.attempt(path, () => this.rootView.pathOf(node.view, node.inode))
    })
  }

  /**
   * Like {@link path}, for a call that changes what is there.
   *
   * @param what - The refusal's beginning, such as `Cannot delete`.
   * @throws JavaException SafeMode; SnapshotAccessControl for a path inside `.snapshot`.
   */
  changed(src: string, what: string): string {
    const path = this.path(src)
    if (this.#isSafe) throw safeMode(`${what} ${path}`)
    if (path.includes('/.snapshot')) checkNotSnapshot(path)
    return path
  }

  /** Answers `value` when everything done so far is durable. */
  async durable<T>(value: T): Promise<T> {
    await this.#commit.durable()
    return value
  }

  /** Runs an operation of the store; what it throws becomes a refusal without a user in it. */
  attempt<T>(path: string, operation: () => T, refused: Refused = {}, user?: HdfsUser): T {
    try {
      return operation()
    } catch (error) {
      throw this.refusal(error, path, user, refused)
    }
  }

  /** What a client is told about an error of the store. */
  refusal(
    error: unknown,
    path: string,
    user?: HdfsUser,
    { needed = {}, about, snapshot }: Refused = {},
  ): JavaException {
    if (errorCode(error) === 'ENOTDIR' && about !== 'snapshot') {
      return this.#throughFile(path, user)
    }
    return toJavaException(error, {
      path,
      ...(about === undefined ? {} : { about }),
      ...(snapshot === undefined ? {} : { snapshot }),
      ...(user === undefined ? {} : { denied: () => permissionMessage(user.source, path, needed) }),
    })
  }

  /** Fills {@link record}; false if there is no such file. Other errors are refusals. */
  stat(user: HdfsUser, path: string, follow = true): boolean {
    try {
      user.view.stat(path, follow, this.record)
      return true
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return false
      throw this.refusal(error, path, user)
    }
  }

  /** Facts of {@link record}. */
  facts(): Facts {
    return factsAt(this.record, 0, this.config)
  }

  /** @throws JavaException FileNotFound. */
  require(user: HdfsUser, path: string): Facts {
    if (!this.stat(user, path)) throw fileNotFound(path)
    return this.facts()
  }

  /** @throws JavaException FileNotFound if it is missing or a directory. */
  requireFile(user: HdfsUser, path: string): Facts {
    const facts = this.require(user, path)
    if (facts.kind === KIND.directory) {
      throw new JavaException('FileNotFound', `Path is not a file: ${path}`)
    }
    return facts
  }

  /** @throws JavaException AccessControl unless the user may; superusers may always. */
  checkAccess(user: HdfsUser, path: string, mask: number): void {
    if (user.isSuperuser) return
    const needed = { self: mask }
    this.attempt(
      path,
      () => {
        user.view.access(path, mask)
      },
      { needed },
      user,
    )
  }

  /** Files that went with their directory, or on the mount, are written no more. */
  #closeDeleted(): void {
    const record = new Float64Array(ATTRIBUTE_COUNT)
    for (const file of this.leases.list(0, CHECKED_MAX)) {
      try {
        this.rootView.statNode(file.view, file.inode, record)
        if (record[ATTRIBUTE.nlink] === 0) this.leases.close(file)
      } catch (error) {
        if (errorCode(error) === 'ENOENT' || errorCode(error) === 'ESTALE') this.leases.close(file)
      }
    }
  }

  /** A path that goes through a file: a superuser is told so, others are refused. */
  #throughFile(path: string, user: HdfsUser | undefined): JavaException {
    let file = path
    while (file !== '/' && !this.#isThere(file)) file = parentOf(file)
    const type = user === undefined || user.isSuperuser ? 'ParentNotDirectory' : 'AccessControl'
    return new JavaException(type, notDirectoryMessage(file))
  }

  #isThere(path: string): boolean {
    try {
      this.rootView.access(path, 0)
      return true
    } catch {
      return false
    }
  }
}

/** Snapshots are made and dropped by calls of their own, never by calls that change a path. */
function checkNotSnapshot(path: string): void {
  const names = path.split('/')
  const index = names.indexOf('.snapshot')
  if (index === names.length - 1) {
    throw new JavaException('HadoopIllegalArgument', '".snapshot" is a reserved name.')
  }
  if (index >= 0) {
    throw new JavaException(
      'SnapshotAccessControl',
      'Modification on a read-only snapshot is disallowed',
    )
  }
}
