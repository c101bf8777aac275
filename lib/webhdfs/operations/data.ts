/**
 * Operations that move file bytes: OPEN, CREATE, APPEND, GETFILECHECKSUM.
 *
 * Invariants:
 * - Memory per transfer is two buffers of 1 MiB; a slow client slows the reading, nothing else.
 * - A read that fails after the headers closes the connection: the client never takes a part for
 *   the whole.
 * - CREATE and APPEND are answered when the bytes are durable.
 */
import { createHash } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import * as rules from '../../hdfs-rules.js'
import { JavaException } from '../../java-exceptions.js'
import { ATTRIBUTE, ATTRIBUTE_COUNT, OPEN } from '../../native.js'
import type { NativeFile } from '../../native.js'
import { writeBody } from '../body-writer.js'
import { BUFFER_BYTES, giveBuffer, takeBuffer } from '../buffer-pool.js'
import { EMPTY, json } from '../exchange.js'
import type { Answer, Exchange, OperationTable } from '../exchange.js'
import type { DataNodeFacts } from '../options.js'
import { encodePath } from '../target.js'
import { existing } from './attributes.js'
import { dataNodeOf } from './system.js'

/** Bytes that one checksum of HDFS covers. */
const BYTES_PER_CHECKSUM = 512

/** DataChecksum type of CRC32C. */
const CRC32C = 2

function regularFile(exchange: Exchange): Float64Array {
  const record = existing(exchange)
  if (!rules.isFile(record)) {
    throw new JavaException('FileNotFound', `Path is not a file: ${exchange.path}`)
  }
  return record
}

function checkOpen(exchange: Exchange): void {
  const size = regularFile(exchange)[ATTRIBUTE.size] ?? 0
  exchange.view.access(exchange.path, 4)
  checkOffset(exchange, size)
}

function checkOffset({ parameters, path }: Exchange, size: number): number {
  const offset = parameters.integer('offset', 0) ?? 0
  if (offset > 0 && offset >= size) {
    throw new JavaException(
      'IO',
      `Offset=${String(offset)} out of the range [0, ${String(size)}); OPEN, path=${path}`,
    )
  }
  return offset
}

async function open(exchange: Exchange): Promise<Answer> {
  const { view, path, parameters, response } = exchange
  const file = view.open(path, OPEN.read, 0)
  try {
    const record = new Float64Array(ATTRIBUTE_COUNT)
    file.stat(record)
    const size = record[ATTRIBUTE.size] ?? 0
    const offset = checkOffset(exchange, size)
    const length = Math.min(parameters.integer('length', 0) ?? size, size - offset)
    response.setHeader('Content-Type', 'application/octet-stream')
    response.setHeader('Content-Length', length)
    await sendRange(file, response, offset, length)
    return { kind: 'streamed' }
  } finally {
    file.close()
  }
}

/**
 * Sends a range of a file, reading one piece ahead of the socket. The headers leave with the first
 * piece: a read that fails before it is still answered in words.
 */
async function sendRange(
  file: NativeFile,
  response: ServerResponse,
  offset: number,
  length: number,
): Promise<void> {
  const size = Math.min(BUFFER_BYTES, length)
  const pair: (Buffer | undefined)[] = [undefined, undefined]
  let sent = Promise.resolve()
  for (let done = 0, turn = 0; done < length; turn ^= 1) {
    const buffer = (pair[turn] ??= takeBuffer(size))
    const position = offset + done
    const wanted = Math.min(size, BUFFER_BYTES - (position % BUFFER_BYTES), length - done)
    const count = await file.read(buffer.subarray(0, wanted), position)
    await sent
    // A file that was cut meanwhile cannot fill the Content-Length any more.
    if (count !== wanted) throw new Error(`the file ends at ${String(position + count)}`)
    sent = send(response, buffer.subarray(0, count))
    sent.catch(() => undefined)
    done += count
  }
  await sent
  pair.forEach(giveBuffer)
  response.end()
}

function send(response: ServerResponse, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    const closed = (): void => {
      reject(new Error('the client closed the connection'))
    }
    if (response.destroyed) {
      closed()
      return
    }
    response.once('close', closed)
    response.write(bytes, error => {
      response.off('close', closed)
      if (error) reject(error)
      else resolve()
    })
  })
}

function createOptions({ parameters, options }: Exchange): rules.CreateOptions {
  const flags = (parameters.text('createflag') ?? '').toUpperCase().split(',')
  return {
    overwrite: parameters.boolean('overwrite', false) || flags.includes('OVERWRITE'),
    createParent: parameters.boolean('createparent', true),
    mode: parameters.permission('permission', 0o644),
    replication: parameters.integer('replication', 1, 32767) ?? options.replication,
    blockSize: parameters.integer('blocksize', 1),
  }
}

async function create(exchange: Exchange): Promise<Answer> {
  const { view, path, request, user, users } = exchange
  const options = createOptions(exchange)
  const make = (): NativeFile => rules.createFile(view, path, options)
  const file = users.creating(user, path, make, true)
  try {
    const claim = exchange.options.hdfs?.()?.writers?.claim(file.view, file.inode, path, user.name)
    try {
      expectBody(exchange)
      await writeBody(bodyOf(request), file, 0, announcedBytes(request))
    } finally {
      claim?.release()
    }
  } finally {
    file.close()
  }
  return { kind: 'created', location: `hdfs://${rpcAddress(exchange)}${encodePath(path)}` }
}

function checkAppend(exchange: Exchange): void {
  regularFile(exchange)
  exchange.view.access(exchange.path, 2)
}

async function append(exchange: Exchange): Promise<Answer> {
  const { view, path, request, user } = exchange
  checkAppend(exchange)
  const file = view.open(path, OPEN.write, 0)
  try {
    const claim = exchange.options.hdfs?.()?.writers?.claim(file.view, file.inode, path, user.name)
    try {
      const record = new Float64Array(ATTRIBUTE_COUNT)
      file.stat(record)
      expectBody(exchange)
      const offset = record[ATTRIBUTE.size] ?? 0
      await writeBody(bodyOf(request), file, offset, announcedBytes(request))
    } finally {
      claim?.release()
    }
  } finally {
    file.close()
  }
  return EMPTY
}

/** The body's pieces; a failure while they come leaves the socket open for the answer. */
function bodyOf(request: IncomingMessage): AsyncIterable<Uint8Array> {
  return request.iterator({ destroyOnReturn: false }) as AsyncIterable<Uint8Array>
}

/** The length that the client says its body has. */
function announcedBytes(request: IncomingMessage): number | undefined {
  const length = request.headers['content-length']
  return length === undefined ? undefined : Number(length)
}

/** Lets a client that waits for it send the body, now that the file is open. */
function expectBody({ request, response }: Exchange): void {
  if (request.headers.expect?.toLowerCase() === '100-continue') response.writeContinue()
}

/** `host:port` of the NameNode RPC, or of this server where there is none. */
export function rpcAddress({ options, authority }: Exchange): string {
  return options.hdfs?.()?.rpcAddress ?? authority
}

async function getFileChecksum(exchange: Exchange): Promise<Answer> {
  const record = regularFile(exchange)
  exchange.view.access(exchange.path, 4)
  const dataNode = dataNodeOf(exchange)
  const blockSize = exchange.status.blockSizeOf(record)
  return json({ FileChecksum: await fileChecksum(dataNode, record, blockSize) })
}

interface FileChecksum {
  [key: string]: string | number
  algorithm: string
  bytes: string
  length: number
}

/** The MD5 of the MD5s of the CRCs, as HDFS computes it, padding included. */
export async function fileChecksum(
  dataNode: Pick<DataNodeFacts, 'blockChecksum'>,
  record: Float64Array,
  blockSize: number,
): Promise<FileChecksum> {
  const size = record[ATTRIBUTE.size] ?? 0
  const view = record[ATTRIBUTE.view] ?? 0
  const inode = record[ATTRIBUTE.inode] ?? 0
  const digests: Buffer[] = []
  for (let offset = 0; offset < size; offset += blockSize) {
    const length = Math.min(blockSize, size - offset)
    const { md5 } = await dataNode.blockChecksum(
      view,
      inode,
      offset,
      length,
      CRC32C,
      BYTES_PER_CHECKSUM,
    )
    digests.push(md5)
  }
  const empty = digests.length === 0
  const crcPerBlock = digests.length > 1 ? Math.ceil(blockSize / BYTES_PER_CHECKSUM) : 0
  const bytesPerCrc = empty ? 0 : BYTES_PER_CHECKSUM
  const bytes = Buffer.alloc(28)
  bytes.writeInt32BE(bytesPerCrc, 0)
  bytes.writeBigInt64BE(BigInt(crcPerBlock), 4)
  createHash('md5').update(padded(digests)).digest().copy(bytes, 12)
  const kind = empty ? 'CRC32' : 'CRC32C'
  return {
    algorithm: `MD5-of-${String(crcPerBlock)}MD5-of-${String(bytesPerCrc)}${kind}`,
    bytes: bytes.toString('hex'),
    length: bytes.length,
  }
}

/**
 * The digests in Hadoop's growing buffer, whose unused end is hashed too: 32 bytes, doubled
 * whenever they do not suffice.
 */
function padded(digests: readonly Buffer[]): Buffer {
  let size = 32
  while (size < digests.length * 16) size *= 2
  const buffer = Buffer.alloc(size)
  digests.forEach((digest, index) => digest.copy(buffer, index * 16))
  return buffer
}

/** Operations on file bytes, by method. */
export const DATA: Readonly<Record<'GET' | 'PUT' | 'POST', OperationTable>> = {
  GET: {
    OPEN: { run: open, redirects: checkOpen, needs: { self: 4 } },
    GETFILECHECKSUM: {
      run: getFileChecksum,
      redirects: exchange => {
        regularFile(exchange)
      },
      needs: { self: 4 },
    },
  },
  PUT: {
    CREATE: {
      run: create,
      redirects: exchange => {
        createOptions(exchange)
      },
      changes: true,
      needs: { parent: 2, self: 2 },
    },
  },
  POST: {
    APPEND: { run: append, redirects: checkAppend, changes: true, needs: { self: 2 } },
  },
}
