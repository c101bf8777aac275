/**
 * The entries of an LMDB 0.9 data file, read from its b-tree as docs/FORMAT.md describes it.
 *
 * Only what a store uses: the unnamed database, no duplicate keys, values on overflow pages.
 */
import { Cursor, FormatProblem } from './bytes.js'

const MAGIC = 0xbeefc0de
const DATA_VERSION = 1
const HEADER_BYTES = 16
const PAGE = { branch: 1, leaf: 2, overflow: 4 } as const
const NODE_BIG = 1
const NO_PAGE = (1n << 64n) - 1n

interface Meta {
  pageBytes: number
  root: bigint
  transaction: number
}

/** Calls `each` for every key and value, in key order. */
export function readLmdb(file: Buffer, each: (key: Buffer, value: Buffer) => void): void {
  // Two meta pages take turns; the one of the later transaction counts.
  const first = readMeta(file)
  const second = readMeta(file.subarray(first.pageBytes))
  const meta = first.transaction > second.transaction ? first : second
  if (meta.root !== NO_PAGE) walk(file, meta.pageBytes, Number(meta.root), each)
}

function readMeta(page: Buffer): Meta {
  const cursor = new Cursor(page)
  cursor.raw(HEADER_BYTES)
  if (cursor.u32() !== MAGIC || cursor.u32() !== DATA_VERSION) {
    throw new FormatProblem('no LMDB meta page of data format 1')
  }
  cursor.raw(16) // Map address and size.
  const pageBytes = cursor.u32()
  cursor.raw(44) // The rest of the database of free pages.
  cursor.raw(40) // The main database, up to its root.
  const root = cursor.raw(8).readBigUInt64LE()
  cursor.raw(8) // The last page.
  return { pageBytes, root, transaction: cursor.u64() }
}

function walk(
  file: Buffer,
  pageBytes: number,
  number: number,
  each: (key: Buffer, value: Buffer) => void,
): void {
  const page = file.subarray(number * pageBytes, (number + 1) * pageBytes)
  const cursor = new Cursor(page)
  if (cursor.u64() !== number) throw new FormatProblem(`LMDB page ${number} is not there`)
  cursor.u16()
  const flags = cursor.u16()
  const nodes = (cursor.u16() - HEADER_BYTES) / 2
  for (let index = 0; index < nodes; index++) {
    const node = new Cursor(page.subarray(page.readUInt16LE(HEADER_BYTES + 2 * index)))
    const [low, high, nodeFlags, keyBytes] = [node.u16(), node.u16(), node.u16(), node.u16()]
    const key = node.raw(keyBytes)
    if (flags & PAGE.branch) {
      walk(file, pageBytes, low + high * 2 ** 16 + nodeFlags * 2 ** 32, each)
    } else if (nodeFlags & NODE_BIG) {
      const start = node.u64() * pageBytes + HEADER_BYTES
      each(key, file.subarray(start, start + low + high * 2 ** 16))
    } else {
      each(key, node.raw(low + high * 2 ** 16))
    }
  }
}
