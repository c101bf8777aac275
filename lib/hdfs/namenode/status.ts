/**
 * From attributes of the store to HDFS's file status.
 *
 * Invariants:
 * - Directories and symbolic links report length, block size and replication 0.
 * - A fifo, socket or device is a file without bytes: HDFS has no word for it.
 */

import type { MessageInitShape } from '@bufbuild/protobuf'
import { ATTRIBUTE, ATTRIBUTE_FLAG, KIND } from '../../native.js'
import type { HdfsFileStatusProtoSchema } from '../proto/gen/hdfs_pb.js'
import {
  HdfsFileStatusProto_FileType as FileType,
  HdfsFileStatusProto_Flags as Flags,
} from '../proto/gen/hdfs_pb.js'
import type { HdfsConfig } from '../config.js'
import { fileIdOf } from './file-id.js'
import type { HdfsUsers } from '../../hdfs-users.js'

/** A file status, ready to be encoded. */
export type StatusInit = MessageInitShape<typeof HdfsFileStatusProtoSchema>

/** Some attributes of one record, by name. */
export interface Facts {
  readonly view: number
  readonly inode: number
  readonly kind: number
  readonly size: number
  readonly mode: number
  readonly blockSize: number
}

/** Reads the record that begins at `at`. */
export function factsAt(
  record: Float64Array,
  at: number,
  config: Pick<HdfsConfig, 'blockSize'>,
): Facts {
  const blockSize = record[at + ATTRIBUTE.blockSize] ?? 0
  return {
    view: record[at + ATTRIBUTE.view] ?? 0,
    inode: record[at + ATTRIBUTE.inode] ?? 0,
    kind: record[at + ATTRIBUTE.kind] ?? 0,
    size: record[at + ATTRIBUTE.size] ?? 0,
    mode: record[at + ATTRIBUTE.mode] ?? 0,
    blockSize: blockSize === 0 ? config.blockSize : blockSize,
  }
}

function milliseconds(record: Float64Array, at: number): bigint {
  const seconds = record[at] ?? 0
  const nanoseconds = record[at + 1] ?? 0
  // Java reads the field as signed, so times before 1970 pass.
  return BigInt.asUintN(64, BigInt(seconds * 1000 + Math.floor(nanoseconds / 1e6)))
}

/** Bytes of no path: what `getFileInfo` names its file by. */
export const NO_PATH = new Uint8Array(0)

/**
 * The status of the record that begins at `at`.
 *
 * @param path - The name in a listing, else empty.
 * @param symlink - The target of a symbolic link.
 */
export function statusOf(
  record: Float64Array,
  at: number,
  path: Uint8Array,
  users: HdfsUsers,
  config: HdfsConfig,
  symlink?: string,
): StatusInit {
  const facts = factsAt(record, at, config)
  const isDirectory = facts.kind === KIND.directory
  const isSymlink = facts.kind === KIND.symlink
  const flags = record[at + ATTRIBUTE.flags] ?? 0
  const status: StatusInit = {
    fileType: isDirectory ? FileType.IS_DIR : isSymlink ? FileType.IS_SYMLINK : FileType.IS_FILE,
    path,
    length: 0n,
    permission: { perm: facts.mode & 0o1777 },
    owner: users.ownerName(record[at + ATTRIBUTE.uid] ?? 0),
    group: users.groupName(record[at + ATTRIBUTE.gid] ?? 0),
    modificationTime: milliseconds(record, at + ATTRIBUTE.mtimeSeconds),
    accessTime: 0n,
    blockReplication: 0,
    blocksize: 0n,
    fileId: fileIdOf(facts.view, facts.inode),
    childrenNum: isDirectory ? facts.size : 0,
    storagePolicy: 0,
    flags: flagsOf(flags),
  }
  if (isSymlink && symlink !== undefined) status.symlink = Buffer.from(symlink)
  if (!isDirectory && !isSymlink) {
    const replication = record[at + ATTRIBUTE.replication] ?? 0
    status.length = BigInt(facts.kind === KIND.file ? facts.size : 0)
    status.accessTime = milliseconds(record, at + ATTRIBUTE.atimeSeconds)
    status.blockReplication = replication === 0 ? config.replication : replication
    status.blocksize = BigInt(facts.blockSize)
  }
  return status
}

function flagsOf(flags: number): number {
  return (
    ((flags & ATTRIBUTE_FLAG.hasAcl) !== 0 ? Flags.HAS_ACL : 0) |
    ((flags & ATTRIBUTE_FLAG.snapshottable) !== 0 ? Flags.SNAPSHOT_ENABLED : 0)
  )
}
