import { createHash, randomBytes } from 'node:crypto'
import t from 'tap'
import { ATTRIBUTE, ATTRIBUTE_COUNT } from '../../lib/native.js'
import type { NativeFile } from '../../lib/native.js'
import { WRITE_BYTES, writeBody } from '../../lib/webhdfs/body-writer.js'
import { fileChecksum } from '../../lib/webhdfs/operations/data.js'

/** Records writes; each takes a moment, so that the two buffers really alternate. */
class RecordingFile {
  readonly writes: { position: number; bytes: Buffer }[] = []
  failAt = Infinity

  async write(bytes: Uint8Array, position: number): Promise<number> {
    await new Promise(resolve => setImmediate(resolve))
    return this.writeSync(bytes, position)
  }

  writeSync(bytes: Uint8Array, position: number): number {
    if (this.writes.length >= this.failAt)
      throw Object.assign(new Error('full'), { code: 'ENOSPC' })
    this.writes.push({ position, bytes: Buffer.from(bytes) })
    return position + bytes.length
  }
}

async function* pieces(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let offset = 0; offset < bytes.length; offset += size) {
    yield await Promise.resolve(bytes.subarray(offset, offset + size))
  }
}

void t.test('a body is gathered into writes that end on whole mebibytes', async t => {
  const bytes = randomBytes(3 * WRITE_BYTES + 12345)
  for (const start of [0, 1, WRITE_BYTES - 1, 5 * WRITE_BYTES + 77]) {
    for (const size of [1000, 65536, 2 * WRITE_BYTES + 1]) {
      const file = new RecordingFile()
      const count = await writeBody(pieces(bytes, size), file as unknown as NativeFile, start)
      t.equal(count, bytes.length)
      t.ok(Buffer.concat(file.writes.map(write => write.bytes)).equals(bytes))
      let expected = start
      for (const [index, write] of file.writes.entries()) {
        t.equal(write.position, expected)
        expected += write.bytes.length
        if (index < file.writes.length - 1) t.equal(expected % WRITE_BYTES, 0)
      }
    }
  }
})

void t.test('an empty body writes nothing', async t => {
  const file = new RecordingFile()
  t.equal(await writeBody(pieces(Buffer.alloc(0), 1), file as unknown as NativeFile, 9), 0)
  t.equal(file.writes.length, 0)
})

void t.test('a body that breaks off leaves what arrived', async t => {
  const bytes = randomBytes(WRITE_BYTES + 500)
  async function* broken(): AsyncGenerator<Buffer> {
    yield* pieces(bytes, 4096)
    throw new Error('aborted')
  }
  const file = new RecordingFile()
  await t.rejects(writeBody(broken(), file as unknown as NativeFile, 0), { message: 'aborted' })
  t.ok(Buffer.concat(file.writes.map(write => write.bytes)).equals(bytes))
})

void t.test('a write that fails ends the upload with its error', async t => {
  const file = new RecordingFile()
  file.failAt = 1
  const body = pieces(randomBytes(8 * WRITE_BYTES), 65536)
  await t.rejects(writeBody(body, file as unknown as NativeFile, 0), { code: 'ENOSPC' })
  t.equal(file.writes.length, 1)
})

function record(size: number): Float64Array {
  const fields = new Float64Array(ATTRIBUTE_COUNT)
  fields[ATTRIBUTE.size] = size
  return fields
}

const md5OfRange = {
  blockChecksum: async (_view: number, _inode: number, offset: number, length: number) =>
    Promise.resolve({
      md5: createHash('md5')
        .update(`${String(offset)}+${String(length)}`)
        .digest(),
      compositeCrc: 0,
      crcCount: Math.ceil(length / 512),
    }),
}

void t.test('the checksum of an empty file is the one HDFS has always given', async t => {
  const sum = await fileChecksum(md5OfRange, record(0), 1024)
  t.equal(sum.algorithm, 'MD5-of-0MD5-of-0CRC32')
  t.equal(sum.bytes, '000000000000000000000000' + '70bc8f4b72a86921468bf8e8441dce51')
})

void t.test('the outer checksum runs over a buffer that doubles from 32 bytes', async t => {
  for (const [count, buffer] of [
    [1, 32],
    [2, 32],
    [3, 64],
    [5, 128],
    [8, 128],
  ] as const) {
    const sum = await fileChecksum(md5OfRange, record(1024 * count), 1024)
    const inner = Buffer.alloc(buffer)
    for (let index = 0; index < count; index++) {
      createHash('md5')
        .update(`${String(index * 1024)}+1024`)
        .digest()
        .copy(inner, index * 16)
    }
    const outer = createHash('md5').update(inner).digest('hex')
    const perBlock = count > 1 ? 2 : 0
    t.equal(sum.algorithm, `MD5-of-${String(perBlock)}MD5-of-512CRC32C`)
    t.equal(sum.bytes, `00000200000000000000000${String(perBlock)}${outer}`)
  }
})
