/**
 * File ids on the wire: `view << 40 | inode`, so that an id names a node in one view, live or in a
 * snapshot. Ids of the root volume are plain inode numbers.
 */

const VIEW_BITS = 40n
const INODE_MASK = (1n << VIEW_BITS) - 1n
const VIEW_LIMIT = 1n << 23n

/** The id of a node. */
export function fileIdOf(view: number, inode: number): bigint {
  return view === 0 ? BigInt(inode) : (BigInt(view) << VIEW_BITS) | BigInt(inode)
}

/** The node that an id names; undefined if the number is none of ours. */
export function parseFileId(id: bigint): { view: number; inode: number } | undefined {
  const view = id >> VIEW_BITS
  const inode = id & INODE_MASK
  if (id <= 0n || view >= VIEW_LIMIT || inode === 0n) return undefined
  return { view: Number(view), inode: Number(inode) }
}
