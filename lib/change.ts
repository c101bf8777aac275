/** Differences between two states of a directory tree. */
import type { Change as NativeChange } from './native.js'
import { KIND } from './native.js'

/** What a changed thing is. */
export type FileType =
  'file' | 'directory' | 'symlink' | 'fifo' | 'socket' | 'blockDevice' | 'characterDevice'

/** One difference. Paths are relative to the directory; the directory itself is `''`. */
export interface Change {
  /** What happened. `modified` stands for bytes, attributes, and of a directory its entries. */
  readonly kind: 'created' | 'deleted' | 'modified' | 'renamed'
  /** What it happened to. */
  readonly type: FileType
  /** In the old state for `deleted` and `renamed`, else in the new one. */
  readonly path: string
  /** For `renamed`: the path in the new state. */
  readonly target?: string
  /** The inode, the same in both states. */
  readonly inode: number
}

const TYPE_OF_KIND: ReadonlyMap<number, FileType> = new Map([
  [KIND.file, 'file'],
  [KIND.directory, 'directory'],
  [KIND.symlink, 'symlink'],
  [KIND.fifo, 'fifo'],
  [KIND.socket, 'socket'],
  [KIND.blockDevice, 'blockDevice'],
  [KIND.characterDevice, 'characterDevice'],
])

/** The difference as the library shows it. */
export function changeOf(native: NativeChange): Change {
  const { kind, path, target, inode } = native
  const change: Change = { kind, type: TYPE_OF_KIND.get(native.fileKind) ?? 'file', path, inode }
  return target === null ? change : { ...change, target }
}
