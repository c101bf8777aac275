/**
 * Native records as the plain data of the control interface.
 *
 * Invariant: nothing is lost on the way; times keep their nanoseconds, modes their octal form.
 */
import { ATTRIBUTE, ATTRIBUTE_FLAG, KIND } from '../native.js'
import type { Change, NativeStore, SnapshotInfo, VolumeInfo } from '../native.js'
import type { ChangeEntry, Entry, EntryKind, SnapshotEntry, VolumeEntry } from './control.js'

const KIND_NAME: ReadonlyMap<number, EntryKind> = new Map<number, EntryKind>([
  [KIND.fifo, 'fifo'],
  [KIND.characterDevice, 'character-device'],
  [KIND.directory, 'directory'],
  [KIND.blockDevice, 'block-device'],
  [KIND.file, 'file'],
  [KIND.symlink, 'symlink'],
  [KIND.socket, 'socket'],
])

/** The name of a `KIND` number. */
export function kindName(kind: number): EntryKind {
  return KIND_NAME.get(kind) ?? 'file'
}

/** A time as ISO 8601 in UTC with nine digits of a second; whole seconds before 1970 too. */
export function isoTime(seconds: number, nanoseconds: number): string {
  const date = new Date(seconds * 1000)
  // Outside JavaScript's range of dates (±8.64e15 ms) only the number can be told.
  if (Number.isNaN(date.getTime())) return `@${seconds}.${String(nanoseconds).padStart(9, '0')}`
  return date.toISOString().replace(/\.\d+Z$/, `.${String(nanoseconds).padStart(9, '0')}Z`)
}

/** Makes entries; remembers the names of users and groups for as long as it lives. */
export class EntryReader {
  readonly #store: NativeStore
  readonly #users = new Map<number, string>()
  readonly #groups = new Map<number, string>()

  /** @param store - Where names of users and groups are looked up. */
  constructor(store: NativeStore) {
    this.#store = store
  }

  /** The entry whose attributes begin at `offset` of `record`. */
  entry(path: string, record: Float64Array, offset = 0): Entry {
    const field = (name: keyof typeof ATTRIBUTE): number => record[offset + ATTRIBUTE[name]] ?? 0
    const uid = field('uid')
    const gid = field('gid')
    const flags = field('flags')
    return {
      path,
      kind: kindName(field('kind')),
      mode: field('mode').toString(8).padStart(4, '0'),
      nlink: field('nlink'),
      uid,
      user: this.#name(this.#users, uid, id => this.#store.userName(id)),
      gid,
      group: this.#name(this.#groups, gid, id => this.#store.groupName(id)),
      size: field('size'),
      allocated: field('allocated'),
      atime: isoTime(field('atimeSeconds'), field('atimeNanoseconds')),
      mtime: isoTime(field('mtimeSeconds'), field('mtimeNanoseconds')),
      ctime: isoTime(field('ctimeSeconds'), field('ctimeNanoseconds')),
      btime: isoTime(field('btimeSeconds'), field('btimeNanoseconds')),
      view: field('view'),
      inode: field('inode'),
      blockSize: field('blockSize'),
      replication: field('replication'),
      snapshottable: (flags & ATTRIBUTE_FLAG.snapshottable) !== 0,
      readOnly: (flags & ATTRIBUTE_FLAG.readOnly) !== 0,
    }
  }

  #name(known: Map<number, string>, id: number, find: (id: number) => string): string {
    let name = known.get(id)
    if (name === undefined) {
      name = find(id)
      known.set(id, name)
    }
    return name
  }
}

/** A snapshot of `directory`. */
export function snapshotEntry(directory: string, info: SnapshotInfo): SnapshotEntry {
  return {
    name: info.name,
    directory,
    path: join(join(directory, '.snapshot'), info.name),
    created: new Date(info.createdMs).toISOString(),
    epoch: info.epoch,
  }
}

/** A volume. */
export function volumeEntry(info: VolumeInfo): VolumeEntry {
  return {
    path: info.path,
    view: info.view,
    origin: info.origin,
    created: new Date(info.createdMs).toISOString(),
    inodes: info.inodes,
    bytes: info.bytes,
  }
}

/** A change. */
export function changeEntry(change: Change): ChangeEntry {
  return {
    kind: change.kind,
    fileKind: kindName(change.fileKind),
    path: change.path,
    target: change.target,
    inode: change.inode,
  }
}

/** The path of `name` in `directory`. */
export function join(directory: string, name: string): string {
  return directory.endsWith('/') ? directory + name : `${directory}/${name}`
}

/** The directory of `path` and its last name; of the root the root and nothing. */
export function split(path: string): { directory: string; name: string } {
  const trimmed = path.replace(/\/+$/, '')
  const slash = trimmed.lastIndexOf('/')
  const directory = trimmed.slice(0, slash).replace(/\/+$/, '')
  return { directory: directory === '' ? '/' : directory, name: trimmed.slice(slash + 1) }
}
