/**
 * Blocks as views of file ranges, for both sides: located for clients, resolved for the DataNode.
 *
 * Invariants:
 * - A closed file has fixed blocks: block `i` covers `[i * blockSize, (i + 1) * blockSize)`, cut at the
 *   end of the file. No table is kept for them.
 * - A writer may end a block early and begin the next one off those boundaries. Such a block has an
 *   index from `FLOATING` up, is known only to the file's lease, and is remembered for a while
 *   after the file was closed, for readers that learned of it.
 * - Generations matter to the one who writes; readers may come with any.
 */

import type { MessageInitShape } from '@bufbuild/protobuf'
import { create } from '@bufbuild/protobuf'
import { ATTRIBUTE, ATTRIBUTE_COUNT, KIND } from '../../native.js'
import type { NativeView } from '../../native.js'
import { blockIdOf, FIRST_GENERATION, generationStampOf } from '../datanode/block-id.js'
import type {
  BlockDirectory,
  BlockReference,
  ReadableBlock,
  WritableBlock,
  WriteProgress,
  WriteRequest,
} from '../datanode/blocks.js'
import { BlockRefusal } from '../datanode/blocks.js'
import type { HdfsConfig } from '../config.js'
import type {
  DatanodeInfoProto,
  LocatedBlockProtoSchema,
  LocatedBlocksProtoSchema,
} from '../proto/gen/hdfs_pb.js'
import { StorageTypeProto } from '../proto/gen/hdfs_pb.js'
import { TokenProtoSchema } from '../proto/gen/security_pb.js'
import type { Leases, OpenBlock, OpenFile } from './leases.js'
import type { Facts } from './status.js'
import { factsAt } from './status.js'

/** A block of a file, ready to be encoded. */
export type LocatedBlockInit = MessageInitShape<typeof LocatedBlockProtoSchema>

/** The blocks of a file, ready to be encoded. */
export type LocatedBlocksInit = MessageInitShape<typeof LocatedBlocksProtoSchema>

/** Indexes from here up are not multiples of the block size. */
const FLOATING = 2 ** 23
const REMEMBERED_MAX = 4096

const NO_TOKEN = create(TokenProtoSchema, {
  identifier: new Uint8Array(0),
  password: new Uint8Array(0),
  kind: '',
  service: '',
})

interface Range {
  readonly fileOffset: number
  readonly limit: number
}

/** A stretch of a file that is one block. */
interface Piece extends Range {
  readonly index: number
  readonly generation: number
}

/** What the map works on. */
export interface BlockMapContext {
  /** The store with the superuser's eyes. */
  readonly rootView: NativeView
  readonly leases: Leases
  readonly config: HdfsConfig
  /** The DataNode that has every block. */
  readonly datanode: () => DatanodeInfoProto
}

/** See the head of this file. */
export class BlockMap implements BlockDirectory {
  readonly #context: BlockMapContext
  readonly #record = new Float64Array(ATTRIBUTE_COUNT)
  readonly #remembered = new Map<bigint, Range>()
  #floatingCount = 0

  constructor(context: BlockMapContext) {
    this.#context = context
  }

  /** The blocks of a file that touch `[offset, offset + length)`. */
  locate(facts: Facts, offset: number, length: number): LocatedBlocksInit {
    const open = this.#context.leases.find(facts.view, facts.inode)
    const end = Math.min(facts.size, offset + length)
    const blocks: LocatedBlockInit[] = []
    const first = Math.floor(offset / facts.blockSize)
    const own = open?.blocks ?? []
    const fixedEnd = own.length > 0 && open !== undefined ? open.base : facts.size
    for (let index = first; index * facts.blockSize < Math.min(end, fixedEnd); index++) {
      blocks.push(this.#fixed(facts, index, fixedEnd))
    }
    for (const [position, block] of own.entries()) {
      const stop = own[position + 1]?.fileOffset ?? facts.size
      if (block.fileOffset >= end) break
      if (stop > offset) blocks.push(this.located(facts, block, stop - block.fileOffset))
    }
    const last = this.#last(facts, open, fixedEnd)
    return {
      fileLength: BigInt(facts.size),
      blocks,
      underConstruction: open !== undefined,
      // What is stored is readable: nobody has to ask the DataNode how much of the last block is.
      isLastBlockComplete: true,
      ...(last === undefined ? {} : { lastBlock: last }),
    }
  }

  /** One block with the DataNode that has it. */
  located(facts: Pick<Facts, 'view' | 'inode'>, piece: Piece, length: number): LocatedBlockInit {
    return {
      b: {
        poolId: this.#context.config.blockPoolId,
        blockId: blockIdOf(facts.inode, piece.index),
        generationStamp: generationStampOf(facts.view, piece.generation),
        numBytes: BigInt(length),
      },
      offset: BigInt(piece.fileOffset),
      locs: [this.#context.datanode()],
      corrupt: false,
      blockToken: NO_TOKEN,
      isCached: [false],
      storageTypes: [StorageTypeProto.DISK],
      storageIDs: [this.#context.config.storageId],
    }
  }

  /** The block that a writer gets for the bytes from `fileOffset` on. */
  allocate(file: OpenFile, fileOffset: number): OpenBlock {
    const isFixed = fileOffset % file.blockSize === 0
    const index = isFixed
      ? fileOffset / file.blockSize
      : FLOATING + (this.#floatingCount++ % FLOATING)
    if (isFixed && index >= FLOATING) throw new RangeError(`${file.path} has too many blocks`)
    const block: OpenBlock = {
      index,
      fileOffset,
      limit: file.blockSize,
      generation: FIRST_GENERATION,
      length: -1,
    }
    if (!isFixed) this.#remember(file.inode, block)
    return block
  }

  resolveForRead({ name }: BlockReference): ReadableBlock {
    const { view, inode, index } = name
    const facts = this.#facts(view, inode)
    const range = this.#range(facts, index)
    const length = Math.min(range.limit, facts.size - range.fileOffset)
    // An empty file's only block may be asked for; any other block has bytes.
    if (length < 0 || (length === 0 && range.fileOffset > 0 && index < FLOATING)) {
      throw new BlockRefusal('ENOENT', `Replica not found: the file ends before block ${index}`)
    }
    return { view, inode, fileOffset: range.fileOffset, length }
  }

  resolveForWrite(request: WriteRequest): WritableBlock {
    const { view, inode, index } = request.block.name
    const open = this.#context.leases.find(view, inode)
    const block = open?.blocks.find(candidate => candidate.index === index)
    // The client's name is not compared: hdfs-native gives the DataNode another one than the NameNode.
    if (open === undefined || block === undefined) {
      throw new BlockRefusal('EACCES', `${request.clientName} writes a block that nobody has open`)
    }
    const { size } = this.#facts(view, inode)
    const stored = Math.min(Math.max(0, size - block.fileOffset), block.limit)
    const { fileOffset, limit } = block
    return { view, inode, fileOffset, limit, position: request.stage === 'create' ? 0 : stored }
  }

  progress(event: WriteProgress): void {
    const { view, inode, index } = event.block.name
    const open = this.#context.leases.find(view, inode)
    const block = open?.blocks.find(candidate => candidate.index === index)
    if (open !== undefined && block !== undefined) this.#context.leases.renew(open.client)
  }

  #fixed(facts: Facts, index: number, fileEnd: number): LocatedBlockInit {
    const fileOffset = index * facts.blockSize
    const limit = facts.blockSize
    const piece = { index, fileOffset, limit, generation: FIRST_GENERATION }
    return this.located(facts, piece, Math.min(limit, fileEnd - fileOffset))
  }

  #last(facts: Facts, open: OpenFile | undefined, fixedEnd: number): LocatedBlockInit | undefined {
    const own = open?.blocks.findLast(block => block.fileOffset < facts.size)
    if (own !== undefined) return this.located(facts, own, facts.size - own.fileOffset)
    if (facts.size === 0) return undefined
    return this.#fixed(facts, Math.floor((fixedEnd - 1) / facts.blockSize), fixedEnd)
  }

  #facts(view: number, inode: number): Facts {
    this.#context.rootView.statNode(view, inode, this.#record)
    if (this.#record[ATTRIBUTE.kind] !== KIND.file) {
      throw new BlockRefusal('ENOENT', 'Replica not found: the block belongs to no file')
    }
    return factsAt(this.#record, 0, this.#context.config)
  }

  #range(facts: Facts, index: number): Range {
    const open = this.#context.leases.find(facts.view, facts.inode)
    const own = open?.blocks.findIndex(block => block.index === index) ?? -1
    const block = open?.blocks[own]
    if (block !== undefined) {
      const next = open?.blocks[own + 1]?.fileOffset ?? Infinity
      const limit = Math.min(block.limit, next - block.fileOffset)
      return { fileOffset: block.fileOffset, limit }
    }
    if (index < FLOATING) return { fileOffset: index * facts.blockSize, limit: facts.blockSize }
    const remembered = this.#remembered.get(blockIdOf(facts.inode, index))
    if (remembered === undefined) throw new BlockRefusal('ENOENT', 'Replica not found: it is gone')
    return remembered
  }

  #remember(inode: number, block: OpenBlock): void {
    for (const oldest of this.#remembered.keys()) {
      if (this.#remembered.size < REMEMBERED_MAX) break
      this.#remembered.delete(oldest)
    }
    this.#remembered.set(blockIdOf(inode, block.index), block)
  }
}
