/**
 * Directories read piece by piece.
 *
 * Invariants:
 * - One piece of a directory is in memory, whatever its size.
 * - An entry that stays in the directory while it is read is seen exactly once.
 */
import type * as fs from 'node:fs'
import { posix } from 'node:path'
import { encodeName } from './arguments.js'
import type { Encoding } from './arguments.js'
import { LockstepError, guard } from './errors.js'
import type { NativeView } from './native.js'
import { KIND } from './native.js'
import { joinPath } from './paths.js'
import { Dirent } from './stats.js'

/** Entries of one call of the native core. */
const PIECE_ENTRIES = 1024

/** A name with its kind. */
export interface Entry {
  name: string
  /** A value of `KIND`. */
  kind: number
}

/**
 * The entries of a directory, in the core's order.
 *
 * @param view - Who looks.
 * @param path - The directory, absolute in the namespace.
 */
export function* entriesOf(view: NativeView, path: string): Generator<Entry> {
  let after: string | null = null
  for (;;) {
    const piece = view.list(path, after, PIECE_ENTRIES, false)
    for (const [index, name] of piece.names.entries()) {
      yield { name, kind: piece.kinds[index] ?? 0 }
      after = name
    }
    if (!piece.more || piece.names.length === 0) return
  }
}

/** An entry somewhere below the directory where a walk began. */
export interface TreeEntry extends Entry {
  /** The path of its directory relative to where the walk began; empty there. */
  parent: string
}

/**
 * The entries below a directory, a directory's own entries before those of the directories in it,
 * as node's recursive `readdir` gives them. Symbolic links are not followed.
 */
export function* treeOf(view: NativeView, top: string): Generator<TreeEntry, undefined> {
  const waiting = ['']
  for (let parent = waiting.shift(); parent !== undefined; parent = waiting.shift()) {
    const path = parent === '' ? top : joinPath(top, parent)
    for (const entry of entriesOf(view, path)) {
      yield { ...entry, parent }
      if (entry.kind !== KIND.directory) continue
      waiting.push(parent === '' ? entry.name : joinPath(parent, entry.name))
    }
  }
}

/** An open directory, in the manner of node's `Dir`. */
export class Dir implements fs.Dir {
  /** The path it was opened with. */
  readonly path: string
  readonly #entries: Generator<TreeEntry, undefined>
  readonly #encoding: Encoding
  #closed = false

  /**
   * @param view - Who looks.
   * @param shown - The path as the caller gave it.
   * @param path - The directory, absolute in the namespace.
   * @param recursive - Whether the directories in it are read too.
   * @param encoding - Of the names.
   */
  constructor(
    view: NativeView,
    shown: string,
    path: string,
    recursive: boolean,
    encoding: Encoding,
  ) {
    this.path = shown
    this.#encoding = encoding
    this.#entries = recursive ? treeOf(view, path) : topOf(view, path)
  }

  /**
   * The next entry, or null at the end.
   *
   * @throws LockstepError `ERR_DIR_CLOSED`.
   */
  readSync(): Dirent | null {
    this.#checkOpen()
    const next: IteratorResult<TreeEntry, undefined> = guard(
      { syscall: 'readdir', path: this.path },
      () => this.#entries.next(),
    )
    if (next.done === true) return null
    const { value } = next
    const parent = value.parent === '' ? this.path : posix.join(this.path, value.parent)
    // As in node, names in another encoding have the type of text here.
    return new Dirent(encodeName(value.name, this.#encoding) as string, parent, value.kind)
  }

  /** As `readSync`. */
  read(): Promise<Dirent | null>
  read(done: (error: NodeJS.ErrnoException | null, entry: Dirent | null) => void): void
  read(
    done?: (error: NodeJS.ErrnoException | null, entry: Dirent | null) => void,
  ): Promise<Dirent | null> | undefined {
    const reading = new Promise<Dirent | null>(resolve => {
      resolve(this.readSync())
    })
    if (done === undefined) return reading
    reading.then(
      entry => {
        process.nextTick(done, null, entry)
      },
      (error: unknown) => {
        process.nextTick(done, error, null)
      },
    )
    return undefined
  }

  /**
   * Ends it.
   *
   * @throws LockstepError `ERR_DIR_CLOSED`.
   */
  closeSync(): void {
    this.#checkOpen()
    this.#closed = true
    this.#entries.return(undefined)
  }

  /** As `closeSync`. */
  close(): Promise<void>
  close(done: (error: NodeJS.ErrnoException | null) => void): void
  close(done?: (error: NodeJS.ErrnoException | null) => void): Promise<void> | undefined {
    const closing = new Promise<void>(resolve => {
      this.closeSync()
      resolve()
    })
    if (done === undefined) return closing
    closing.then(
      () => {
        process.nextTick(done, null)
      },
      (error: unknown) => {
        process.nextTick(done, error)
      },
    )
    return undefined
  }

  /** The entries; the directory is closed at the end of the loop, however it ends. */
  async *[Symbol.asyncIterator](): NodeJS.AsyncIterator<Dirent> {
    try {
      for (let entry = await this.read(); entry !== null; entry = await this.read()) yield entry
    } finally {
      if (!this.#closed) this.closeSync()
    }
  }

  /** As `close`, but never fails for a closed one. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#closed) await this.close()
  }

  #checkOpen(): void {
    if (this.#closed) throw new LockstepError('ERR_DIR_CLOSED', 'Directory handle was closed')
  }
}

function* topOf(view: NativeView, path: string): Generator<TreeEntry, undefined> {
  for (const entry of entriesOf(view, path)) yield { ...entry, parent: '' }
}
