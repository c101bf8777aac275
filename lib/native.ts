/**
 * The native core, typed: the only file that touches the generated binding.
 *
 * Invariants:
 * - The binding is loaded at the first use, so that `import 'lockstep'` never fails; a missing one
 *   is `ERR_LOCKSTEP_NO_BINDING` and says what to do.
 * - Everything thrown here carries a stable `code`. Callers make a `LockstepError` of it with
 *   `rethrow`, `guard` or `guardAsync` of `errors.ts`.
 *
 * Paths are absolute in the namespace (`/a/b`, `/a/.snapshot/s1/b`); names are UTF-8. Metadata
 * calls are synchronous (microseconds, from the page cache). What moves file bytes, syncs or may
 * take long returns a promise and runs on the native thread pool. Sizes and offsets are integers
 * from 0 to 2^53 - 1. A node is addressed by (view, inode).
 */
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { codeOf, errorFor } from './errors.js'

/** Fields of one attributes record in a `Float64Array`. */
export const ATTRIBUTE = {
  view: 0,
  inode: 1,
  /** As `DT_*`: 1 fifo, 2 character device, 4 directory, 6 block device, 8 file, 10 symlink, 12 socket. */
  kind: 2,
  /** Permission bits with set-id and sticky, `0o7777` at most. */
  mode: 3,
  nlink: 4,
  uid: 5,
  gid: 6,
  size: 7,
  allocated: 8,
  rdev: 9,
  atimeSeconds: 10,
  atimeNanoseconds: 11,
  mtimeSeconds: 12,
  mtimeNanoseconds: 13,
  ctimeSeconds: 14,
  ctimeNanoseconds: 15,
  btimeSeconds: 16,
  btimeNanoseconds: 17,
  /** HDFS block size; 0 = the default. */
  blockSize: 18,
  /** HDFS replication; 0 = the default. */
  replication: 19,
  /** Bits of `ATTRIBUTE_FLAG`. */
  flags: 20,
} as const

/** Numbers in one attributes record. */
export const ATTRIBUTE_COUNT = 21

/** Bits of the `flags` attribute. */
export const ATTRIBUTE_FLAG = { hasAcl: 1, snapshottable: 2, readOnly: 4 } as const

/** Values of the `kind` attribute. */
export const KIND = {
  fifo: 1,
  characterDevice: 2,
  directory: 4,
  blockDevice: 6,
  file: 8,
  symlink: 10,
  socket: 12,
} as const

/** Bits of the flags of `NativeView.open`. */
export const OPEN = {
  read: 1,
  write: 2,
  append: 4,
  truncate: 8,
  create: 16,
  exclusive: 32,
  sync: 64,
} as const

/** Modes of `NativeView.rename`. */
export const RENAME = { replace: 0, noReplace: 1, exchange: 2 } as const

/** Modes of `NativeView.setXattr`. */
export const XATTR = { set: 0, create: 1, replace: 2 } as const

/** Who asks. Permission is decided from these numbers alone; uid 0 is the superuser. */
export interface UserNumbers {
  uid: number
  gid: number
  groups: number[]
  umask: number
}

/** Where the bytes of a store went. */
export interface SpaceReport {
  /** Bytes of chunks that some live tree or snapshot reaches. */
  liveBytes: number
  /** Bytes that all segments were given. */
  segmentBytes: number
  /** Bytes of metadata pages. */
  pageBytes: number
  segments: number
  /** Bytes that only snapshots keep. */
  snapshotBytes: number
}

/** A file, or a range of it, that a problem takes in one live tree or snapshot. */
export interface Affected {
  /** The path of the volume. */
  volume: string
  /** The path of the snapshot, `DIRECTORY/.snapshot/NAME`; missing for the live tree. */
  snapshot?: string
  /** The path of the file (below `snapshot` if there is one); missing if no name is readable. */
  path?: string
  inode: number
  /** The bytes that cannot be read; missing if the file's attributes, names in it, or which bytes it has are lost. */
  offset?: number
  length?: number
}

/** One thing that is wrong in a store. */
export interface Problem {
  /** `account`: a count is wrong and nothing lost; of the others something on disk is damaged. */
  kind: 'bytes' | 'page' | 'footer' | 'record' | 'account' | 'log' | 'page-store'
  /** For people; not API. */
  message: string
  /** The damaged bytes of a file of the store. */
  bytes?: { file: string; offset: number; length: number }
  /** The damaged page; its keys, from the first it may hold to the one behind its last, in hexadecimal digits. */
  page?: {
    page: number
    tree: 'catalog' | 'chunks' | 'dead' | 'volume'
    /** Of a volume's tree: its view. */
    view?: number
    from: string
    to?: string
  }
  /** What is lost by it, of whom; a thousand at most. */
  affected: Affected[]
  /** How many there are, listed or not. */
  affectedCount: number
}

/** What an open store accepts. */
export interface StoreHealth {
  /** Why no changes are accepted until the store is opened again; null if they are. */
  failure: string | null
  /** The disk is full: only what frees space is accepted. */
  full: boolean
}

/** What opening a store found in its log: changes that were acknowledged and not yet committed. */
export interface RecoveryReport {
  /** How many. */
  records: number
  /** Their bytes in the log. */
  bytes: number
  /** Bytes of files that were put back from their copy in the log. */
  restoredBytes: number
  /** Why the rest of the log could not be used; null if there was none. */
  stopped: string | null
}

/** What an offline check found. */
export interface CheckReport {
  pages: number
  inodes: number
  /** Chunks whose bytes are what was written, and their bytes. */
  chunks: number
  bytes: number
  /** Footers of segments. */
  footers: number
  /** Records of the log that the next opening applies. */
  logRecords: number
  /** What is wrong, a thousand at most; empty if the store is sound. */
  problems: Problem[]
  /** How many problems there are, listed or not. */
  problemCount: number
}

/** What a repair will do, or did. */
export interface RepairReport {
  /** The steps, for people; nothing to do if empty. */
  steps: string[]
  /** Why something that might have been repaired is not. */
  refused?: string
  /** The problems that will stay, or stayed: what nobody else has. */
  remaining: Problem[]
  /** The folder that keeps what was there before; missing if nothing was changed. */
  kept?: string
}

/** How far a check is. */
export interface CheckProgress {
  doneBytes: number
  totalBytes: number
  problemCount: number
}

/** How a scrub is done. */
export interface NativeScrubOptions {
  /** Bytes of chunks read a second, at most. */
  rateBytes?: number
  /** Go on where the last one was interrupted. */
  resume?: boolean
}

/** How the scrub that is under way stands, or the last one. */
export interface ScrubStatus {
  running: boolean
  /** It came to its end; if neither this nor `running`, it was interrupted. */
  complete: boolean
  startedMs: number
  updatedMs: number
  /** Bytes of chunks, read and to be read. */
  doneBytes: number
  totalBytes: number
  pages: number
  chunks: number
  /** Footers of segments. */
  footers: number
  problemCount: number
  /** The problems, one line each; a thousand at most. */
  summary: string[]
  /** The same with all that is known, once it ended since the store was opened. */
  problems: Problem[]
  /** Code and message of what ended it, if that was a failure. */
  failureCode?: string
  failure?: string
}

/** A volume. */
export interface VolumeInfo {
  path: string
  view: number
  /** The inode of its root directory. */
  inode: number
  /** For a clone: the view of the snapshot it was born from. */
  origin: number | null
  createdMs: number
  inodes: number
  bytes: number
}

/** A snapshot of a directory. */
export interface SnapshotInfo {
  name: string
  /** With `inode`: the directory inside the snapshot. */
  view: number
  inode: number
  createdMs: number
  /** The last epoch that is in it. */
  epoch: number
}

/** One difference between two states of a directory tree; paths are relative to the directory. */
export interface Change {
  kind: 'created' | 'deleted' | 'modified' | 'renamed'
  /** A value of `KIND`. */
  fileKind: number
  /** In the old state for `deleted` and `renamed`, else in the new one. */
  path: string
  /** For `renamed`: the path in the new state. */
  target: string | null
  inode: number
}

/** What `setAttributes` changes; fields left out stay as they are. */
export interface AttributeChange {
  mode?: number
  uid?: number
  gid?: number
  size?: number
  atimeMs?: number
  mtimeMs?: number
  replication?: number
  blockSize?: number
  snapshottable?: boolean
}

/** Figures of the store, as `statfs` reports them. */
export interface Statistics {
  totalBytes: number
  freeBytes: number
  availableBytes: number
  inodes: number
  volumeBytes: number
}

/** Sums over a subtree (HDFS content summary). */
export interface ContentSummary {
  length: number
  files: number
  directories: number
  spaceConsumed: number
}

/** A part of a directory's entries, sorted by signed bytes. */
export interface Listing {
  names: string[]
  /** One value of `KIND` per name. */
  kinds: Uint8Array
  /** `ATTRIBUTE_COUNT` numbers per name if they were asked for, else empty. */
  attributes: Float64Array
  /** Whether entries follow the last one. */
  more: boolean
}

/** An open store: one process at a time. */
export interface NativeStore {
  close(): Promise<void>
  /** Group-committed flush: everything acknowledged so far becomes durable. */
  sync(): Promise<void>
  view(user: UserNumbers): NativeView
  /** By name: groups from the machine, numbers interned in the store. umask 0o022. */
  viewOf(userName: string): NativeView
  uidOf(name: string): number
  gidOf(name: string): number
  userName(uid: number): string
  groupName(gid: number): string
  groupsOf(userName: string): string[]
  space(): SpaceReport
  health(): StoreHealth
  recovery(): RecoveryReport
  startScrub(options: NativeScrubOptions): void
  scrubStatus(): ScrubStatus | null
  stopScrub(): Promise<void>
  onDamage(listener: (message: string) => void): void
  listVolumes(): VolumeInfo[]
  /** Frees what has no name, in a store that was opened `waiting` and is not mounted. */
  reap(): void
  /** FUSE. Throws `ERR_LOCKSTEP_NO_FUSE` where the build or machine has none. */
  mount(path: string, options: NativeMountOptions): Promise<NativeMount>
  /** The DataNode's packet loop. */
  serveTransfer(
    options: TransferOptions,
    decide: (request: TransferRequest) => void,
    finished: (event: TransferEvent) => void,
  ): Promise<NativeTransfer>
}

/** How a store is mounted. */
export interface NativeMountOptions {
  allowOther: boolean
  readOnly: boolean
  /** Who keeps the mount while no daemon serves it. */
  holder?: { program: string; directory: string; timeoutSeconds: number }
}

/** A FUSE mount of the store. */
export interface NativeMount {
  readonly path: string
  /** Whether an earlier process made it. */
  readonly isTaken: boolean
  /** Leaves a held mount to the next process; this one must end then. */
  leave(): void
  unmount(): Promise<void>
  /** Resolves when the kernel ended the mount (umount from outside). */
  ended(): Promise<void>
}

/** The store as one user sees it. */
export interface NativeView {
  readonly uid: number
  readonly gid: number
  /** `into` must hold at least `ATTRIBUTE_COUNT` numbers. */
  stat(path: string, follow: boolean, into: Float64Array): void
  statNode(view: number, inode: number, into: Float64Array): void
  pathOf(view: number, inode: number): string
  /** `mask`: 4 r, 2 w, 1 x; 0 exists. */
  access(path: string, mask: number): void
  readLink(path: string): string
  setAttributes(path: string, follow: boolean, change: AttributeChange): void
  setNodeAttributes(view: number, inode: number, change: AttributeChange): void
  statistics(path: string): Statistics
  contentSummary(path: string): Promise<ContentSummary>
  /** At most `limit` entries after the name `after`. */
  list(path: string, after: string | null, limit: number, withAttributes: boolean): Listing
  makeDirectory(path: string, mode: number): void
  /** `mkdir -p`; true if something was made. Missing parents get the mode with u+wx. */
  makeDirectories(path: string, mode: number): boolean
  symlink(target: string, path: string): void
  link(existing: string, path: string): void
  unlink(path: string): void
  removeDirectory(path: string): void
  /** Recursive; returns at once, freed in the background. */
  removeTree(path: string): void
  /** `mode`: a value of `RENAME`. */
  rename(from: string, to: string, mode: number): void
  /** `flags`: bits of `OPEN`. */
  open(path: string, flags: number, mode: number): NativeFile
  openNode(view: number, inode: number, flags: number): NativeFile
  concat(target: string, sources: string[]): void
  getXattr(path: string, name: string, follow: boolean): Buffer
  listXattrs(path: string, follow: boolean): string[]
  /** `mode`: a value of `XATTR`. */
  setXattr(path: string, name: string, value: Uint8Array, mode: number, follow: boolean): void
  removeXattr(path: string, name: string, follow: boolean): void
  createSnapshot(path: string, name: string): SnapshotInfo
  deleteSnapshot(path: string, name: string): void
  renameSnapshot(path: string, from: string, to: string): void
  listSnapshots(path: string): SnapshotInfo[]
  /** Paths of live directories that have snapshots, or where they are allowed. */
  snapshotDirectories(): string[]
  /** `''` is now. */
  diff(path: string, from: string, to: string): Promise<Change[]>
  createClone(path: string, snapshot: string, newPath: string): VolumeInfo
  createVolume(path: string): VolumeInfo
  deleteVolume(path: string): void
}

/** An open file. Its bytes stay while it is open, even if its last name goes. */
export interface NativeFile {
  readonly view: number
  readonly inode: number
  stat(into: Float64Array): void
  /** Fills `into` from `position`; resolves to the byte count, short only at the end of the file. The buffer must not be touched meanwhile. */
  read(into: Uint8Array, position: number): Promise<number>
  /** All or an error; resolves to the file's length after it. With append, `position` is ignored. */
  write(bytes: Uint8Array, position: number): Promise<number>
  readSync(into: Uint8Array, position: number): number
  writeSync(bytes: Uint8Array, position: number): number
  truncate(length: number): void
  /** Changes attributes of the open file, also when its last name is gone. */
  setAttributes(change: AttributeChange): void
  sync(): Promise<void>
  close(): void
}

/** How the DataNode's listener runs. */
export interface TransferOptions {
  host: string
  port: number
  /** Most connections at once. */
  connections: number
  idleMs: number
}

/** One operation of a connection, which waits until `NativeTransfer.answer` was called for its id. */
export interface TransferRequest {
  id: number
  /** The opcode: 80 write, 81 read, 85 block checksum, 87 short-circuit descriptors, ... */
  op: number
  /** The protobuf bytes of the request. */
  message: Buffer
  /** `ip:port`. */
  peer: string
}

/** What the native side does with an operation. */
export type TransferPlan =
  | {
      /** Send `response` (a BlockOpResponseProto without length prefix), then go on or close. */
      kind: 'respond'
      response: Uint8Array
      close: boolean
    }
  | {
      /** Send `response`, then packets of `[offset, offset + length)` of the file node. */
      kind: 'read'
      response: Uint8Array
      view: number
      inode: number
      /** Already aligned down to `bytesPerChecksum` within the block. */
      offset: number
      length: number
      /** Packets number `offsetInBlock` from here. */
      blockOffset: number
      /** 0 NULL, 1 CRC32, 2 CRC32C. */
      checksum: 0 | 1 | 2
      bytesPerChecksum: number
      /** False sends data only. */
      sendChecksums: boolean
    }
  | {
      /** Send `response`, then receive packets, verify them and write them from `fileOffset` on. */
      kind: 'write'
      response: Uint8Array
      view: number
      inode: number
      fileOffset: number
      /** Bytes of the block that are stored already; 0 for a new one. */
      position: number
      /** Most bytes past `fileOffset`. */
      limit: number
      checksum: 0 | 1 | 2
      bytesPerChecksum: number
      syncOnClose: boolean
    }

/**
 * How far a block that is being written has come. The packet that caused the event is acknowledged
 * after the callback has returned.
 */
export interface TransferEvent {
  id: number
  /** Bytes of the block that are in the file. */
  bytes: number
  /** The last packet arrived and is stored. */
  complete: boolean
  error: string | null
}

/** The running DataNode listener. */
export interface NativeTransfer {
  readonly port: number
  answer(id: number, plan: TransferPlan): void
  blockChecksum(
    view: number,
    inode: number,
    offset: number,
    length: number,
    checksum: number,
    bytesPerChecksum: number,
  ): Promise<{ md5: Buffer; compositeCrc: number; crcCount: number }>
  close(): Promise<void>
}

/** How a store is opened. */
export interface NativeStoreOptions {
  /** Bytes of clean pages kept in memory. */
  cacheBytes?: number
  /** Refuse all changes; nothing on disk is touched. */
  readOnly?: boolean
  /** Free nothing that has no name before `mount` or `reap`: users of a mount may hold it. */
  waiting?: boolean
}

interface Binding {
  NativeStore: {
    create(dir: string): void
    open(dir: string, options?: NativeStoreOptions): Promise<NativeStore>
  }
  repairStore(
    dir: string,
    apply: boolean,
    onProgress: (progress: CheckProgress) => void,
  ): Promise<RepairReport>
  checkStore(dir: string, onProgress: (progress: CheckProgress) => void): Promise<CheckReport>
  freeKilled(path: string, pid: number): Promise<boolean>
}

let loaded: Binding | undefined

function binding(): Binding {
  if (loaded) return loaded
  try {
    loaded = createRequire(import.meta.url)('#binding') as Binding
    return loaded
  } catch (error) {
    const why = codeOf(error) === 'MODULE_NOT_FOUND' ? 'is not built' : 'cannot be loaded'
    const message = `the native core of Lockstep ${why} for ${process.platform}-${process.arch}; run \`npm install\` in its directory to build it`
    throw errorFor('ERR_LOCKSTEP_NO_BINDING', message, { cause: error })
  }
}

/** The program that keeps a mount while no daemon serves it, if it was built. */
export function holderProgram(): string | undefined {
  const program = join(
    dirname(createRequire(import.meta.url).resolve('#binding')),
    'lockstep-holder',
  )
  return existsSync(program) ? program : undefined
}

/**
 * Takes the dead mount at `path` away if process `pid`, which served it, was killed and cannot die: the
 * kernel may be waiting for what only it could answer. Resolves to whether there was one.
 */
export async function freeKilled(path: string, pid: number): Promise<boolean> {
  return await binding().freeKilled(path, pid)
}

/** Makes and opens stores. */
export const NativeStore = {
  /**
   * Makes a new empty store in `dir` (made if missing, must be empty).
   *
   * @throws `ERR_LOCKSTEP_NOT_EMPTY`, `ERR_LOCKSTEP_NO_BINDING`, `EIO`.
   */
  create(dir: string): void {
    binding().NativeStore.create(dir)
  },

  /**
   * Opens a store, recovers what its log holds and locks it for this process.
   *
   * @throws `ERR_LOCKSTEP_NOT_A_STORE`, `ERR_LOCKSTEP_LOCKED`, `ERR_LOCKSTEP_SUPERBLOCK`,
   * `ERR_LOCKSTEP_NEWER_FORMAT`, `ERR_LOCKSTEP_UNKNOWN_FEATURE`, `ERR_LOCKSTEP_NO_BINDING`.
   */
  async open(dir: string, options: NativeStoreOptions = {}): Promise<NativeStore> {
    return await binding().NativeStore.open(dir, options)
  },
}

/**
 * Checks a store that nobody has open: every page, inode, chunk and byte.
 *
 * @param dir - Where it lies.
 * @param onProgress - Told now and then how far it is.
 * @throws `ERR_LOCKSTEP_LOCKED`, `ERR_LOCKSTEP_NOT_A_STORE`.
 */
export async function checkStore(
  dir: string,
  onProgress: (progress: CheckProgress) => void = () => undefined,
): Promise<CheckReport> {
  return await binding().checkStore(dir, onProgress)
}

/**
 * Repairs a store that nobody has open, or says what a repair would do.
 *
 * @param dir - Where it lies.
 * @param apply - Whether to do it.
 * @param onProgress - Told now and then how far the checks before and after are.
 * @throws `ERR_LOCKSTEP_LOCKED`, `ERR_LOCKSTEP_NOT_A_STORE`, `ERR_LOCKSTEP_CORRUPT` if it cannot be
 * opened at all.
 */
export async function repairStore(
  dir: string,
  apply: boolean,
  onProgress: (progress: CheckProgress) => void = () => undefined,
): Promise<RepairReport> {
  return await binding().repairStore(dir, apply, onProgress)
}
