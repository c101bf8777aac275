/**
 * What each data transfer operation means: decodes its message, asks the block directory, plans.
 *
 * Invariants:
 * - Whatever a message holds, the outcome is a plan; nothing thrown here escapes.
 * - Numbers of the wire become JavaScript numbers only below 2^53.
 * - Nothing is planned outside the range that the directory handed out.
 */

import type { DescMessage, MessageShape } from '@bufbuild/protobuf'
import { fromBinary } from '@bufbuild/protobuf'
import type { TransferPlan } from '../../native.js'
import type { BaseHeaderProto, OpWriteBlockProto } from '../proto/gen/datatransfer_pb.js'
import {
  OpBlockChecksumProtoSchema,
  OpReadBlockProtoSchema,
  OpWriteBlockProtoSchema,
  OpWriteBlockProto_BlockConstructionStage as Stage,
  Status,
} from '../proto/gen/datatransfer_pb.js'
import type { ExtendedBlockProto } from '../proto/gen/hdfs_pb.js'
import { BlockChecksumTypeProto, ChecksumTypeProto } from '../proto/gen/hdfs_pb.js'
import { parseBlock } from './block-id.js'
import type {
  BlockDirectory,
  BlockReference,
  WritableBlock,
  WriteRequest,
  WriteStage,
} from './blocks.js'
import { BlockRefusal } from './blocks.js'
import {
  checksumAnswer,
  readAccepted,
  refused,
  releaseRefused,
  sharedMemoryRefused,
  writeAccepted,
} from './responses.js'

/** Opcodes of the data transfer protocol. */
export const OP = {
  writeBlock: 80,
  readBlock: 81,
  readMetadata: 82,
  replaceBlock: 83,
  copyBlock: 84,
  blockChecksum: 85,
  transferBlock: 86,
  requestShortCircuitFds: 87,
  releaseShortCircuitFds: 88,
  requestShortCircuitShm: 89,
  blockGroupChecksum: 90,
  custom: 127,
} as const

/** Checksums that readers get, and that block checksums are made of. */
export const BYTES_PER_CHECKSUM = 512
const CHECKSUM_TYPE = ChecksumTypeProto.CHECKSUM_CRC32C
const BYTES_PER_CHECKSUM_MAX = 16 * 1024 * 1024

const READ = { readUnknownFields: false }

/** Computes checksums of a file range; the native transfer does. */
export interface RangeChecksums {
  blockChecksum(
    view: number,
    inode: number,
    offset: number,
    length: number,
    checksum: number,
    bytesPerChecksum: number,
  ): Promise<{ md5: Uint8Array; compositeCrc: number; crcCount: number }>
}

/** What the operations work on. */
export interface OperationContext {
  readonly poolId: string
  readonly directory: BlockDirectory
  /** Called when a write was accepted, before its first packet. */
  accepted(id: number, request: WriteRequest): void
  readonly checksums: RangeChecksums
}

/**
 * Plans one operation. Synchronous but for block checksums, which read the block.
 *
 * @param context - Where to ask.
 * @param id - The request's id.
 * @param op - The opcode.
 * @param message - Its protobuf bytes.
 */
export function plan(
  context: OperationContext,
  id: number,
  op: number,
  message: Uint8Array,
): TransferPlan | Promise<TransferPlan> {
  try {
    switch (op) {
      case OP.readBlock:
        return planRead(context, message)
      case OP.writeBlock:
        return planWrite(context, id, message)
      case OP.blockChecksum:
        return planChecksum(context, message).catch((error: unknown) => refusal(op, error))
      case OP.requestShortCircuitFds:
        return respond(
          refused(Status.ERROR_UNSUPPORTED, 'short-circuit reads need a domain socket'),
        )
      case OP.requestShortCircuitShm:
        return respond(sharedMemoryRefused('shared memory needs a domain socket'))
      case OP.releaseShortCircuitFds:
        return respond(releaseRefused('there is no such shared memory slot'))
      default:
        return respond(refused(Status.ERROR_UNSUPPORTED, `operation ${op} is not supported`), true)
    }
  } catch (error) {
    return refusal(op, error)
  }
}

function respond(response: Uint8Array, close = false): TransferPlan {
  return { kind: 'respond', response, close }
}

const OP_NAME: ReadonlyMap<number, string> = new Map([
  [OP.readBlock, 'opReadBlock'],
  [OP.writeBlock, 'opWriteBlock'],
  [OP.blockChecksum, 'opBlockChecksum'],
])

function refusal(op: number, error: unknown): TransferPlan {
  const text = error instanceof Error ? error.message : String(error)
  return respond(refused(Status.ERROR, `${OP_NAME.get(op) ?? 'op'} received exception: ${text}`))
}

function planRead(context: OperationContext, message: Uint8Array): TransferPlan {
  const request = decode(OpReadBlockProtoSchema, message)
  const block = blockOf(context, request.header?.baseHeader)
  const { view, inode, fileOffset, length: blockLength } = context.directory.resolveForRead(block)
  const offset = count('offset', request.offset)
  const wanted = count('length', request.len)
  if (offset > blockLength || wanted > blockLength - offset) {
    throw new BlockRefusal(
      'EINVAL',
      `Offset ${offset} and length ${wanted} don't match block ${blockText(block)} ( blockLen ${blockLength} )`,
    )
  }
  // Whole chunks, as their checksums cover them; the last one ends with the block.
  const start = offset - (offset % BYTES_PER_CHECKSUM)
  const chunksEnd = Math.ceil((offset + wanted) / BYTES_PER_CHECKSUM) * BYTES_PER_CHECKSUM
  const end = Math.min(chunksEnd, blockLength)
  const { sendChecksums } = request
  const type = sendChecksums ? CHECKSUM_TYPE : ChecksumTypeProto.CHECKSUM_NULL
  return {
    kind: 'read',
    response: readAccepted(type, BYTES_PER_CHECKSUM, BigInt(start)),
    view,
    inode,
    offset: fileOffset + start,
    length: end - start,
    blockOffset: start,
    checksum: type,
    bytesPerChecksum: BYTES_PER_CHECKSUM,
    sendChecksums,
  }
}

function planWrite(context: OperationContext, id: number, message: Uint8Array): TransferPlan {
  const proto = decode(OpWriteBlockProtoSchema, message)
  const request = writeRequest(context, proto)
  const { checksum, bytesPerChecksum } = requestedChecksum(proto)
  const block = context.directory.resolveForWrite(request)
  checkReceived(request, block)
  if (request.stage === 'close') {
    // All packets were stored, only the last acknowledgement got lost: nothing more will come.
    const { clientName, latestGenerationStamp } = request
    const bytes = block.position
    const event = { bytes, complete: true, error: null }
    context.directory.progress({
      block: request.block,
      clientName,
      latestGenerationStamp,
      ...event,
    })
    return respond(writeAccepted())
  }
  context.accepted(id, request)
  return {
    kind: 'write',
    response: writeAccepted(),
    view: block.view,
    inode: block.inode,
    fileOffset: block.fileOffset,
    position: block.position,
    limit: block.limit,
    checksum,
    bytesPerChecksum,
    syncOnClose: false,
  }
}

const STAGES: ReadonlyMap<number, WriteStage> = new Map<number, WriteStage>([
  [Stage.PIPELINE_SETUP_CREATE, 'create'],
  [Stage.PIPELINE_SETUP_APPEND, 'append'],
  [Stage.PIPELINE_SETUP_APPEND_RECOVERY, 'appendRecovery'],
  [Stage.PIPELINE_SETUP_STREAMING_RECOVERY, 'streamingRecovery'],
  [Stage.PIPELINE_CLOSE_RECOVERY, 'close'],
])

function writeRequest(context: OperationContext, proto: OpWriteBlockProto): WriteRequest {
  const stage = STAGES.get(proto.stage)
  const clientName = proto.header?.clientName ?? ''
  if (stage === undefined || clientName === '') {
    throw new BlockRefusal('EOPNOTSUPP', 'only clients write blocks, in stages that set them up')
  }
  if (proto.targets.length > 0) {
    throw new BlockRefusal('EOPNOTSUPP', 'this DataNode is the only one: no pipeline behind it')
  }
  return {
    block: blockOf(context, proto.header?.baseHeader),
    stage,
    clientName,
    latestGenerationStamp: proto.latestGenerationStamp,
    bytesReceivedMin: count('minBytesRcvd', proto.minBytesRcvd),
    bytesReceivedMax: count('maxBytesRcvd', proto.maxBytesRcvd),
  }
}

function requestedChecksum(proto: OpWriteBlockProto): {
  checksum: ChecksumTypeProto
  bytesPerChecksum: number
} {
  const { requestedChecksum: requested } = proto
  if (requested === undefined) throw new BlockRefusal('EINVAL', 'requestedChecksum is missing')
  const { type, bytesPerChecksum } = requested
  if (bytesPerChecksum < 1 || bytesPerChecksum > BYTES_PER_CHECKSUM_MAX) {
    throw new BlockRefusal('EINVAL', `bytesPerChecksum ${bytesPerChecksum} is not supported`)
  }
  return { checksum: type, bytesPerChecksum }
}

/** What is stored must be what the client thinks: else its packets would leave a gap or a seam. */
function checkReceived(request: WriteRequest, { position }: WritableBlock): void {
  const { stage, bytesReceivedMin: min, bytesReceivedMax: max } = request
  const isRecovery = stage === 'appendRecovery' || stage === 'streamingRecovery'
  const fits =
    stage === 'create' ||
    (isRecovery ? position >= min && position <= Math.max(min, max) : position === min)
  if (fits) return
  throw new BlockRefusal(
    'ESTALE',
    `Unmatched length replica ${blockText(request.block)}: length ${position}, min ${min}, max ${max}`,
  )
}

async function planChecksum(context: OperationContext, message: Uint8Array): Promise<TransferPlan> {
  const request = decode(OpBlockChecksumProtoSchema, message)
  const block = blockOf(context, request.header)
  const where = context.directory.resolveForRead(block)
  const asked = count('numBytes', request.header?.block?.numBytes ?? 0n)
  const length = Math.min(asked, where.length)
  const kind = request.blockChecksumOptions?.blockChecksumType ?? BlockChecksumTypeProto.MD5CRC
  const { md5, compositeCrc } = await context.checksums.blockChecksum(
    where.view,
    where.inode,
    where.fileOffset,
    length,
    CHECKSUM_TYPE,
    BYTES_PER_CHECKSUM,
  )
  const answer = checksumAnswer({
    bytesPerCrc: BYTES_PER_CHECKSUM,
    crcPerBlock: BigInt(Math.ceil(where.length / BYTES_PER_CHECKSUM)),
    checksum: kind === BlockChecksumTypeProto.COMPOSITE_CRC ? bigEndian(compositeCrc) : md5,
    crcType: CHECKSUM_TYPE,
    kind,
  })
  return respond(answer)
}

function bigEndian(word: number): Uint8Array {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(word)
  return bytes
}

function blockOf(context: OperationContext, header: BaseHeaderProto | undefined): BlockReference {
  if (header?.block === undefined) throw new BlockRefusal('EINVAL', 'the block is missing')
  return blockReference(context.poolId, header.block)
}

/**
 * The block that a message names.
 *
 * @throws BlockRefusal if it is none of this server's.
 */
export function blockReference(poolId: string, proto: ExtendedBlockProto): BlockReference {
  const { blockId, generationStamp } = proto
  const name = parseBlock(blockId, generationStamp)
  const block = { poolId: proto.poolId, blockId, generationStamp }
  if (name === undefined || proto.poolId !== poolId) {
    throw new BlockRefusal('ENOENT', `Replica not found for ${blockText(block)}`)
  }
  return { ...block, name }
}

/** A block as HDFS prints it. */
export function blockText(block: Omit<BlockReference, 'name'>): string {
  return `${block.poolId}:blk_${block.blockId}_${block.generationStamp}`
}

function decode<Schema extends DescMessage>(
  schema: Schema,
  message: Uint8Array,
): MessageShape<Schema> {
  try {
    return fromBinary(schema, message, READ)
  } catch (error) {
    const refusal = new BlockRefusal('EINVAL', `the message is no valid ${schema.name}`)
    refusal.cause = error
    throw refusal
  }
}

function count(what: string, value: bigint): number {
  if (value < 0n || value > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw new BlockRefusal('EINVAL', `${what} ${value} is too large`)
  }
  return Number(value)
}
