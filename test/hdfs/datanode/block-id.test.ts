import fc from 'fast-check'
import t from 'tap'
import {
  blockIdOf,
  FIRST_GENERATION,
  generationStampOf,
  INDEX_LIMIT,
  INODE_LIMIT,
  parseBlock,
} from '../../../lib/hdfs/datanode/block-id.js'

const INT64_MAX = 2n ** 63n - 1n

void t.test('a block id and its stamp name exactly one block, and are positive', t => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: INODE_LIMIT - 1 }),
      fc.integer({ min: 0, max: INDEX_LIMIT - 1 }),
      fc.integer({ min: 0, max: 2 ** 31 - 1 }),
      fc.integer({ min: 0, max: 2 ** 32 - 1 }),
      (inode, index, view, generation) => {
        const id = blockIdOf(inode, index)
        const stamp = generationStampOf(view, generation)
        const name = parseBlock(id, stamp)
        return (
          id >= 0n &&
          id <= INT64_MAX &&
          stamp >= 0n &&
          stamp <= INT64_MAX &&
          name?.inode === inode &&
          name.index === index &&
          name.view === view &&
          name.generation === generation
        )
      },
    ),
  )
  t.equal(generationStampOf(0, FIRST_GENERATION), 1001n)
  t.end()
})

void t.test('numbers that no block of ours has are refused', t => {
  t.throws(() => blockIdOf(INODE_LIMIT, 0), RangeError)
  t.throws(() => blockIdOf(1, INDEX_LIMIT), RangeError)
  t.throws(() => blockIdOf(-1, 0), RangeError)
  t.throws(() => blockIdOf(1.5, 0), RangeError)
  t.throws(() => generationStampOf(2 ** 31, 0), RangeError)
  t.equal(parseBlock(-1n, 0n), undefined)
  t.equal(parseBlock(0n, -1n), undefined)
  t.equal(parseBlock(1n << 63n, 0n), undefined)
  t.equal(parseBlock(0n, 1n << 63n), undefined)
  t.end()
})
