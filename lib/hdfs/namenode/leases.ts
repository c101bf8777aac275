/**
 * Who is writing which file.
 *
 * Invariants:
 * - A file has at most one writer; a writer is a client name, and one renewal covers all its files.
 * - Leases are soft state: after a restart every file is closed with the bytes that were stored.
 */

/** A block that is being written, or was written since its file was opened. */
export interface OpenBlock {
  /** In block ids; see `blocks.ts` for the two kinds. */
  readonly index: number
  readonly fileOffset: number
  /** Most bytes it may have. */
  readonly limit: number
  generation: number
  /** Bytes that the writer committed; -1 while it is written. */
  length: number
}

/** A file that is open for writing. */
export interface OpenFile {
  readonly view: number
  readonly inode: number
  /** As it was opened; the file may have been renamed since. */
  readonly path: string
  readonly client: string
  readonly address: string
  readonly blockSize: number
  /** Where this writer's first own block begins. */
  readonly base: number
  /** In file order; the last one is the one that is written. */
  readonly blocks: OpenBlock[]
  /** Counts up; pages of open-file listings go by it. */
  readonly number: number
}

interface Lease {
  renewedMs: number
  readonly files: Set<OpenFile>
}

/** What {@link Leases.open} needs. */
export type NewOpenFile = Omit<OpenFile, 'number'>

/** The table of leases. */
export class Leases {
  readonly #softMs: number
  readonly #hardMs: number
  readonly #nowMs: () => number
  readonly #clients = new Map<string, Lease>()
  readonly #views = new Map<number, Map<number, OpenFile>>()
  #count = 0
  #opened = 0

  /** @param nowMs - A clock that never goes back. */
  constructor(softMs: number, hardMs: number, nowMs: () => number = () => performance.now()) {
    this.#softMs = softMs
    this.#hardMs = hardMs
    this.#nowMs = nowMs
  }

  /** Files that are open for writing. */
  get count(): number {
    return this.#count
  }

  /** The open file of a node, if somebody writes it. */
  find(view: number, inode: number): OpenFile | undefined {
    return this.#count === 0 ? undefined : this.#views.get(view)?.get(inode)
  }

  /** Makes `file.client` the writer of a file that has none, and renews its lease. */
  open(file: NewOpenFile): OpenFile {
    const opened: OpenFile = { ...file, number: ++this.#opened }
    let inodes = this.#views.get(file.view)
    if (inodes === undefined) {
      inodes = new Map()
      this.#views.set(file.view, inodes)
    }
    const before = inodes.get(file.inode)
    if (before !== undefined) this.close(before)
    inodes.set(file.inode, opened)
    this.#count++
    let lease = this.#clients.get(file.client)
    if (lease === undefined) {
      lease = { renewedMs: 0, files: new Set() }
      this.#clients.set(file.client, lease)
    }
    lease.renewedMs = this.#nowMs()
    lease.files.add(opened)
    return opened
  }

  /** Nobody writes the file any more. */
  close(file: OpenFile): void {
    const inodes = this.#views.get(file.view)
    if (inodes?.get(file.inode) !== file) return
    inodes.delete(file.inode)
    if (inodes.size === 0) this.#views.delete(file.view)
    this.#count--
    const lease = this.#clients.get(file.client)
    lease?.files.delete(file)
    if (lease?.files.size === 0) this.#clients.delete(file.client)
  }

  /** The client is alive. */
  renew(client: string): void {
    const lease = this.#clients.get(client)
    if (lease !== undefined) lease.renewedMs = this.#nowMs()
  }

  /** Whether another client may take the file over. */
  isSoftExpired(file: OpenFile): boolean {
    const lease = this.#clients.get(file.client)
    return lease === undefined || this.#nowMs() - lease.renewedMs > this.#softMs
  }

  /** Closes the files of clients that were not heard of for the hard limit; returns them. */
  expire(): OpenFile[] {
    const nowMs = this.#nowMs()
    const expired: OpenFile[] = []
    for (const lease of this.#clients.values()) {
      if (nowMs - lease.renewedMs > this.#hardMs) expired.push(...lease.files)
    }
    for (const file of expired) this.close(file)
    return expired
  }

  /** Open files with a number above `after`, oldest first. */
  list(after: number, limit: number): OpenFile[] {
    const files = [...this.#clients.values()].flatMap(lease => [...lease.files])
    files.sort((a, b) => a.number - b.number)
    return files.filter(file => file.number > after).slice(0, limit)
  }
}
