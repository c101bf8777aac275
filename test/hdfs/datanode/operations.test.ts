import type { DescMessage, MessageInitShape } from '@bufbuild/protobuf'
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import fc from 'fast-check'
import { createHash } from 'node:crypto'
import t from 'tap'
import { blockIdOf, generationStampOf } from '../../../lib/hdfs/datanode/block-id.js'
import type {
  ReadableBlock,
  WritableBlock,
  WriteProgress,
  WriteRequest,
} from '../../../lib/hdfs/datanode/blocks.js'
import { BlockRefusal } from '../../../lib/hdfs/datanode/blocks.js'
import type { OperationContext } from '../../../lib/hdfs/datanode/operations.js'
import { OP, plan } from '../../../lib/hdfs/datanode/operations.js'
import {
  BlockOpResponseProtoSchema,
  OpBlockChecksumProtoSchema,
  OpReadBlockProtoSchema,
  OpWriteBlockProtoSchema,
  OpWriteBlockProto_BlockConstructionStage as Stage,
  ReleaseShortCircuitAccessResponseProtoSchema,
  ShortCircuitShmResponseProtoSchema,
  Status,
} from '../../../lib/hdfs/proto/gen/datatransfer_pb.js'
import { BlockChecksumTypeProto, ChecksumTypeProto } from '../../../lib/hdfs/proto/gen/hdfs_pb.js'
import type { TransferPlan } from '../../../lib/native.js'

const POOL = 'BP-1-127.0.0.1-1700000000000'
const BLOCK = {
  poolId: POOL,
  blockId: blockIdOf(20, 1),
  generationStamp: generationStampOf(3, 1001),
}
const MD5 = createHash('md5').update('words').digest()

class Fixture implements OperationContext {
  readonly poolId = POOL
  readonly progress: WriteProgress[] = []
  readonly requests: WriteRequest[] = []
  readonly acceptedIds: number[] = []
  readonly summed: number[][] = []
  readable: ReadableBlock | BlockRefusal = { view: 3, inode: 20, fileOffset: 4096, length: 1300 }
  writable: WritableBlock = { view: 3, inode: 20, fileOffset: 4096, position: 0, limit: 4096 }

  readonly directory = {
    resolveForRead: (): ReadableBlock => {
      if (this.readable instanceof BlockRefusal) throw this.readable
      return this.readable
    },
    resolveForWrite: (request: WriteRequest): WritableBlock => {
      this.requests.push(request)
      return this.writable
    },
    progress: (event: WriteProgress): void => {
      this.progress.push(event)
    },
  }

  readonly checksums = {
    blockChecksum: (...range: number[]) => {
      this.summed.push(range)
      return Promise.resolve({ md5: MD5, compositeCrc: 0x01020304, crcCount: 3 })
    },
  }

  accepted(id: number): void {
    this.acceptedIds.push(id)
  }
}

function bytes<Schema extends DescMessage>(
  schema: Schema,
  init: MessageInitShape<Schema>,
): Uint8Array {
  return toBinary(schema, create(schema, init))
}

function response(answer: TransferPlan | Promise<TransferPlan>) {
  if (answer instanceof Promise) throw new Error('the answer is late')
  return fromBinary(BlockOpResponseProtoSchema, answer.response)
}

function readMessage(offset: bigint, len: bigint, sendChecksums = true, block = BLOCK): Uint8Array {
  const header = { baseHeader: { block }, clientName: 'c' }
  return bytes(OpReadBlockProtoSchema, { header, offset, len, sendChecksums })
}

type WriteInit = Exclude<MessageInitShape<typeof OpWriteBlockProtoSchema>, { $typeName: string }>

function writeMessage(init: WriteInit): Uint8Array {
  return bytes(OpWriteBlockProtoSchema, {
    header: { baseHeader: { block: BLOCK }, clientName: 'DFSClient_1' },
    stage: Stage.PIPELINE_SETUP_CREATE,
    pipelineSize: 1,
    minBytesRcvd: 0n,
    maxBytesRcvd: 0n,
    latestGenerationStamp: BLOCK.generationStamp,
    requestedChecksum: { type: ChecksumTypeProto.CHECKSUM_CRC32C, bytesPerChecksum: 512 },
    ...init,
  })
}

void t.test('a read is widened to whole chunks, but not past the block', t => {
  const fixture = new Fixture()
  const answer = plan(fixture, 1, OP.readBlock, readMessage(700n, 100n))
  t.match(answer, {
    kind: 'read',
    view: 3,
    inode: 20,
    offset: 4096 + 512,
    length: 512,
    blockOffset: 512,
    checksum: 2,
    bytesPerChecksum: 512,
    sendChecksums: true,
  })
  const info = response(answer).readOpChecksumInfo
  t.equal(info?.chunkOffset, 512n)
  t.equal(info?.checksum?.type, ChecksumTypeProto.CHECKSUM_CRC32C)
  t.match(plan(fixture, 1, OP.readBlock, readMessage(1100n, 200n)), {
    offset: 4096 + 1024,
    length: 276,
  })
  t.match(plan(fixture, 1, OP.readBlock, readMessage(1300n, 0n)), { length: 276 })
  t.end()
})

void t.test('a read without checksums says so', t => {
  const answer = plan(new Fixture(), 1, OP.readBlock, readMessage(0n, 1300n, false))
  t.match(answer, { kind: 'read', sendChecksums: false, checksum: 0, length: 1300 })
  const type = response(answer).readOpChecksumInfo?.checksum?.type
  t.equal(type, ChecksumTypeProto.CHECKSUM_NULL)
  t.end()
})

void t.test('a read outside the block, of another pool or of no block is refused in words', t => {
  const fixture = new Fixture()
  const elsewhere = { ...BLOCK, poolId: 'BP-other' }
  const messages = [
    readMessage(0n, 1301n),
    readMessage(1301n, 0n),
    readMessage(2n ** 63n, 1n),
    readMessage(0n, 1n, true, elsewhere),
    readMessage(0n, 1n, true, { ...BLOCK, blockId: 2n ** 63n }),
    new Uint8Array([255, 1, 2]),
    new Uint8Array(0),
  ]
  for (const message of messages) {
    const answer = response(plan(fixture, 1, OP.readBlock, message))
    t.equal(answer.status, Status.ERROR)
    t.match(answer.message, /^opReadBlock received exception: ./)
  }
  fixture.readable = new BlockRefusal('ENOENT', 'Replica not found\nwith a stack')
  const answer = response(plan(fixture, 1, OP.readBlock, readMessage(0n, 1n)))
  t.equal(answer.message, 'opReadBlock received exception: Replica not found')
  t.end()
})

void t.test('a new block is written from its start', t => {
  const fixture = new Fixture()
  const answer = plan(fixture, 7, OP.writeBlock, writeMessage({}))
  t.match(answer, {
    kind: 'write',
    view: 3,
    inode: 20,
    fileOffset: 4096,
    position: 0,
    limit: 4096,
    checksum: 2,
    bytesPerChecksum: 512,
    syncOnClose: false,
  })
  t.equal(response(answer).status, Status.SUCCESS)
  t.strictSame(fixture.acceptedIds, [7])
  t.match(fixture.requests[0], { stage: 'create', clientName: 'DFSClient_1' })
  t.equal(fixture.requests[0]?.block.name.index, 1)
  t.end()
})

void t.test('an append must know the length, a recovery must have it in its range', t => {
  const fixture = new Fixture()
  fixture.writable = { ...fixture.writable, position: 700 }
  const outcome = (stage: number, min: bigint, max: bigint): string => {
    const message = writeMessage({ stage: stage as 0, minBytesRcvd: min, maxBytesRcvd: max })
    const answer = plan(fixture, 1, OP.writeBlock, message)
    return answer instanceof Promise ? 'late' : answer.kind
  }
  t.equal(outcome(Stage.PIPELINE_SETUP_APPEND, 700n, 700n), 'write')
  t.equal(outcome(Stage.PIPELINE_SETUP_APPEND, 512n, 700n), 'respond')
  t.equal(outcome(Stage.PIPELINE_SETUP_STREAMING_RECOVERY, 512n, 1024n), 'write')
  t.equal(outcome(Stage.PIPELINE_SETUP_APPEND_RECOVERY, 700n, 0n), 'write')
  t.equal(outcome(Stage.PIPELINE_SETUP_STREAMING_RECOVERY, 701n, 1024n), 'respond')
  t.equal(outcome(Stage.PIPELINE_SETUP_STREAMING_RECOVERY, 0n, 699n), 'respond')
  t.end()
})

void t.test('the recovery of a close finishes the block without packets', t => {
  const fixture = new Fixture()
  fixture.writable = { ...fixture.writable, position: 700 }
  const stage = Stage.PIPELINE_CLOSE_RECOVERY
  const message = writeMessage({ stage, minBytesRcvd: 700n, maxBytesRcvd: 700n })
  t.match(plan(fixture, 1, OP.writeBlock, message), { kind: 'respond', close: false })
  t.match(fixture.progress, [{ bytes: 700, complete: true, error: null }])
  t.end()
})

void t.test('writes that are no client pipeline of one are refused', t => {
  const id = { ipAddr: '', hostName: '', datanodeUuid: '', xferPort: 0, infoPort: 0, ipcPort: 0 }
  const messages = [
    writeMessage({ stage: Stage.TRANSFER_RBW }),
    writeMessage({ stage: Stage.DATA_STREAMING }),
    writeMessage({ header: { baseHeader: { block: BLOCK }, clientName: '' } }),
    writeMessage({ targets: [{ id }] }),
    writeMessage({ requestedChecksum: { type: 2, bytesPerChecksum: 0 } }),
    writeMessage({ requestedChecksum: { type: 2, bytesPerChecksum: 2 ** 25 } }),
    writeMessage({ minBytesRcvd: 2n ** 60n }),
  ]
  const fixture = new Fixture()
  for (const message of messages) {
    t.equal(response(plan(fixture, 1, OP.writeBlock, message)).status, Status.ERROR)
  }
  t.strictSame(fixture.acceptedIds, [])
  t.end()
})

void t.test('block checksums come as MD5 of the words or as one composite CRC', async t => {
  const fixture = new Fixture()
  const message = (numBytes: bigint, kind?: BlockChecksumTypeProto): Uint8Array =>
    bytes(OpBlockChecksumProtoSchema, {
      header: { block: { ...BLOCK, numBytes } },
      ...(kind === undefined ? {} : { blockChecksumOptions: { blockChecksumType: kind } }),
    })
  const md5 = await plan(fixture, 1, OP.blockChecksum, message(5000n))
  t.match(response(md5).checksumResponse, {
    bytesPerCrc: 512,
    crcPerBlock: 3n,
    crcType: ChecksumTypeProto.CHECKSUM_CRC32C,
  })
  t.strictSame(Buffer.from(response(md5).checksumResponse?.blockChecksum ?? []), MD5)
  const composite = message(600n, BlockChecksumTypeProto.COMPOSITE_CRC)
  const crc = response(await plan(fixture, 1, OP.blockChecksum, composite)).checksumResponse
  t.strictSame([...(crc?.blockChecksum ?? [])], [1, 2, 3, 4])
  t.equal(crc?.blockChecksumOptions?.blockChecksumType, BlockChecksumTypeProto.COMPOSITE_CRC)
  t.strictSame(fixture.summed, [
    [3, 20, 4096, 1300, 2, 512],
    [3, 20, 4096, 600, 2, 512],
  ])
  const bad = await plan(fixture, 1, OP.blockChecksum, new Uint8Array(0))
  t.equal(response(bad).status, Status.ERROR)
})

void t.test('short-circuit reads and operations of DataNodes are refused as clients expect', t => {
  const fixture = new Fixture()
  const none = new Uint8Array(0)
  const fds = plan(fixture, 1, OP.requestShortCircuitFds, none)
  t.equal(response(fds).status, Status.ERROR_UNSUPPORTED)
  t.match(fds, { close: false })
  const memory = plan(fixture, 1, OP.requestShortCircuitShm, none)
  if (memory instanceof Promise) throw new Error('the answer is late')
  const answer = fromBinary(ShortCircuitShmResponseProtoSchema, memory.response)
  t.equal(answer.status, Status.ERROR_UNSUPPORTED)
  const release = plan(fixture, 1, OP.releaseShortCircuitFds, none)
  if (release instanceof Promise) throw new Error('the answer is late')
  const released = fromBinary(ReleaseShortCircuitAccessResponseProtoSchema, release.response)
  t.equal(released.status, Status.ERROR_INVALID)
  for (const op of [OP.copyBlock, OP.replaceBlock, OP.transferBlock, OP.custom, 0, 255]) {
    t.match(plan(fixture, 1, op, none), { kind: 'respond', close: true })
  }
  t.end()
})

void t.test('any bytes make a plan', async t => {
  const op = fc.constantFrom(...Object.values(OP))
  await fc.assert(
    fc.asyncProperty(op, fc.uint8Array({ maxLength: 200 }), async (code, message) => {
      const answer = await plan(new Fixture(), 1, code, message)
      return ['respond', 'read', 'write'].includes(answer.kind)
    }),
  )
  t.pass('none threw')
})
