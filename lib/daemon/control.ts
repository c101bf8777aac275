/**
 * What the command line can ask of a store, whoever has it open.
 *
 * Invariants:
 * - One interface, two implementations: `LocalControl` over a store that this process opened, and
 *   `RemoteControl` over the socket of the daemon that has it open. A command cannot tell them
 *   apart.
 * - Every answer is plain JSON data, in the form that `--json` prints.
 * - Nothing here holds a file in memory: bytes and long lists are streamed.
 * - A change is durable once `sync` has resolved after it.
 */
import type { ScrubStatus } from '../native.js'

/** What an entry is. */
export type EntryKind =
  'file' | 'directory' | 'symlink' | 'fifo' | 'socket' | 'character-device' | 'block-device'

/** A file, directory or other inode, as `stat` and `ls` print it. */
export interface Entry {
  path: string
  kind: EntryKind
  /** Permission bits in octal, four digits: `0644`. */
  mode: string
  nlink: number
  uid: number
  user: string
  gid: number
  group: string
  /** Bytes; of a directory its number of entries. */
  size: number
  /** Bytes that are stored (holes excluded). */
  allocated: number
  /** Times in UTC with nanoseconds: `2026-11-22T10:00:00.000000000Z`. */
  atime: string
  mtime: string
  ctime: string
  btime: string
  /** The volume or snapshot it belongs to, and its number there. */
  view: number
  inode: number
  /** HDFS block size and replication as asked for; 0 = the default. */
  blockSize: number
  replication: number
  /** HDFS: snapshots were allowed here. */
  snapshottable: boolean
  /** It lies in a snapshot. */
  readOnly: boolean
  /** Of a symbolic link: where it points. */
  target?: string
}

/** A snapshot of a directory. */
export interface SnapshotEntry {
  name: string
  /** The directory it was taken of. */
  directory: string
  /** Where it can be read: `DIRECTORY/.snapshot/NAME`. */
  path: string
  created: string
  /** The last epoch that is in it. */
  epoch: number
}

/** A volume. */
export interface VolumeEntry {
  path: string
  view: number
  /** For a clone: the view of the snapshot it was born from. */
  origin: number | null
  created: string
  inodes: number
  bytes: number
}

/** One difference between two states of a directory tree; paths are relative to it. */
export interface ChangeEntry {
  kind: 'created' | 'deleted' | 'modified' | 'renamed'
  fileKind: EntryKind
  /** In the old state for `deleted` and `renamed`, else in the new one. */
  path: string
  /** For `renamed`: the path in the new state. */
  target: string | null
  inode: number
}

/** Where the bytes of the store went, and what the asked path holds. */
export interface SpaceEntry {
  store: {
    /** Bytes of chunks that some live tree or snapshot reaches. */
    liveBytes: number
    /** Bytes that only snapshots keep. */
    snapshotBytes: number
    segmentBytes: number
    pageBytes: number
    segments: number
  }
  /** The file system that the store lies in. */
  host: { totalBytes: number; freeBytes: number; availableBytes: number }
  /** Why no changes are accepted, or null; and whether only what frees space is. */
  health: { failure: string | null; full: boolean }
  path: string
  /** Sums over the path: bytes of files, files and links, directories. */
  content: { length: number; files: number; directories: number }
}

/** Who has the store open. */
export interface About {
  /** Version of the control protocol. */
  protocol: number
  /** Version of the program. */
  version: string
  pid: number
  /** The store's directory. */
  store: string
}

/** An open file's attributes and its bytes, which must be consumed or returned. */
export interface Reading {
  entry: Entry
  bytes: AsyncIterable<Uint8Array>
}

/** A path in the namespace of the store. */
export interface PathRequest {
  path: string
}

/** How to scrub. */
export interface ScrubRequest {
  /** Bytes a second at most; 0 = as fast as can be. */
  rateBytes: number
  /** Go on where the last one was interrupted. */
  resume: boolean
}

/** A snapshot of a directory. */
export interface SnapshotRequest extends PathRequest {
  name: string
}

/**
 * The operations on a store. All paths are absolute in its namespace.
 *
 * Every method rejects with a `LockstepError`; codes are errno names or `ERR_LOCKSTEP_*`.
 */
export interface Control {
  /** Who has the store open. */
  about(): Promise<About>
  /** Attributes; of the link itself unless `follow`. */
  stat(request: PathRequest & { follow: boolean }): Promise<Entry>
  /** A directory's entries in the store's order; of anything else that entry itself. */
  list(request: PathRequest): AsyncIterable<Entry>
  /** Opens a file to read it from its start to its end. */
  read(request: PathRequest): Promise<Reading>
  /**
   * Stores `bytes` as the file `path`, which appears (or is replaced) whole at the end; a failure
   * leaves nothing new.
   */
  write(request: PathRequest & { mode: number }, bytes: AsyncIterable<Uint8Array>): Promise<Entry>
  /** Makes a directory; with `parents`, those above it too, and none of them need be missing. */
  makeDirectory(request: PathRequest & { mode: number; parents: boolean }): Promise<Entry>
  /** Makes a symbolic link. */
  makeLink(request: PathRequest & { target: string }): Promise<Entry>
  /** Removes a file or link, or with `recursive` a directory and all below it. */
  remove(request: PathRequest & { recursive: boolean }): Promise<void>
  /** Takes a snapshot of a directory: O(1), whatever its size. */
  createSnapshot(request: SnapshotRequest): Promise<SnapshotEntry>
  /** A directory's snapshots, oldest first. */
  listSnapshots(request: PathRequest): Promise<SnapshotEntry[]>
  /** Drops a snapshot; its bytes are freed in the background. */
  deleteSnapshot(request: SnapshotRequest): Promise<void>
  /** Gives a snapshot another name. */
  renameSnapshot(request: SnapshotRequest & { to: string }): Promise<void>
  /** Makes a writable volume out of a snapshot: O(1). */
  createClone(request: PathRequest & { snapshot: string; newPath: string }): Promise<VolumeEntry>
  /** Makes an empty volume, attached at `path`. */
  createVolume(request: PathRequest): Promise<VolumeEntry>
  /** All volumes of the store. */
  listVolumes(): Promise<VolumeEntry[]>
  /** Removes a volume that nothing depends on. */
  deleteVolume(request: PathRequest): Promise<void>
  /** Differences of a directory between two snapshots; `''` is now. */
  diff(request: PathRequest & { from: string; to: string }): AsyncIterable<ChangeEntry>
  /** Where the bytes went. */
  space(request: PathRequest): Promise<SpaceEntry>
  /** Starts a scrub, which goes on in whoever has the store open. */
  startScrub(request: ScrubRequest): Promise<void>
  /** How the scrub that is under way stands, or the last one; `null` if there was none. */
  scrubStatus(): Promise<ScrubStatus | null>
  /** Ends the scrub that is under way, to be resumed later. */
  stopScrub(): Promise<void>
  /** Makes all acknowledged changes durable. */
  sync(): Promise<void>
  /** Ends the use of the store: closes it if this process opened it. */
  close(): Promise<void>
}

/** The version of the protocol between command line and daemon. */
export const CONTROL_PROTOCOL = 1
