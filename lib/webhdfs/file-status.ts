/**
 * FileStatus objects, as Hadoop's JsonUtil writes them.
 *
 * Invariants:
 * - Directories have length, replication and block size 0.
 * - `fileId` is a 64-bit integer, equal in every HDFS service.
 */
import { ATTRIBUTE, ATTRIBUTE_COUNT, ATTRIBUTE_FLAG, KIND } from '../native.js'
import type { HdfsUsers } from '../hdfs-users.js'
import type { Json } from './json.js'

/** Turns attribute records into FileStatus objects. */
export class FileStatusWriter {
  readonly #users: HdfsUsers
  readonly #blockSize: number
  readonly #replication: number

  /**
   * @param users - Where names of numbers come from.
   * @param blockSize - Reported for files that have none of their own.
   * @param replication - Reported for files that have none of their own.
   */
  constructor(users: HdfsUsers, blockSize: number, replication: number) {
    this.#users = users
    this.#blockSize = blockSize
    this.#replication = replication
  }

  /** Block size of a file, the default where it has none of its own. */
  blockSizeOf(record: Float64Array): number {
    return field(record, 0, ATTRIBUTE.blockSize) || this.#blockSize
  }

  /**
   * One FileStatus.
   *
   * @param records - Attribute records, one after the other.
   * @param index - Which record.
   * @param suffix - `pathSuffix`: the name in a listing, else empty.
   * @param target - Where a symbolic link points.
   */
  write(
    records: Float64Array,
    index: number,
    suffix: string,
    target?: string,
  ): Record<string, Json> {
    const base = index * ATTRIBUTE_COUNT
    const kind = field(records, base, ATTRIBUTE.kind)
    const flags = field(records, base, ATTRIBUTE.flags)
    const size = field(records, base, ATTRIBUTE.size)
    const directory = kind === KIND.directory
    const file = !directory && kind !== KIND.symlink
    const status: Record<string, Json> = {
      accessTime: directory ? 0 : milliseconds(records, base, 'atime'),
      blockSize: file ? field(records, base, ATTRIBUTE.blockSize) || this.#blockSize : 0,
      childrenNum: directory ? size : 0,
      fileId: fileId(field(records, base, ATTRIBUTE.view), field(records, base, ATTRIBUTE.inode)),
      group: this.#users.groupName(field(records, base, ATTRIBUTE.gid)),
      length: file ? size : 0,
      modificationTime: milliseconds(records, base, 'mtime'),
      owner: this.#users.ownerName(field(records, base, ATTRIBUTE.uid)),
      pathSuffix: suffix,
      permission: (field(records, base, ATTRIBUTE.mode) & 0o1777).toString(8),
      replication: file ? field(records, base, ATTRIBUTE.replication) || this.#replication : 0,
      storagePolicy: 0,
      type: typeName(kind),
    }
    if (target !== undefined) status['symlink'] = target
    if ((flags & ATTRIBUTE_FLAG.hasAcl) !== 0) status['aclBit'] = true
    if ((flags & ATTRIBUTE_FLAG.snapshottable) !== 0) status['snapshotEnabled'] = true
    return status
  }

  /** The AclStatus of an inode that has no ACL beside its mode bits. */
  writeAcl(record: Float64Array): Record<string, Json> {
    const mode = field(record, 0, ATTRIBUTE.mode)
    return {
      entries: [],
      group: this.#users.groupName(field(record, 0, ATTRIBUTE.gid)),
      owner: this.#users.ownerName(field(record, 0, ATTRIBUTE.uid)),
      permission: (mode & 0o777).toString(8),
      stickyBit: (mode & 0o1000) !== 0,
    }
  }
}

/** The number that HDFS clients know a node by. */
export function fileId(view: number, inode: number): bigint {
  return (BigInt(view) << 40n) | BigInt(inode)
}

/** A time of a record in whole milliseconds, as HDFS counts. */
export function milliseconds(
  records: Float64Array,
  base: number,
  time: 'atime' | 'mtime' | 'ctime' | 'btime',
): number {
  const seconds = field(records, base, ATTRIBUTE[`${time}Seconds`])
  const nanoseconds = field(records, base, ATTRIBUTE[`${time}Nanoseconds`])
  return seconds * 1000 + Math.floor(nanoseconds / 1_000_000)
}

function typeName(kind: number): string {
  if (kind === KIND.directory) return 'DIRECTORY'
  return kind === KIND.symlink ? 'SYMLINK' : 'FILE'
}

function field(records: Float64Array, base: number, index: number): number {
  return records[base + index] ?? 0
}
