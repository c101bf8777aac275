/** Operations on snapshots. */
import * as rules from '../../hdfs-rules.js'
import { JavaException, errorCode } from '../../java-exceptions.js'
import { ATTRIBUTE, ATTRIBUTE_COUNT, ATTRIBUTE_FLAG } from '../../native.js'
import type { Change, SnapshotInfo } from '../../native.js'
import { EMPTY, json } from '../exchange.js'
import type { Answer, Exchange, OperationTable } from '../exchange.js'
import type { Json } from '../json.js'
import { joinPath, nameOf, parentOf } from '../target.js'
import { existing } from './attributes.js'

/** HDFS's limit of snapshots per directory, which clients show; Lockstep has none of its own. */
const SNAPSHOT_QUOTA = 65536

/** The letters of a diff, in WebHDFS's words. */
const CHANGE_TYPE = {
  created: 'CREATE',
  deleted: 'DELETE',
  modified: 'MODIFY',
  renamed: 'RENAME',
} as const satisfies Record<Change['kind'], string>

function directory(exchange: Exchange): Float64Array {
  const record = rules.statOrNull(exchange.view, exchange.path)
  if (record === null) {
    throw new JavaException('FileNotFound', `Directory does not exist: ${exchange.path}`)
  }
  if (!rules.isDirectory(record)) {
    throw new JavaException('PathIsNotDirectory', `\`${exchange.path}': Is not a directory`)
  }
  return record
}

function requireSuperuser({ user }: Exchange): void {
  if (user.isSuperuser) return
  throw new JavaException(
    'AccessControl',
    `Access denied for user ${user.name}. Superuser privilege is required`,
  )
}

function allow(exchange: Exchange): Answer {
  requireSuperuser(exchange)
  directory(exchange)
  exchange.view.setAttributes(exchange.path, true, { snapshottable: true })
  return EMPTY
}

function disallow(exchange: Exchange): Answer {
  requireSuperuser(exchange)
  directory(exchange)
  const { view, path } = exchange
  if (view.listSnapshots(path).length > 0) {
    throw new JavaException(
      'Snapshot',
      `The directory ${path} has snapshot(s). Please redo the operation after removing all the snapshots.`,
    )
  }
  view.setAttributes(path, true, { snapshottable: false })
  return EMPTY
}

function requireAllowed(exchange: Exchange): void {
  const flags = directory(exchange)[ATTRIBUTE.flags] ?? 0
  if ((flags & ATTRIBUTE_FLAG.snapshottable) !== 0) return
  if (exchange.view.listSnapshots(exchange.path).length > 0) return
  throw new JavaException(
    'Snapshot',
    `Directory is not a snapshottable directory: ${exchange.path}`,
  )
}

/** The name HDFS gives a snapshot that has none: `s20261122-104500.123`, in UTC. */
export function defaultSnapshotName(now: Date): string {
  const digits = now.toISOString().replaceAll(/[-:TZ.]/g, '')
  return `s${digits.slice(0, 8)}-${digits.slice(8, 14)}.${digits.slice(14, 17)}`
}

function create(exchange: Exchange): Answer {
  requireAllowed(exchange)
  const { view, path, parameters } = exchange
  const name = parameters.text('snapshotname') ?? defaultSnapshotName(new Date())
  const taken = view.createSnapshot(path, name)
  return json({ Path: joinPath(joinPath(path, '.snapshot'), taken.name) })
}

function remove(exchange: Exchange): Answer {
  directory(exchange)
  const name = exchange.parameters.required('snapshotname')
  try {
    exchange.view.deleteSnapshot(exchange.path, name)
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error
    throw new JavaException(
      'Snapshot',
      `Cannot delete snapshot ${name} from path ${exchange.path}: the snapshot does not exist.`,
      error,
    )
  }
  return EMPTY
}

function rename(exchange: Exchange): Answer {
  directory(exchange)
  const from = exchange.parameters.required('oldsnapshotname')
  const to = exchange.parameters.required('snapshotname')
  if (from === to) return EMPTY
  try {
    exchange.view.renameSnapshot(exchange.path, from, to)
  } catch (error) {
    throw renameError(error, exchange.path, from, to)
  }
  return EMPTY
}

function renameError(error: unknown, path: string, from: string, to: string): unknown {
  const code = errorCode(error)
  if (code === 'ENOENT') {
    const why = `The snapshot ${from} does not exist for directory ${path}`
    return new JavaException('Snapshot', why, error)
  }
  if (code === 'EEXIST') {
    const why = `The snapshot ${to} already exists for directory ${path}`
    return new JavaException('Snapshot', why, error)
  }
  return error
}

function requireSnapshot(exchange: Exchange, name: string): void {
  if (name === '') return
  if (exchange.view.listSnapshots(exchange.path).some(snapshot => snapshot.name === name)) return
  throw new JavaException(
    'Snapshot',
    `Cannot find the snapshot of directory ${exchange.path} with name ${name}`,
  )
}

async function diff(exchange: Exchange): Promise<Answer> {
  requireAllowed(exchange)
  const { view, path, parameters } = exchange
  const from = snapshotName(parameters.text('oldsnapshotname'))
  const to = snapshotName(parameters.text('snapshotname'))
  requireSnapshot(exchange, from)
  requireSnapshot(exchange, to)
  const changes = await view.diff(path, from, to)
  return json({
    SnapshotDiffReport: {
      diffList: changes.map(changeEntry),
      fromSnapshot: from,
      snapshotRoot: path,
      toSnapshot: to,
    },
  })
}

/** `.` and nothing both mean the live tree. */
function snapshotName(text: string | undefined): string {
  return text === undefined || text === '.' ? '' : text
}

function changeEntry(change: Change): Json {
  const entry: Record<string, Json> = {
    sourcePath: relative(change.path),
    type: CHANGE_TYPE[change.kind],
  }
  if (change.target !== null) entry['targetPath'] = relative(change.target)
  return entry
}

function relative(path: string): string {
  const text = path.startsWith('/') ? path.slice(1) : path
  return text === '.' ? '' : text
}

function list(exchange: Exchange): Answer {
  requireAllowed(exchange)
  const { view, path } = exchange
  const snapshots = view.listSnapshots(path)
  return json({
    SnapshotList: snapshots.map((snapshot, index) => snapshotEntry(exchange, snapshot, index)),
  })
}

function snapshotEntry(exchange: Exchange, snapshot: SnapshotInfo, index: number): Json {
  const { users, path, status } = exchange
  const record = new Float64Array(ATTRIBUTE_COUNT)
  users.rootView.statNode(snapshot.view, snapshot.inode, record)
  return {
    deletionStatus: 'ACTIVE',
    dirStatus: { ...status.write(record, 0, snapshot.name), modificationTime: snapshot.createdMs },
    fullPath: joinPath(joinPath(path, '.snapshot'), snapshot.name),
    snapshotID: index,
  }
}

function listDirectories(exchange: Exchange): Answer {
  const { view, user, status } = exchange
  const entries: Json[] = []
  for (const path of view.snapshotDirectories()) {
    const record = rules.statOrNull(view, path)
    // HDFS shows a user the directories that are the user's own.
    if (record === null) continue
    if (!user.isSuperuser && record[ATTRIBUTE.uid] !== view.uid) continue
    entries.push({
      dirStatus: status.write(record, 0, nameOf(path)),
      parentFullPath: parentOf(path),
      snapshotNumber: view.listSnapshots(path).length,
      snapshotQuota: SNAPSHOT_QUOTA,
    })
  }
  return json({ SnapshottableDirectoryList: entries })
}

/** Refuses paged diffs with what makes Hadoop's client ask for the whole report. */
function diffListing(exchange: Exchange): Answer {
  existing(exchange)
  throw new JavaException('RpcNoSuchMethod', 'GETSNAPSHOTDIFFLISTING is not offered')
}

const NAMED = { about: 'snapshot', snapshotParameter: 'snapshotname' } as const

/** Operations on snapshots, by method. */
export const SNAPSHOTS: Readonly<Record<'GET' | 'PUT' | 'DELETE', OperationTable>> = {
  GET: {
    GETSNAPSHOTDIFF: { run: diff, needs: { self: 5 } },
    GETSNAPSHOTDIFFLISTING: { run: diffListing, needs: { self: 5 } },
    GETSNAPSHOTLIST: { run: list, needs: { self: 5 } },
    GETSNAPSHOTTABLEDIRECTORYLIST: { run: listDirectories },
  },
  PUT: {
    ALLOWSNAPSHOT: { run: allow, changes: true, needs: { superuser: true } },
    DISALLOWSNAPSHOT: { run: disallow, changes: true, needs: { superuser: true } },
    CREATESNAPSHOT: { run: create, changes: true, needs: { owner: true }, ...NAMED },
    RENAMESNAPSHOT: { run: rename, changes: true, needs: { owner: true }, ...NAMED },
  },
  DELETE: {
    DELETESNAPSHOT: { run: remove, changes: true, needs: { owner: true }, ...NAMED },
  },
}
