/**
 * The DataNode over a real store: a client of few lines writes, reads and sums blocks.
 */

import type { DescMessage, MessageInitShape, MessageShape } from '@bufbuild/protobuf'
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { connect } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { blockIdOf, generationStampOf } from '../../../lib/hdfs/datanode/block-id.js'
import type {
  BlockDirectory,
  BlockReference,
  WriteProgress,
} from '../../../lib/hdfs/datanode/blocks.js'
import { BlockRefusal } from '../../../lib/hdfs/datanode/blocks.js'
import { DataNode } from '../../../lib/hdfs/datanode/datanode.js'
import { OP } from '../../../lib/hdfs/datanode/operations.js'
import {
  BlockOpResponseProtoSchema,
  OpBlockChecksumProtoSchema,
  OpReadBlockProtoSchema,
  OpWriteBlockProtoSchema,
  OpWriteBlockProto_BlockConstructionStage as Stage,
  PacketHeaderProtoSchema,
  PipelineAckProtoSchema,
  Status,
} from '../../../lib/hdfs/proto/gen/datatransfer_pb.js'
import { ChecksumTypeProto } from '../../../lib/hdfs/proto/gen/hdfs_pb.js'
import type { NativeView } from '../../../lib/native.js'
import { ATTRIBUTE, ATTRIBUTE_COUNT, NativeStore } from '../../../lib/native.js'

const POOL = 'BP-1-127.0.0.1-1700000000000'
const BLOCK_BYTES = 1024 * 1024

/** Every file of the store is open to every client. */
class OpenDirectory implements BlockDirectory {
  readonly events: WriteProgress[] = []
  readonly #view: NativeView

  constructor(view: NativeView) {
    this.#view = view
  }

  #stored({ name }: BlockReference): { fileOffset: number; length: number } {
    const attributes = new Float64Array(ATTRIBUTE_COUNT)
    this.#view.statNode(name.view, name.inode, attributes)
    const fileOffset = name.index * BLOCK_BYTES
    const left = (attributes[ATTRIBUTE.size] ?? 0) - fileOffset
    return { fileOffset, length: Math.max(0, Math.min(BLOCK_BYTES, left)) }
  }

  resolveForRead(block: BlockReference) {
    const { view, inode } = block.name
    return { view, inode, ...this.#stored(block) }
  }

  resolveForWrite({ block }: { block: BlockReference }) {
    const { view, inode, generation } = block.name
    if (generation !== 1001) throw new BlockRefusal('ESTALE', 'an old generation')
    const { fileOffset, length } = this.#stored(block)
    return { view, inode, fileOffset, position: length, limit: BLOCK_BYTES }
  }

  progress(event: WriteProgress): void {
    this.events.push(event)
  }
}

/** Reads exact amounts from a socket. */
class Reader {
  readonly socket: Socket
  #bytes = Buffer.alloc(0)
  #hasEnded = false
  #wake: () => void = () => undefined

  constructor(socket: Socket) {
    this.socket = socket
    socket.on('data', (chunk: Buffer) => {
      this.#bytes = Buffer.concat([this.#bytes, chunk])
      this.#wake()
    })
    socket.on('close', () => {
      this.#hasEnded = true
      this.#wake()
    })
    // A reset is an end, too: `close` follows.
    socket.on('error', () => undefined)
  }

  async take(count: number): Promise<Buffer> {
    while (this.#bytes.length < count) {
      if (this.#hasEnded) throw new Error('the connection ended')
      await new Promise<void>(resolve => {
        this.#wake = resolve
      })
    }
    const taken = this.#bytes.subarray(0, count)
    this.#bytes = this.#bytes.subarray(count)
    return taken
  }

  async message<Schema extends DescMessage>(schema: Schema): Promise<MessageShape<Schema>> {
    let length = 0
    for (let shift = 0; ; shift += 7) {
      const byte = (await this.take(1)).readUInt8()
      length |= (byte & 0x7f) << shift
      if (byte < 0x80) break
    }
    return fromBinary(schema, await this.take(length))
  }
}

function crc32c(data: Uint8Array): number {
  let crc = ~0
  for (const byte of data) {
    crc ^= byte
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (0x82f63b78 & -(crc & 1))
  }
  return ~crc >>> 0
}

function words(data: Buffer): Buffer {
  const sums = Buffer.alloc(Math.ceil(data.length / 512) * 4)
  for (let at = 0; at < data.length; at += 512) {
    sums.writeUInt32BE(crc32c(data.subarray(at, at + 512)), (at / 512) * 4)
  }
  return sums
}

class Client {
  readonly reader: Reader

  private constructor(socket: Socket) {
    this.reader = new Reader(socket)
  }

  static async connect(port: number): Promise<Client> {
    const socket = connect(port, '127.0.0.1')
    await once(socket, 'connect')
    return new Client(socket)
  }

  send<Schema extends DescMessage>(op: number, schema: Schema, init: MessageInitShape<Schema>) {
    const message = toBinary(schema, create(schema, init))
    const length = message.length
    const prefix = length < 128 ? [length] : [(length & 0x7f) | 0x80, length >> 7]
    this.reader.socket.write(Buffer.from([0, 28, op, ...prefix, ...message]))
  }

  packet(offset: number, seqno: number, data: Buffer, isLast = false): void {
    const header = toBinary(
      PacketHeaderProtoSchema,
      create(PacketHeaderProtoSchema, {
        offsetInBlock: BigInt(offset),
        seqno: BigInt(seqno),
        lastPacketInBlock: isLast,
        dataLen: data.length,
      }),
    )
    const sums = words(data)
    const lengths = Buffer.alloc(6)
    lengths.writeInt32BE(4 + sums.length + data.length)
    lengths.writeInt16BE(header.length, 4)
    this.reader.socket.write(Buffer.concat([lengths, header, sums, data]))
  }

  startWrite(block: ReturnType<typeof blockOf>): void {
    this.send(OP.writeBlock, OpWriteBlockProtoSchema, {
      header: { baseHeader: { block }, clientName: 'DFSClient_1' },
      stage: Stage.PIPELINE_SETUP_CREATE,
      pipelineSize: 1,
      minBytesRcvd: 0n,
      maxBytesRcvd: 0n,
      latestGenerationStamp: block.generationStamp,
      requestedChecksum: { type: ChecksumTypeProto.CHECKSUM_CRC32C, bytesPerChecksum: 512 },
    })
  }

  response() {
    return this.reader.message(BlockOpResponseProtoSchema)
  }

  async write(block: ReturnType<typeof blockOf>, data: Buffer) {
    this.startWrite(block)
    const response = await this.response()
    if (response.status !== Status.SUCCESS) return response
    let seqno = 0
    for (let at = 0; at < data.length; at += 64_512) {
      this.packet(at, seqno++, data.subarray(at, at + 64_512))
    }
    this.packet(data.length, seqno, Buffer.alloc(0), true)
    for (let expected = 0; expected <= seqno; expected++) {
      const ack = await this.reader.message(PipelineAckProtoSchema)
      if (ack.seqno !== BigInt(expected) || ack.reply[0] !== Status.SUCCESS) {
        throw new Error(`acknowledgement ${ack.seqno}: ${ack.reply.join()}`)
      }
    }
    return response
  }

  async read(block: ReturnType<typeof blockOf>, offset: number, length: number): Promise<Buffer> {
    this.send(OP.readBlock, OpReadBlockProtoSchema, {
      header: { baseHeader: { block }, clientName: 'DFSClient_1' },
      offset: BigInt(offset),
      len: BigInt(length),
    })
    const response = await this.response()
    if (response.status !== Status.SUCCESS) throw new Error(response.message)
    const start = Number(response.readOpChecksumInfo?.chunkOffset ?? -1n)
    const data: Buffer[] = []
    for (;;) {
      const lengths = await this.reader.take(6)
      const header = fromBinary(
        PacketHeaderProtoSchema,
        await this.reader.take(lengths.readInt16BE(4)),
      )
      const sums = await this.reader.take(lengths.readInt32BE() - 4 - header.dataLen)
      const bytes = await this.reader.take(header.dataLen)
      if (!sums.equals(words(bytes))) throw new Error('checksums differ')
      if (header.lastPacketInBlock) break
      data.push(Buffer.from(bytes))
    }
    this.reader.socket.write(Buffer.from([2, 8, Status.CHECKSUM_OK]))
    return Buffer.concat(data).subarray(offset - start, offset - start + length)
  }
}

function blockOf(inode: number, index: number, generation = 1001) {
  const generationStamp = generationStampOf(0, generation)
  return { poolId: POOL, blockId: blockIdOf(inode, index), generationStamp, numBytes: 2n ** 40n }
}

void t.test('blocks go in and come out through the data port', async t => {
  const dir = join(t.testdir({}), 'store')
  NativeStore.create(dir)
  const store = await NativeStore.open(dir)
  const view = store.view({ uid: 0, gid: 0, groups: [], umask: 0o022 })
  const file = view.open('/f', 2 | 16, 0o644)
  const { inode } = file
  file.close()
  const directory = new OpenDirectory(view)
  const errors: unknown[] = []
  const node = await DataNode.start({
    store,
    directory,
    poolId: POOL,
    host: '127.0.0.1',
    dataPort: 0,
    ipcPort: 0,
    softwareVersion: '3.4.3',
    onError: error => errors.push(error),
  })
  const client = await Client.connect(node.dataPort)
  const data = randomBytes(BLOCK_BYTES + 300_001)

  await t.test('two blocks make a file, and its bytes are the view’s', async t => {
    await client.write(blockOf(inode, 0), data.subarray(0, BLOCK_BYTES))
    await client.write(blockOf(inode, 1), data.subarray(BLOCK_BYTES))
    t.match(directory.events, [
      { bytes: BLOCK_BYTES, complete: true, error: null, clientName: 'DFSClient_1' },
      { bytes: 300_001, complete: true, error: null, block: { name: { index: 1 } } },
    ])
    t.equal(node.writeCount, 0)
    const whole = Buffer.alloc(data.length)
    const reading = view.open('/f', 1, 0)
    t.equal(await reading.read(whole, 0), data.length)
    reading.close()
    t.ok(whole.equals(data))
  })

  await t.test('any range is read back over the same connection', async t => {
    for (const [index, offset, length] of [
      [0, 0, BLOCK_BYTES],
      [0, 700, 100],
      [1, 299_900, 101],
      [1, 0, 300_001],
    ] as const) {
      const start = index * BLOCK_BYTES + offset
      const expected = data.subarray(start, start + length)
      t.ok((await client.read(blockOf(inode, index), offset, length)).equals(expected))
    }
    await t.rejects(client.read(blockOf(inode, 1), 0, 300_002), /don't match block/)
    await t.rejects(client.read(blockOf(inode + 1, 0), 0, 1), /opReadBlock received exception/)
  })

  await t.test('a block’s checksum is the MD5 of its words', async t => {
    const block = blockOf(inode, 1)
    client.send(OP.blockChecksum, OpBlockChecksumProtoSchema, { header: { block } })
    const { checksumResponse } = await client.response()
    const expected = createHash('md5')
      .update(words(data.subarray(BLOCK_BYTES)))
      .digest()
    t.ok(expected.equals(checksumResponse?.blockChecksum ?? Buffer.alloc(0)))
    t.equal(checksumResponse?.crcPerBlock, BigInt(Math.ceil(300_001 / 512)))
  })

  await t.test('a refused write leaves the connection usable', async t => {
    const response = await client.write(blockOf(inode, 0, 1000), data)
    t.match(response, { status: Status.ERROR, message: /an old generation/ })
    t.ok((await client.read(blockOf(inode, 0), 0, 10)).equals(data.subarray(0, 10)))
  })

  await t.test('a client that dies in the middle is told of, and garbage harms nobody', async t => {
    const garbage = await Client.connect(node.dataPort)
    garbage.reader.socket.write('GET / HTTP/1.1\r\n\r\n')
    await t.rejects(garbage.reader.take(1), /ended/)
    const made = view.open('/g', 2 | 16, 0o644)
    made.close()
    const dying = await Client.connect(node.dataPort)
    dying.startWrite(blockOf(made.inode, 0))
    await dying.response()
    t.equal(node.writeCount, 1)
    dying.packet(0, 0, data.subarray(0, 1000))
    await dying.reader.message(PipelineAckProtoSchema)
    dying.reader.socket.destroy()
    while (node.writeCount > 0) await new Promise(resolve => setTimeout(resolve, 10))
    t.match(directory.events.at(-1), { bytes: 1000, complete: false, error: 'ECONNRESET' })
    t.ok((await client.read(blockOf(made.inode, 0), 0, 1000)).equals(data.subarray(0, 1000)))
  })

  await node.close()
  await t.rejects(client.reader.take(1), /ended/)
  await store.close()
  t.strictSame(errors, [])
})
