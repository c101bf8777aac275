/** Records of docs/FORMAT.md: superblock, commit record, pages, inodes, extents, chunks, footers. */
import { Cursor, crc32c, endWithChecksum, FormatProblem } from './bytes.js'

/** A time; nanoseconds within the second. */
export interface Time {
  seconds: number
  nanoseconds: number
}

function check(condition: boolean, problem: string): void {
  if (!condition) throw new FormatProblem(problem)
}

export function readSuperblock(bytes: Buffer): { storeId: Buffer } {
  const cursor = new Cursor(bytes)
  check(cursor.raw(8).toString() === 'LOCKSTEP', 'no superblock')
  check(cursor.u32() === 1, 'another version')
  const storeId = cursor.raw(16)
  const incompatible = cursor.raw(8).readBigUInt64LE()
  cursor.raw(8 + 8) // Features that a reader need not know.
  endWithChecksum(cursor)
  check(incompatible === 0n, 'an unknown incompatible feature')
  return { storeId }
}

export interface CommitRecord {
  epoch: number
  catalog: number
  chunks: number
  dead: number
  logSequence: number
}

export function readCommitRecord(bytes: Buffer): CommitRecord {
  const cursor = new Cursor(bytes)
  const epoch = cursor.u64()
  const [catalog, chunks, dead] = [cursor.u64(), cursor.u64(), cursor.u64()]
  cursor.raw(8 + 8 + 4 + 8 + 8) // Next page, inode, view, segment; dead bytes.
  const logSequence = cursor.u64()
  endWithChecksum(cursor)
  return { epoch, catalog, chunks, dead, logSequence }
}

export interface Page {
  id: number
  birth: number
  level: number
  entries: [Buffer, Buffer][]
}

export function readPage(bytes: Buffer): Page {
  const cursor = new Cursor(bytes)
  check(cursor.u32() === crc32c(bytes.subarray(4)), 'the checksum of a page does not match')
  check(cursor.u8() === 1, 'another version of pages')
  const level = cursor.u8()
  const [id, birth] = [cursor.u64(), cursor.u64()]
  const entries: [Buffer, Buffer][] = []
  let key: Buffer = Buffer.alloc(0)
  for (let left = cursor.varint(); left > 0; left--) {
    const [shared, unshared, length] = [cursor.varint(), cursor.varint(), cursor.varint()]
    const next = Buffer.concat([key.subarray(0, shared), cursor.raw(unshared)])
    check(entries.length === 0 || Buffer.compare(key, next) < 0, 'keys of a page do not rise')
    key = next
    entries.push([key, cursor.raw(length)])
  }
  cursor.end()
  check(level === 0 || entries.length > 0, 'an interior page has no children')
  return { id, birth, level, entries }
}

export interface Inode {
  kind: number
  mode: number
  nlink: number
  uid: number
  gid: number
  size: number
  allocated: number
  flags: number
  mtime: Time
  atime: Time
  ctime: Time
  btime: Time
  blockSize: number
  replication: number
  rdev: number
}

export const FLAG = { inline: 1, hasAcl: 4, snapshottable: 16 } as const

export function readInode(bytes: Buffer): Inode {
  const cursor = new Cursor(bytes)
  const time = (): Time => ({ seconds: cursor.signed(), nanoseconds: cursor.u32() })
  const [kind, bits, mode] = [cursor.u8(), cursor.u8(), cursor.varint()]
  const nlink = bits & 32 ? 1 : cursor.varint()
  const [uid, gid] = [cursor.varint(), cursor.varint()]
  const [size, allocated, flags] = [cursor.varint(), cursor.varint(), cursor.varint()]
  cursor.varint() // The parent.
  const mtime = time()
  const atime = bits & 1 ? mtime : time()
  const ctime = bits & 2 ? mtime : time()
  const btime = bits & 4 ? mtime : time()
  const [blockSize, replication] = bits & 8 ? [cursor.varint(), cursor.varint()] : [0, 0]
  const rdev = bits & 16 ? cursor.varint() : 0
  cursor.end()
  const times = { mtime, atime, ctime, btime }
  const owner = { mode, nlink, uid, gid }
  return { kind, ...owner, size, allocated, flags, ...times, blockSize, replication, rdev }
}

export interface Dentry {
  kind: number
  inode: number
  /** The volume whose root directory the name stands for. */
  volume: number | undefined
}

export function readDentry(bytes: Buffer): Dentry {
  const cursor = new Cursor(bytes)
  const [kind, inode] = [cursor.u8(), cursor.varint()]
  const volume = cursor.isAtEnd ? undefined : cursor.varint()
  cursor.end()
  return { kind, inode, volume }
}

export interface Extent {
  segment: number
  slot: number
  chunkOffset: number
  length: number
}

export function readExtent(bytes: Buffer): Extent {
  const cursor = new Cursor(bytes)
  const [segment, slot, chunkOffset] = [cursor.varint(), cursor.varint(), cursor.varint()]
  const length = cursor.varint()
  cursor.varint() // Birth.
  cursor.end()
  return { segment, slot, chunkOffset, length }
}

const GRAIN_BYTES = 16_384

export interface Chunk {
  offset: number
  length: number
  live: number
  grains: number[]
}

export function readChunk(bytes: Buffer): Chunk {
  const cursor = new Cursor(bytes)
  const [offset, length, live] = [cursor.varint(), cursor.varint(), cursor.varint()]
  cursor.varint() // The offset that the hash was computed for.
  cursor.raw(32) // The hash, BLAKE3, is not checked: this reader has none.
  const count = Math.ceil(length / GRAIN_BYTES)
  const grains = Array.from({ length: count }, () => cursor.u32())
  cursor.end()
  return { offset, length, live, grains }
}

/** The bytes of a chunk, every grain verified. */
export function readChunkBytes(file: Buffer, chunk: Chunk): Buffer {
  const bytes = file.subarray(chunk.offset, chunk.offset + chunk.length)
  check(bytes.length === chunk.length, 'a chunk reaches past its segment')
  for (const [index, crc] of chunk.grains.entries()) {
    const grain = bytes.subarray(index * GRAIN_BYTES, (index + 1) * GRAIN_BYTES)
    check(crc32c(grain) === crc, 'the checksum of a grain does not match')
  }
  return bytes
}

export interface Volume {
  root: number
  rootInode: number
  state: number
}

export function readVolume(bytes: Buffer): Volume {
  const cursor = new Cursor(bytes)
  const root = cursor.varint()
  cursor.varint() // Inodes.
  cursor.varint() // Bytes.
  cursor.varint() // The volume and the directory it is attached to.
  cursor.varint()
  const [rootInode, state] = [cursor.varint(), cursor.u8()]
  cursor.blob() // The name.
  readCreated(cursor)
  for (let left = cursor.isAtEnd ? 0 : 3; left > 0; left--) cursor.varint() // The origin.
  cursor.end()
  return { root, rootInode, state }
}

export interface Snapshot {
  view: number
  root: number
}

export function readSnapshot(bytes: Buffer): Snapshot {
  const cursor = new Cursor(bytes)
  const view = cursor.varint()
  cursor.varint() // Volume and directory: the key says them, too.
  cursor.varint()
  cursor.varint() // Epoch.
  const root = cursor.varint()
  readCreated(cursor)
  cursor.varint() // Inodes.
  cursor.varint() // Bytes.
  cursor.end()
  return { view, root }
}

/** A time as records of the catalog and of the log hold it. */
export function readCreated(cursor: Cursor): Time {
  return { seconds: cursor.signed(), nanoseconds: cursor.varint() }
}

export interface Segment {
  tail: number
  live: number
  isSealed: boolean
}

export function readSegment(bytes: Buffer): Segment {
  const cursor = new Cursor(bytes)
  const [tail, live] = [cursor.varint(), cursor.varint()]
  cursor.varint() // The next slot.
  const isSealed = cursor.u8() === 1
  cursor.end()
  return { tail, live, isSealed }
}

/** The chunks that the footer of a sealed segment lists, by slot. */
export function readFooter(file: Buffer): Map<number, Buffer> {
  const trailer = new Cursor(file.subarray(-16))
  const [length, crc] = [trailer.u32(), trailer.u32()]
  check(trailer.rest().toString() === 'LSFOOTER', 'a sealed segment has no footer')
  const body = file.subarray(-16 - length, -16)
  check(body.length === length && crc32c(body) === crc, 'a footer does not match its checksum')
  const cursor = new Cursor(body)
  const chunks = new Map<number, Buffer>()
  for (let left = cursor.varint(); left > 0; left--) chunks.set(cursor.varint(), cursor.blob())
  cursor.end()
  return chunks
}
