/**
 * Names of blocks. A block is a view of a file range; its name says which, so no block map is kept.
 *
 * Invariants:
 * - `blockId = inode << 24 | index`, positive: HDFS takes negative ids for erasure-coded groups.
 * - `generationStamp = view << 32 | generation`; generations start at `FIRST_GENERATION`. The view is
 *   in the stamp, so the same block read through a snapshot has the same id but another stamp.
 */

/** The generation of a block that was never appended to or recovered (as in HDFS). */
export const FIRST_GENERATION = 1001

/** Inodes are below this number. */
export const INODE_LIMIT = 2 ** 39

/** Block indexes are below this number. */
export const INDEX_LIMIT = 2 ** 24

const VIEW_LIMIT = 2 ** 31
const GENERATION_LIMIT = 2 ** 32
const INDEX_BITS = 24n
const INDEX_MASK = 0xff_ffffn
const GENERATION_BITS = 32n
const GENERATION_MASK = 0xffff_ffffn

/** Which block of which file, seen in which view. */
export interface BlockName {
  readonly view: number
  readonly inode: number
  readonly index: number
  readonly generation: number
}

function checked(what: string, value: number, limit: number): bigint {
  if (!Number.isInteger(value) || value < 0 || value >= limit) {
    throw new RangeError(`${what} ${String(value)} is not in 0..${String(limit - 1)}`)
  }
  return BigInt(value)
}

/**
 * The id of block `index` of a file.
 *
 * @throws RangeError if a number does not fit.
 */
export function blockIdOf(inode: number, index: number): bigint {
  return (
    (checked('inode', inode, INODE_LIMIT) << INDEX_BITS) |
    checked('block index', index, INDEX_LIMIT)
  )
}

/**
 * The generation stamp of a block in a view.
 *
 * @throws RangeError if a number does not fit.
 */
export function generationStampOf(view: number, generation: number): bigint {
  return (
    (checked('view', view, VIEW_LIMIT) << GENERATION_BITS) |
    checked('generation', generation, GENERATION_LIMIT)
  )
}

/**
 * What a block's id and stamp name.
 *
 * @returns undefined if they are not numbers that this server gives out.
 */
export function parseBlock(blockId: bigint, generationStamp: bigint): BlockName | undefined {
  if (blockId < 0n || blockId >> INDEX_BITS >= BigInt(INODE_LIMIT)) return undefined
  if (generationStamp < 0n || generationStamp >> GENERATION_BITS >= BigInt(VIEW_LIMIT)) {
    return undefined
  }
  return {
    view: Number(generationStamp >> GENERATION_BITS),
    inode: Number(blockId >> INDEX_BITS),
    index: Number(blockId & INDEX_MASK),
    generation: Number(generationStamp & GENERATION_MASK),
  }
}
