/**
 * An independent reader of stores, written from docs/FORMAT.md alone: no line of the engine is used.
 *
 * It reads the files, replays the log in memory as "Recovery" says, verifies every checksum but the
 * BLAKE3 values, and lists what is in every view. It proves that the text is enough; it is slow, and
 * holds the whole store in memory.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Cursor, FormatProblem } from './bytes.js'
import { readLmdb } from './lmdb.js'
import { readLog } from './log.js'
import type { Operation } from './log.js'
import { sha256, xattrText } from './manifest.js'
import type { Manifest, ManifestEntry } from './manifest.js'
import * as records from './records.js'

/** A tree: keys as latin1 text, whose order is that of the bytes. */
type Tree = Map<string, Buffer>

interface Snapshot {
  volume: number
  directory: number
  name: string
  tree: Tree
}

const TREE = { catalog: 0xffffffff, chunks: 0xfffffffe, dead: 0xfffffffd } as const
const KEY = { inode: 0, inline: 1, orphan: 2, xattr: 3, extent: 4, dentry: 5 } as const
const CATALOG = { volume: 1, snapshot: 2, segment: 5 } as const
const KIND = { directory: 4, file: 8, symlink: 10 } as const

/** A store as its files say. */
export class FormatStore {
  readonly storeId: Buffer
  /** The kinds of operation that the log held behind the last commit. */
  readonly replayed = new Set<Operation['kind']>()
  readonly sealedSegments: number[] = []
  readonly activeSegments: number[] = []
  readonly orphans: number[] = []
  /** Views of volumes that are being deleted, and of buried ones. */
  readonly deleting: number[] = []
  readonly buried: number[] = []
  readonly #pages = new Map<number, records.Page>()
  readonly #segments = new Map<number, Buffer>()
  readonly #volumes = new Map<number, { rootInode: number; state: number; tree: Tree }>()
  readonly #snapshots = new Map<number, Snapshot>()
  #catalog: Tree = new Map()
  #chunks: Tree = new Map()
  #dead: Tree = new Map()

  /** Reads everything in `directory` and brings it to what was acknowledged. */
  constructor(directory: string) {
    this.storeId = records.readSuperblock(readFileSync(join(directory, 'superblock'))).storeId
    for (const name of readdirSync(join(directory, 'segments'))) {
      const number = Number.parseInt(name.replace(/\.segment$/, ''), 16)
      this.#segments.set(number, readFileSync(join(directory, 'segments', name)))
    }
    const commit = this.#readPages(readFileSync(join(directory, 'meta', 'data.mdb')))
    this.#loadTrees(commit)
    const files = ['0.log', '1.log'].map(name => readFileSync(join(directory, 'log', name)))
    this.#replay(readLog(files, commit.logSequence))
    this.#checkSegments()
    this.#checkDead()
    for (const [view, { state, tree }] of this.#volumes) {
      if (state & 1) this.deleting.push(view)
      if (state & 2) this.buried.push(view)
      for (const [key] of prefixed(tree, inodeKey(0, KEY.orphan))) {
        this.orphans.push(new Cursor(Buffer.from(key.slice(9), 'latin1')).u64be())
      }
    }
  }

  #readPages(file: Buffer): records.CommitRecord {
    let commit: records.CommitRecord | undefined
    readLmdb(file, (key, value) => {
      if (key.toString() === 'meta') {
        commit = records.readCommitRecord(value)
        return
      }
      const page = records.readPage(value)
      if (page.id !== new Cursor(key).u64be()) throw new FormatProblem('a page is another')
      this.#pages.set(page.id, page)
    })
    if (commit === undefined) throw new FormatProblem('there is no commit record')
    return commit
  }

  #loadTree(root: number): Tree {
    const tree: Tree = new Map()
    const load = (number: number, level?: number): void => {
      const page = this.#pages.get(number)
      if (page === undefined) throw new FormatProblem(`page ${number} is missing`)
      if (level !== undefined && page.level !== level) throw new FormatProblem('a level is wrong')
      for (const [key, value] of page.entries) {
        if (page.level > 0) load(new Cursor(value).u64(), page.level - 1)
        else tree.set(key.toString('latin1'), value)
      }
    }
    if (root !== 0) load(root)
    return tree
  }

  #loadTrees(commit: records.CommitRecord): void {
    this.#catalog = this.#loadTree(commit.catalog)
    this.#chunks = this.#loadTree(commit.chunks)
    this.#dead = this.#loadTree(commit.dead)
    for (const [key, value] of this.#catalog) {
      const cursor = new Cursor(Buffer.from(key, 'latin1'))
      const kind = cursor.u8()
      if (kind === CATALOG.volume) {
        const { root, rootInode, state } = records.readVolume(value)
        this.#volumes.set(cursor.u32be(), { rootInode, state, tree: this.#loadTree(root) })
      } else if (kind === CATALOG.snapshot) {
        const { view, root } = records.readSnapshot(value)
        const place = { volume: cursor.u32be(), directory: cursor.u64be() }
        const name = cursor.rest().toString()
        this.#snapshots.set(view, { ...place, name, tree: this.#loadTree(root) })
      }
    }
  }

  #replay(log: Operation[][]): void {
    // Bytes first: the checksums of chunks are looked at when records name them.
    for (const operation of log.flat()) {
      if (operation.kind !== 'bytes') continue
      const segment = this.#segments.get(operation.segment)
      if (segment !== undefined) operation.bytes.copy(segment, operation.offset)
    }
    for (const operations of log) {
      if (!operations.every(operation => this.#hasBytes(operation))) return
      for (const operation of operations) {
        this.replayed.add(operation.kind)
        this.#apply(operation)
      }
    }
  }

  /** Whether the bytes of a chunk that `operation` names for the first time are there. */
  #hasBytes(operation: Operation): boolean {
    if (operation.kind !== 'put' || operation.tree !== TREE.chunks) return true
    if (this.#chunks.has(operation.key.toString('latin1'))) return true
    try {
      const segment = this.#segment(new Cursor(operation.key).u64be())
      records.readChunkBytes(segment, records.readChunk(operation.value))
      return true
    } catch (error) {
      if (error instanceof FormatProblem) return false
      throw error
    }
  }

  #apply(operation: Operation): void {
    switch (operation.kind) {
      case 'put':
        this.#put(operation.tree, operation.key.toString('latin1'), operation.value)
        break
      case 'delete':
        this.#delete(operation.tree, operation.key.toString('latin1'))
        break
      case 'snapshot': {
        const { volume, directory, name, view } = operation
        const tree = new Map(this.#volume(volume).tree)
        this.#snapshots.set(view, { volume, directory, name: name.toString(), tree })
        break
      }
      case 'volume': {
        const { view, origin } = operation
        const from = origin === undefined ? undefined : this.#snapshot(origin)
        const tree = new Map(from?.tree)
        this.#volumes.set(view, { rootInode: from?.directory ?? 1, state: 0, tree })
        break
      }
      case 'rename':
        for (const snapshot of this.#snapshots.values()) {
          const isThere =
            snapshot.volume === operation.volume && snapshot.directory === operation.directory
          if (isThere && snapshot.name === operation.from.toString()) {
            snapshot.name = operation.to.toString()
            break
          }
        }
        break
      case 'bytes':
        break
    }
  }

  #put(tree: number, key: string, value: Buffer): void {
    if (tree === TREE.catalog && key.charCodeAt(0) === CATALOG.volume) {
      // Its root page is that of the last commit: what the tree holds is known better here.
      const volume = this.#volume(new Cursor(Buffer.from(key, 'latin1').subarray(1)).u32be())
      volume.state = records.readVolume(value).state
      if (volume.state & 2) volume.tree.clear()
    }
    this.#tree(tree).set(key, value)
  }

  #delete(tree: number, key: string): void {
    const cursor = new Cursor(Buffer.from(key, 'latin1'))
    if (tree === TREE.catalog) {
      const kind = cursor.u8()
      if (kind === CATALOG.volume) this.#volumes.delete(cursor.u32be())
      if (kind === CATALOG.snapshot) {
        const [volume, directory, name] = [cursor.u32be(), cursor.u64be(), cursor.rest().toString()]
        for (const [view, snapshot] of this.#snapshots) {
          const isThere = snapshot.volume === volume && snapshot.directory === directory
          if (isThere && snapshot.name === name) this.#snapshots.delete(view)
        }
      }
    }
    this.#tree(tree).delete(key)
  }

  #tree(number: number): Tree {
    if (number === TREE.catalog) return this.#catalog
    if (number === TREE.chunks) return this.#chunks
    if (number === TREE.dead) return this.#dead
    return this.#volume(number).tree
  }

  #volume(view: number): { rootInode: number; state: number; tree: Tree } {
    const volume = this.#volumes.get(view)
    if (volume === undefined) throw new FormatProblem(`there is no volume ${view}`)
    return volume
  }

  #snapshot(view: number): Snapshot {
    const snapshot = this.#snapshots.get(view)
    if (snapshot === undefined) throw new FormatProblem(`there is no snapshot ${view}`)
    return snapshot
  }

  #segment(number: number): Buffer {
    const segment = this.#segments.get(number)
    if (segment === undefined) throw new FormatProblem(`segment ${number} is missing`)
    return segment
  }

  /** Every grain of every chunk; and footers list, with the same places and checksums, what is there. */
  #checkSegments(): void {
    const footers = new Map<number, Map<number, Buffer>>()
    for (const [key, value] of prefixed(this.#catalog, String.fromCharCode(CATALOG.segment))) {
      const number = new Cursor(Buffer.from(key.slice(1), 'latin1')).u64be()
      if (records.readSegment(value).isSealed) {
        footers.set(number, records.readFooter(this.#segment(number)))
        this.sealedSegments.push(number)
      }
    }
    for (const number of this.#segments.keys()) {
      if (!footers.has(number)) this.activeSegments.push(number)
    }
    for (const [key, value] of this.#chunks) {
      const cursor = new Cursor(Buffer.from(key, 'latin1'))
      const [number, slot] = [cursor.u64be(), cursor.u32be()]
      const chunk = records.readChunk(value)
      records.readChunkBytes(this.#segment(number), chunk)
      const footer = footers.get(number)
      if (footer === undefined) continue
      const listed = footer.get(slot)
      if (listed === undefined) throw new FormatProblem('a footer lacks a chunk')
      const { offset, length, grains } = records.readChunk(listed)
      const same = offset === chunk.offset && length === chunk.length
      if (!same || grains.join() !== chunk.grains.join()) {
        throw new FormatProblem('a footer disagrees with the chunk tree')
      }
    }
  }

  /** What is dead is there: ranges lie in chunks. */
  #checkDead(): void {
    for (const [key, value] of this.#dead) {
      const cursor = new Cursor(Buffer.from(key, 'latin1'))
      cursor.raw(4 + 8 + 8) // Volume, bucket, birth.
      if (cursor.u8() === 0) {
        cursor.raw(8)
      } else {
        const chunk = this.#chunks.get(cursor.raw(12).toString('latin1'))
        const end = cursor.u32be() + new Cursor(value).varint()
        if (chunk === undefined || end > records.readChunk(chunk).length) {
          throw new FormatProblem('a dead range is not in a chunk')
        }
      }
      cursor.end()
    }
  }

  /** Everything that can be seen. */
  manifest(): Manifest {
    const directories = new Map<string, string>()
    const root = this.#volume(0)
    const live: ManifestEntry[] = []
    this.#walk(live, root.tree, root.rootInode, '/', (inode, path, view = 0) => {
      directories.set(`${view} ${inode}`, path)
    })
    const views = [{ path: '/', entries: live }]
    for (const { volume, directory, name, tree } of this.#snapshots.values()) {
      const above = directories.get(`${volume} ${directory}`)
      if (above === undefined) continue
      const path = `${above === '/' ? '' : above}/.snapshot/${name}`
      const entries: ManifestEntry[] = []
      this.#walk(entries, tree, directory, path, () => undefined)
      views.push({ path, entries })
    }
    return { views: views.sort((left, right) => (left.path < right.path ? -1 : 1)) }
  }

  #walk(
    into: ManifestEntry[],
    tree: Tree,
    inode: number,
    path: string,
    visit: (inode: number, path: string, view?: number) => void,
    view?: number,
  ): void {
    const record = tree.get(inodeKey(inode, KEY.inode))
    if (record === undefined) throw new FormatProblem(`${path} has no inode`)
    const read = records.readInode(record)
    into.push(this.#entry(tree, inode, path, read))
    if (read.kind !== KIND.directory) return
    visit(inode, path, view)
    for (const [key, value] of prefixed(tree, inodeKey(inode, KEY.dentry))) {
      const flipped = Buffer.from(key.slice(9), 'latin1').map(byte => byte ^ 0x80)
      const child = `${path === '/' ? '' : path}/${Buffer.from(flipped).toString()}`
      const dentry = records.readDentry(value)
      if (dentry.volume === undefined) {
        this.#walk(into, tree, dentry.inode, child, visit, view)
      } else {
        const volume = this.#volume(dentry.volume)
        this.#walk(into, volume.tree, volume.rootInode, child, visit, dentry.volume)
      }
    }
  }

  #entry(tree: Tree, inode: number, path: string, read: records.Inode): ManifestEntry {
    const { kind, mode, nlink, uid, gid, size, allocated, rdev, blockSize, replication } = read
    const time = (at: records.Time): [number, number] => [at.seconds, at.nanoseconds]
    const entry: ManifestEntry = {
      ...{ path, kind, mode, nlink, uid, gid, size, allocated, rdev },
      ...{ atime: time(read.atime), mtime: time(read.mtime) },
      ...{ ctime: time(read.ctime), btime: time(read.btime), blockSize, replication },
      hasAcl: (read.flags & records.FLAG.hasAcl) !== 0,
      snapshottable: (read.flags & records.FLAG.snapshottable) !== 0,
    }
    const inline = tree.get(inodeKey(inode, KEY.inline))
    if (kind === KIND.symlink) entry.target = inline?.toString() ?? ''
    if (kind === KIND.file) entry.sha256 = sha256(this.#bytes(tree, inode, read))
    const xattrs: Record<string, string> = {}
    for (const [key, value] of prefixed(tree, inodeKey(inode, KEY.xattr))) {
      xattrs[Buffer.from(key.slice(9), 'latin1').toString()] = xattrText(value)
    }
    if (Object.keys(xattrs).length > 0) entry.xattrs = xattrs
    return entry
  }

  #bytes(tree: Tree, inode: number, { size, flags }: records.Inode): Buffer {
    const bytes = Buffer.alloc(size)
    if (flags & records.FLAG.inline) {
      tree.get(inodeKey(inode, KEY.inline))?.copy(bytes)
      return bytes
    }
    for (const [key, value] of prefixed(tree, inodeKey(inode, KEY.extent))) {
      const at = new Cursor(Buffer.from(key.slice(9), 'latin1')).u64be()
      const { segment, slot, chunkOffset, length } = records.readExtent(value)
      const pointer = Buffer.alloc(12)
      pointer.writeBigUInt64BE(BigInt(segment))
      pointer.writeUInt32BE(slot, 8)
      const record = this.#chunks.get(pointer.toString('latin1'))
      if (record === undefined) throw new FormatProblem('an extent names no chunk')
      const chunk = records.readChunkBytes(this.#segment(segment), records.readChunk(record))
      chunk.copy(bytes, at, chunkOffset, chunkOffset + length)
    }
    return bytes
  }
}

function inodeKey(inode: number, kind: number): string {
  const key = Buffer.alloc(9)
  key.writeBigUInt64BE(BigInt(inode))
  key[8] = kind
  return key.toString('latin1')
}

function prefixed(tree: Tree, prefix: string): [string, Buffer][] {
  const found = [...tree].filter(([key]) => key.startsWith(prefix))
  return found.sort(([left], [right]) => (left < right ? -1 : 1))
}
