/**
 * Snapshots: allow, take, rename, drop, list, compare.
 *
 * Invariants:
 * - HDFS takes snapshots only of directories where a superuser allowed them; the mark is an attribute
 *   of the directory. Snapshots taken on the mount need no mark and are listed all the same.
 * - A report names paths relative to the directory; it lists a changed directory, then what came,
 *   went or moved in it.
 */

import type { MessageInitShape } from '@bufbuild/protobuf'
import { JavaException, errorCode, nameTooLongMessage } from '../../../java-exceptions.js'
import { NAME_BYTES_MAX } from '../../../limits.js'
import { ATTRIBUTE, ATTRIBUTE_COUNT, ATTRIBUTE_FLAG, KIND } from '../../../native.js'
import type { SnapshotInfo } from '../../../native.js'
import type {
  SnapshotStatusProtoSchema,
  SnapshottableDirectoryStatusProtoSchema,
} from '../../proto/gen/hdfs_pb.js'
import { DiffPages, diffEntries } from '../diff-report.js'
import type { Namespace } from '../namespace.js'
import { childOf, nameOf, parentOf } from '../path.js'
import { statusOf } from '../status.js'
import type { HdfsUser } from '../../../hdfs-users.js'
import type { ClientHandlers } from './service.js'

const SNAPSHOT_QUOTA = 65_536

/** The methods. */
export function snapshotMethods(ns: Namespace): ClientHandlers {
  const pages = new DiffPages()
  return {
    ...markMethods(ns),
    ...listMethods(ns),
    createSnapshot: (request, call) => {
      const path = ns.changed(request.snapshotRoot, 'Cannot create snapshot for')
      const user = ns.user(call)
      requireSnapshottable(ns, user, path)
      const name = request.snapshotName === '' ? defaultName(new Date()) : request.snapshotName
      checkName(name)
      const refused = { about: 'snapshot', snapshot: name, needed: { owner: true } } as const
      ns.attempt(path, () => user.view.createSnapshot(path, name), refused, user)
      return ns.durable({ snapshotPath: childOf(childOf(path, '.snapshot'), name) })
    },
    deleteSnapshot: (request, call) => {
      const path = ns.changed(request.snapshotRoot, 'Cannot delete snapshot for')
      const user = ns.user(call)
      const { snapshotName: name } = request
      requireSnapshottable(ns, user, path)
      requireSnapshot(user, path, name, `Cannot delete snapshot ${name} from path ${path}`)
      const refused = { about: 'snapshot', snapshot: name, needed: { owner: true } } as const
      ns.attempt(
        path,
        () => {
          user.view.deleteSnapshot(path, name)
        },
        refused,
        user,
      )
      return ns.durable({})
    },
    renameSnapshot: (request, call) => {
      const path = ns.changed(request.snapshotRoot, 'Cannot rename snapshot for')
      const user = ns.user(call)
      rename(ns, user, path, request.snapshotOldName, request.snapshotNewName)
      return ns.durable({})
    },
    getSnapshotDiffReport: async (request, call) => {
      const { fromSnapshot, toSnapshot } = request
      const path = ns.path(request.snapshotRoot)
      const user = ns.user(call)
      const entries = diffEntries(await compare(ns, user, path, fromSnapshot, toSnapshot))
      const diffReportEntries = entries.map(({ label, path: source, target }) => ({
        fullpath: Buffer.from(source),
        modificationLabel: label,
        ...(target === null ? {} : { targetPath: Buffer.from(target) }),
      }))
      return { diffReport: { snapshotRoot: path, fromSnapshot, toSnapshot, diffReportEntries } }
    },
    getSnapshotDiffReportListing: async (request, call) => {
      const { fromSnapshot, toSnapshot } = request
      const path = ns.path(request.snapshotRoot)
      const user = ns.user(call)
      const index = request.cursor?.index ?? -1
      const load = async () => diffEntries(await compare(ns, user, path, fromSnapshot, toSnapshot))
      const key = [call.user, path, fromSnapshot, toSnapshot].join('\0')
      return { diffReport: await pages.page(key, index, load) }
    },
  }
}

function markMethods(ns: Namespace): ClientHandlers {
  return {
    allowSnapshot: (request, call) => {
      const path = ns.changed(request.snapshotRoot, 'Cannot allow snapshot for')
      const user = ns.superuser(call)
      requireDirectory(ns, user, path)
      const mark = { snapshottable: true }
      ns.attempt(
        path,
        () => {
          user.view.setAttributes(path, true, mark)
        },
        {},
        user,
      )
      return ns.durable({})
    },
    disallowSnapshot: (request, call) => {
      const path = ns.changed(request.snapshotRoot, 'Cannot disallow snapshot for')
      const user = ns.superuser(call)
      requireDirectory(ns, user, path)
      if (snapshotsOf(ns, user, path).length > 0) {
        throw new JavaException(
          'Snapshot',
          `The directory ${path} has snapshot(s). Please redo the operation after removing ` +
            'all the snapshots.',
        )
      }
      const mark = { snapshottable: false }
      ns.attempt(
        path,
        () => {
          user.view.setAttributes(path, true, mark)
        },
        {},
        user,
      )
      return ns.durable({})
    },
  }
}

function listMethods(ns: Namespace): ClientHandlers {
  return {
    getSnapshotListing: (request, call) => {
      const path = ns.path(request.snapshotRoot)
      const user = ns.user(call)
      requireSnapshottable(ns, user, path)
      const snapshotListing = snapshotsOf(ns, user, path).map((snapshot, index) =>
        snapshotStatus(ns, user, path, snapshot, index),
      )
      return { snapshotList: { snapshotListing } }
    },
    getSnapshottableDirListing: (_, call) => {
      const user = ns.user(call)
      const paths = ns.attempt('/', () => user.view.snapshotDirectories(), {}, user)
      const snapshottableDirListing = paths.flatMap(path => snapshottableStatus(ns, user, path))
      if (snapshottableDirListing.length === 0) return {}
      return { snapshottableDirList: { snapshottableDirListing } }
    },
  }
}

/** HDFS's name for a snapshot that was given none: `s20261122-201403.123`, in UTC. */
function defaultName(now: Date): string {
  const digits = now.toISOString().replace(/[-:Z]/g, '').replace('T', '-')
  return `s${digits}`
}

function checkName(name: string): void {
  if (name.includes('/') || name === '.' || name === '..') {
    throw new JavaException('InvalidPath', `Invalid path name Invalid snapshot name: ${name}`)
  }
  if (name === '.snapshot') {
    throw new JavaException('HadoopIllegalArgument', `"${name}" is a reserved name.`)
  }
  if (Buffer.byteLength(name) > NAME_BYTES_MAX) {
    throw new JavaException('PathComponentTooLong', nameTooLongMessage(name))
  }
}

/** Fills `ns.record` with the directory. */
function requireDirectory(ns: Namespace, user: HdfsUser, path: string): void {
  if (!ns.stat(user, path)) {
    throw new JavaException('FileNotFound', `Directory does not exist: ${path}`)
  }
  if (ns.record[ATTRIBUTE.kind] !== KIND.directory) {
    throw new JavaException('PathIsNotDirectory', `\`${path}': Is not a directory`)
  }
}

/** A directory where snapshots are allowed, or that has some (taken on the mount). */
function requireSnapshottable(ns: Namespace, user: HdfsUser, path: string): void {
  requireDirectory(ns, user, path)
  const isMarked = ((ns.record[ATTRIBUTE.flags] ?? 0) & ATTRIBUTE_FLAG.snapshottable) !== 0
  if (isMarked || snapshotsOf(ns, user, path).length > 0) return
  throw new JavaException('Snapshot', `Directory is not a snapshottable directory: ${path}`)
}

function snapshotsOf(ns: Namespace, user: HdfsUser, path: string): SnapshotInfo[] {
  return ns.attempt(path, () => user.view.listSnapshots(path), { about: 'snapshot' }, user)
}

function requireSnapshot(user: HdfsUser, path: string, name: string, what: string): void {
  if (user.view.listSnapshots(path).some(snapshot => snapshot.name === name)) return
  throw new JavaException('Snapshot', `${what}: the snapshot does not exist.`)
}

function rename(ns: Namespace, user: HdfsUser, path: string, from: string, to: string): void {
  requireSnapshottable(ns, user, path)
  checkName(to)
  const names = user.view.listSnapshots(path).map(snapshot => snapshot.name)
  if (!names.includes(from)) {
    throw new JavaException('Snapshot', `The snapshot ${from} does not exist for directory ${path}`)
  }
  if (from === to) return
  if (names.includes(to)) {
    throw new JavaException('Snapshot', `The snapshot ${to} already exists for directory ${path}`)
  }
  const refused = { about: 'snapshot', snapshot: to, needed: { owner: true } } as const
  ns.attempt(
    path,
    () => {
      user.view.renameSnapshot(path, from, to)
    },
    refused,
    user,
  )
}

async function compare(ns: Namespace, user: HdfsUser, path: string, from: string, to: string) {
  requireSnapshottable(ns, user, path)
  for (const name of [from, to]) {
    if (name !== '')
      requireSnapshot(user, path, name, `Cannot find the snapshot of ${path} with name ${name}`)
  }
  try {
    return await user.view.diff(path, from, to)
  } catch (error) {
    throw ns.refusal(error, path, user, { about: 'snapshot', snapshot: from })
  }
}

function snapshotStatus(
  ns: Namespace,
  user: HdfsUser,
  path: string,
  snapshot: SnapshotInfo,
  index: number,
): MessageInitShape<typeof SnapshotStatusProtoSchema> {
  const record = new Float64Array(ATTRIBUTE_COUNT)
  user.view.statNode(snapshot.view, snapshot.inode, record)
  const dirStatus = statusOf(record, 0, Buffer.from(snapshot.name), ns.users, ns.config)
  return {
    // The time of a snapshot is when it was taken.
    dirStatus: { ...dirStatus, modificationTime: BigInt(Math.floor(snapshot.createdMs)) },
    snapshotID: index,
    parentFullpath: Buffer.from(path),
    isDeleted: false,
  }
}

/** Empty for a directory that went meanwhile, or that is not the user's; superusers see all. */
function snapshottableStatus(
  ns: Namespace,
  user: HdfsUser,
  path: string,
): MessageInitShape<typeof SnapshottableDirectoryStatusProtoSchema>[] {
  try {
    ns.rootView.stat(path, true, ns.record)
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return []
    throw error
  }
  if (!user.isSuperuser && ns.record[ATTRIBUTE.uid] !== user.view.uid) return []
  const dirStatus = statusOf(ns.record, 0, Buffer.from(nameOf(path)), ns.users, ns.config)
  return [
    {
      dirStatus,
      snapshotQuota: SNAPSHOT_QUOTA,
      snapshotNumber: ns.rootView.listSnapshots(path).length,
      // The root has neither name nor parent.
      parentFullpath: path === '/' ? new Uint8Array(0) : Buffer.from(parentOf(path)),
    },
  ]
}
