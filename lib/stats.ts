/**
 * Attributes of files as `node:fs` shows them.
 *
 * `dev` is the number of the view (a volume's live tree, or a snapshot) and `ino` the inode in it,
 * so the pair names a file in the store, exactly, also as numbers.
 */
/* eslint @typescript-eslint/no-unsafe-class-instance-assignment: off -- these classes stand for node's by their shape */
import type * as fs from 'node:fs'
import { ATTRIBUTE, ATTRIBUTE_COUNT, KIND } from './native.js'
import type { Statistics } from './native.js'

const BLOCK_BYTES = 4096
const STAT_BLOCK_BYTES = 512
const TYPE_SHIFT = 12
/** The `f_type` that `statfs` answers: "LOCK". */
const FILE_SYSTEM_TYPE = 0x4c4f434b
/** Inode numbers stay below this (`limits::INODE_MAX` of the format). */
const INODE_MAX = 2 ** 39

/** A record to be filled by the native core, to be read before anything else runs. */
export const scratch = new Float64Array(ATTRIBUTE_COUNT)

abstract class KindOfFile {
  protected abstract readonly kind: number

  /** Whether it is a regular file. */
  isFile(): boolean {
    return this.kind === KIND.file
  }
  /** Whether it is a directory. */
  isDirectory(): boolean {
    return this.kind === KIND.directory
  }
  /** Whether it is a symbolic link. */
  isSymbolicLink(): boolean {
    return this.kind === KIND.symlink
  }
  /** Whether it is a named pipe. */
  isFIFO(): boolean {
    return this.kind === KIND.fifo
  }
  /** Whether it is a socket. */
  isSocket(): boolean {
    return this.kind === KIND.socket
  }
  /** Whether it is a block device. */
  isBlockDevice(): boolean {
    return this.kind === KIND.blockDevice
  }
  /** Whether it is a character device. */
  isCharacterDevice(): boolean {
    return this.kind === KIND.characterDevice
  }
}

function at(record: Float64Array, index: number): number {
  return record[index] ?? 0
}

function typedMode(record: Float64Array): number {
  return (at(record, ATTRIBUTE.kind) << TYPE_SHIFT) | at(record, ATTRIBUTE.mode)
}

function millis(record: Float64Array, seconds: number): number {
  return at(record, seconds) * 1000 + at(record, seconds + 1) / 1e6
}

function nanos(record: Float64Array, seconds: number): bigint {
  return BigInt(at(record, seconds)) * 1_000_000_000n + BigInt(at(record, seconds + 1))
}

/** What `stat` tells; as node's class of that name. */
export class Stats extends KindOfFile implements fs.Stats {
  readonly dev: number
  readonly ino: number
  readonly mode: number
  readonly nlink: number
  readonly uid: number
  readonly gid: number
  readonly rdev: number
  readonly size: number
  readonly blksize: number = BLOCK_BYTES
  readonly blocks: number
  readonly atimeMs: number
  readonly mtimeMs: number
  readonly ctimeMs: number
  readonly birthtimeMs: number

  /** @param record - As the native core fills it. */
  constructor(record: Float64Array) {
    super()
    this.dev = at(record, ATTRIBUTE.view)
    this.ino = at(record, ATTRIBUTE.inode)
    this.mode = typedMode(record)
    this.nlink = at(record, ATTRIBUTE.nlink)
    this.uid = at(record, ATTRIBUTE.uid)
    this.gid = at(record, ATTRIBUTE.gid)
    this.rdev = at(record, ATTRIBUTE.rdev)
    this.size = at(record, ATTRIBUTE.size)
    this.blocks = Math.ceil(at(record, ATTRIBUTE.allocated) / STAT_BLOCK_BYTES)
    this.atimeMs = millis(record, ATTRIBUTE.atimeSeconds)
    this.mtimeMs = millis(record, ATTRIBUTE.mtimeSeconds)
    this.ctimeMs = millis(record, ATTRIBUTE.ctimeSeconds)
    this.birthtimeMs = millis(record, ATTRIBUTE.btimeSeconds)
  }

  protected get kind(): number {
    return this.mode >>> TYPE_SHIFT
  }
  /** Last access. */
  get atime(): Date {
    return new Date(Math.round(this.atimeMs))
  }
  /** Last change of the bytes. */
  get mtime(): Date {
    return new Date(Math.round(this.mtimeMs))
  }
  /** Last change of the inode. */
  get ctime(): Date {
    return new Date(Math.round(this.ctimeMs))
  }
  /** Birth. */
  get birthtime(): Date {
    return new Date(Math.round(this.birthtimeMs))
  }
}

/** What `stat` tells with `bigint: true`; as node's class of that name. */
export class BigIntStats extends KindOfFile implements fs.BigIntStats {
  readonly dev: bigint
  readonly ino: bigint
  readonly mode: bigint
  readonly nlink: bigint
  readonly uid: bigint
  readonly gid: bigint
  readonly rdev: bigint
  readonly size: bigint
  readonly blksize = BigInt(BLOCK_BYTES)
  readonly blocks: bigint
  readonly atimeNs: bigint
  readonly mtimeNs: bigint
  readonly ctimeNs: bigint
  readonly birthtimeNs: bigint

  /** @param record - As the native core fills it. */
  constructor(record: Float64Array) {
    super()
    this.dev = BigInt(at(record, ATTRIBUTE.view))
    this.ino = BigInt(at(record, ATTRIBUTE.inode))
    this.mode = BigInt(typedMode(record))
    this.nlink = BigInt(at(record, ATTRIBUTE.nlink))
    this.uid = BigInt(at(record, ATTRIBUTE.uid))
    this.gid = BigInt(at(record, ATTRIBUTE.gid))
    this.rdev = BigInt(at(record, ATTRIBUTE.rdev))
    this.size = BigInt(at(record, ATTRIBUTE.size))
    this.blocks = BigInt(Math.ceil(at(record, ATTRIBUTE.allocated) / STAT_BLOCK_BYTES))
    this.atimeNs = nanos(record, ATTRIBUTE.atimeSeconds)
    this.mtimeNs = nanos(record, ATTRIBUTE.mtimeSeconds)
    this.ctimeNs = nanos(record, ATTRIBUTE.ctimeSeconds)
    this.birthtimeNs = nanos(record, ATTRIBUTE.btimeSeconds)
  }

  protected get kind(): number {
    return Number(this.mode) >>> TYPE_SHIFT
  }
  /** Last access, in milliseconds. */
  get atimeMs(): bigint {
    return this.atimeNs / 1_000_000n
  }
  /** Last change of the bytes, in milliseconds. */
  get mtimeMs(): bigint {
    return this.mtimeNs / 1_000_000n
  }
  /** Last change of the inode, in milliseconds. */
  get ctimeMs(): bigint {
    return this.ctimeNs / 1_000_000n
  }
  /** Birth, in milliseconds. */
  get birthtimeMs(): bigint {
    return this.birthtimeNs / 1_000_000n
  }
  /** Last access. */
  get atime(): Date {
    return new Date(Number(this.atimeMs))
  }
  /** Last change of the bytes. */
  get mtime(): Date {
    return new Date(Number(this.mtimeMs))
  }
  /** Last change of the inode. */
  get ctime(): Date {
    return new Date(Number(this.ctimeMs))
  }
  /** Birth. */
  get birthtime(): Date {
    return new Date(Number(this.birthtimeMs))
  }
}

/** The attributes in the shape that was asked for. */
export function statsOf(record: Float64Array, bigint: boolean): Stats | BigIntStats {
  return bigint ? new BigIntStats(record) : new Stats(record)
}

/** An entry of a directory; as node's class of that name. */
export class Dirent<Name extends string | Buffer = string>
  extends KindOfFile
  implements fs.Dirent<Name>
{
  /** The name. */
  readonly name: Name
  /** The path of the directory that holds it, as it was asked for. */
  readonly parentPath: string
  protected readonly kind: number

  /**
   * @param name - The name.
   * @param parentPath - The directory.
   * @param kind - A value of `KIND`.
   */
  constructor(name: Name, parentPath: string, kind: number) {
    super()
    this.name = name
    this.parentPath = parentPath
    this.kind = kind
  }

  /** As `parentPath`; for code written for older versions of node. */
  get path(): string {
    return this.parentPath
  }
}

/** Figures of the file system, in the fields of node's `StatsFs`. */
export function statsFs(figures: Statistics): fs.StatsFs {
  return {
    type: FILE_SYSTEM_TYPE,
    bsize: BLOCK_BYTES,
    blocks: Math.floor(figures.totalBytes / BLOCK_BYTES),
    bfree: Math.floor(figures.freeBytes / BLOCK_BYTES),
    bavail: Math.floor(figures.availableBytes / BLOCK_BYTES),
    files: INODE_MAX,
    ffree: INODE_MAX - figures.inodes,
  }
}

/** As `statsFs`, with `bigint: true`. */
export function bigIntStatsFs(figures: Statistics): fs.BigIntStatsFs {
  const plain = statsFs(figures)
  return {
    type: BigInt(plain.type),
    bsize: BigInt(plain.bsize),
    blocks: BigInt(plain.blocks),
    bfree: BigInt(plain.bfree),
    bavail: BigInt(plain.bavail),
    files: BigInt(plain.files),
    ffree: BigInt(plain.ffree),
  }
}
