/**
 * Differences of two states in HDFS's words: one report, or pages from which the client makes it.
 *
 * Invariants:
 * - A directory stands before what came, went or moved in it; files that changed stand for themselves.
 * - Of a directory that came or went only the top is told, not what came or went with it.
 * - Every path but a rename's target is where the thing was, or would have been, in the old state.
 * - Pages of one report come from one comparison; it is kept while a client asks on.
 *
 * The paged form is made for a server that keeps differences per directory: entries say which
 * directory they belong to by its id, and the client shows what belongs to each changed directory in
 * the order of those ids. Ours are positions in the report, so the client shows it in our order.
 */

import type { MessageInitShape } from '@bufbuild/protobuf'
import { KIND } from '../../native.js'
import type { Change } from '../../native.js'
import type {
  SnapshotDiffReportListingEntryProtoSchema,
  SnapshotDiffReportListingProtoSchema,
} from '../proto/gen/hdfs_pb.js'
import { parentOf } from './path.js'

/** One line of a report. */
export interface DiffEntry {
  readonly label: '+' | '-' | 'M' | 'R'
  /** Relative to the compared directory, which itself is the empty path. */
  readonly path: string
  /** Of a rename: the new path. */
  readonly target: string | null
  readonly isDirectory: boolean
}

const LABEL = { created: '+', deleted: '-', modified: 'M', renamed: 'R' } as const
const ORDER = { M: 0, '+': 1, '-': 2, R: 3 } as const

interface Group {
  readonly directory: string
  readonly entries: DiffEntry[]
}

/** The report of a comparison, in HDFS's order. */
export function diffEntries(changes: readonly Change[]): DiffEntry[] {
  const groups = new Map<string, Group>()
  const sources = new Map<string, string>()
  for (const { target, path } of changes) {
    if (target !== null) sources.set(relative(target), relative(path))
  }
  for (const change of changes.filter(isTop(changes))) {
    const entry = entryOf(change, sources)
    const isOwn = entry.label === 'M' && entry.isDirectory
    // A slash in front makes the parent of a name at the top the directory itself.
    const directory = isOwn ? entry.path : parentOf(`/${entry.path}`).slice(1)
    const group = groups.get(directory) ?? { directory, entries: [] }
    group.entries.push(entry)
    groups.set(directory, group)
  }
  const sorted = [...groups.values()].sort((a, b) => (a.directory < b.directory ? -1 : 1))
  return sorted.flatMap(({ directory, entries }) =>
    [...withDirectory(directory, entries)].sort(byKind),
  )
}

/** Whether a change is not merely a part of a directory that came or went. */
function isTop(changes: readonly Change[]): (change: Change) => boolean {
  const whole = { created: new Set<string>(), deleted: new Set<string>() }
  for (const { kind, fileKind, path } of changes) {
    if (fileKind !== KIND.directory) continue
    if (kind === 'created' || kind === 'deleted') whole[kind].add(relative(path))
  }
  return ({ kind, path }) => {
    if (kind !== 'created' && kind !== 'deleted') return true
    let parent = relative(path)
    for (let end = parent.lastIndexOf('/'); end > 0; end = parent.lastIndexOf('/')) {
      parent = parent.slice(0, end)
      if (whole[kind].has(parent)) return false
    }
    return true
  }
}

function entryOf(change: Change, sources: ReadonlyMap<string, string>): DiffEntry {
  const { kind, fileKind, target } = change
  const isDirectory = fileKind === KIND.directory
  const path = relative(change.path)
  const isInNewState = kind === 'created' || kind === 'modified'
  return {
    label: LABEL[kind],
    path: isInNewState && sources.size > 0 ? beforeRenames(path, sources) : path,
    target: target === null ? null : relative(target),
    isDirectory,
  }
}

/**
 * A path of the new state as if nothing above it (or itself) had been renamed. Clients that replay a
 * report first do its renames, and look for everything else under the old names.
 */
function beforeRenames(path: string, sources: ReadonlyMap<string, string>): string {
  for (let end = path.length; end > 0; end = path.lastIndexOf('/', end - 1)) {
    const source = sources.get(path.slice(0, end))
    if (source !== undefined) return source + path.slice(end)
  }
  return path
}

function relative(path: string): string {
  return path === '.' ? '' : path.replace(/^\.?\//, '')
}

/** HDFS shows a directory as modified when its entries changed. */
function withDirectory(directory: string, entries: DiffEntry[]): DiffEntry[] {
  const isShown = entries.some(
    entry => entry.isDirectory && entry.label === 'M' && entry.path === directory,
  )
  const isNeeded = entries.some(entry => entry.label !== 'M')
  if (isShown || !isNeeded) return entries
  return [{ label: 'M', path: directory, target: null, isDirectory: true }, ...entries]
}

function byKind(a: DiffEntry, b: DiffEntry): number {
  if (a.isDirectory && a.label === 'M') return -1
  if (b.isDirectory && b.label === 'M') return 1
  if (a.label !== b.label) return ORDER[a.label] - ORDER[b.label]
  return a.path < b.path ? -1 : a.path > b.path ? 1 : 0
}

const PAGE_ENTRIES = 10_000
const KEPT_MAX = 4
const KEPT_MS = 60_000
const MORE = Buffer.from('/')

type ListingInit = MessageInitShape<typeof SnapshotDiffReportListingProtoSchema>
type ListingEntryInit = MessageInitShape<typeof SnapshotDiffReportListingEntryProtoSchema>

interface Kept {
  readonly entries: readonly DiffEntry[]
  usedMs: number
}

/** Hands out reports in pages. */
export class DiffPages {
  readonly #kept = new Map<string, Kept>()

  /**
   * The page that begins at `index` (-1: the first one).
   *
   * @param key - Names the comparison and who asks.
   * @param load - Compares, for the first page or when the kept report is gone.
   */
  async page(key: string, index: number, load: () => Promise<DiffEntry[]>): Promise<ListingInit> {
    const start = Math.max(0, index)
    const kept = start === 0 ? undefined : this.#find(key)
    const entries = kept ?? (await load())
    const end = Math.min(entries.length, start + PAGE_ENTRIES)
    const isLast = end === entries.length
    if (isLast) this.#kept.delete(key)
    else this.#keep(key, entries)
    return {
      ...listing(entries, start, end),
      isFromEarlier: true,
      cursor: isLast
        ? { startPath: new Uint8Array(0), index: -1 }
        : { startPath: MORE, index: end },
    }
  }

  #find(key: string): readonly DiffEntry[] | undefined {
    const kept = this.#kept.get(key)
    if (kept === undefined || performance.now() - kept.usedMs > KEPT_MS) return undefined
    return kept.entries
  }

  #keep(key: string, entries: readonly DiffEntry[]): void {
    this.#kept.delete(key)
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size < KEPT_MAX) break
      this.#kept.delete(oldest)
    }
    this.#kept.set(key, { entries, usedMs: performance.now() })
  }
}

function listing(entries: readonly DiffEntry[], start: number, end: number) {
  const modifiedEntries: ListingEntryInit[] = []
  const createdEntries: ListingEntryInit[] = []
  const deletedEntries: ListingEntryInit[] = []
  let directory = start
  // A page may begin inside a directory's group: find where that group began.
  while (directory > 0 && !isGroupHead(entries[directory])) directory--
  for (let index = start; index < end; index++) {
    const entry = entries[index]
    if (entry === undefined) break
    if (isGroupHead(entry)) directory = index
    const fullpath = Buffer.from(entry.path)
    const fileId = BigInt(index)
    if (entry.label === 'M') {
      // For a modified entry the client reads `isReference` as "is a directory".
      const isReference = entry.isDirectory
      modifiedEntries.push({ fullpath, dirId: BigInt(index), isReference, fileId })
    } else if (entry.label === '+') {
      createdEntries.push({ fullpath, dirId: BigInt(directory), isReference: false, fileId })
    } else {
      const isReference = entry.label === 'R'
      const targetPath = entry.target === null ? {} : { targetPath: Buffer.from(entry.target) }
      const dirId = BigInt(directory)
      deletedEntries.push({ fullpath, dirId, isReference, fileId, ...targetPath })
    }
  }
  return { modifiedEntries, createdEntries, deletedEntries }
}

function isGroupHead(entry: DiffEntry | undefined): boolean {
  return entry === undefined || (entry.label === 'M' && entry.isDirectory)
}
