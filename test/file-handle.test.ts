/** File handles and streams, judged by those of `node:fs/promises`. */
import * as fc from 'fast-check'
import { constants } from 'node:fs'
import type * as fs from 'node:fs'
import * as promises from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { test } from 'tap'
import { Store } from '../lib/index.js'
import type { FileSystem } from '../lib/index.js'
import { temporaryDirectory } from './support/paths.js'
import type { Teardown } from './support/paths.js'

const SEED = Number(process.env['LOCKSTEP_SEED'] ?? Date.now() & 0x7fff_ffff)

async function openFs(t: Teardown): Promise<{ fs: FileSystem; directory: string }> {
  const directory = temporaryDirectory(t)
  const store = await Store.open(join(directory, 'store'), { create: true })
  t.teardown(() => store.close())
  return { fs: store.fs, directory }
}

type Step = (handle: promises.FileHandle) => Promise<unknown>

const size = fc.oneof(fc.nat(40), fc.nat(3000), fc.nat(1_200_000))
const place = fc.oneof(fc.constant(null), fc.nat(5000), fc.nat(2_500_000))

const step: fc.Arbitrary<[string, Step]> = fc.oneof(
  fc.tuple(size, place).map(([length, at]): [string, Step] => [
    `read ${String(length)} at ${String(at)}`,
    async handle => {
      const { bytesRead, buffer } = await handle.read(Buffer.alloc(length), 0, length, at)
      return buffer.subarray(0, bytesRead).toString('latin1')
    },
  ]),
  fc
    .tuple(size, place, fc.nat(255))
    .map(([length, at, byte]): [string, Step] => [
      `write ${String(length)} at ${String(at)}`,
      async handle => (await handle.write(Buffer.alloc(length, byte), 0, length, at)).bytesWritten,
    ]),
  fc
    .nat(3_000_000)
    .map((length): [string, Step] => [
      `truncate ${String(length)}`,
      handle => handle.truncate(length),
    ]),
  fc.constant<[string, Step]>(['stat', async handle => (await handle.stat()).size]),
  fc.constant<[string, Step]>(['readFile', handle => handle.readFile('latin1')]),
  fc
    .string({ maxLength: 100 })
    .map((text): [string, Step] => ['appendFile', handle => handle.appendFile(text)]),
  fc.constant<[string, Step]>([
    'writev',
    async handle => (await handle.writev([Buffer.from('ab'), new Uint16Array(3)])).bytesWritten,
  ]),
  fc.constant<[string, Step]>([
    'readv',
    async handle => {
      const { bytesRead, buffers } = await handle.readv([Buffer.alloc(3), Buffer.alloc(5)])
      return [bytesRead, buffers]
    },
  ]),
)

void test('random reads and writes answer as those of node', async t => {
  const { fs, directory } = await openFs(t)
  console.log(
    `seed=0x${SEED.toString(16)} replay: LOCKSTEP_SEED=${String(SEED)} npx tap dist/test/file-handle.test.js`,
  )
  let count = 0
  const flags = fc.constantFrom('w+', 'a+', 'r', 'w', 'wx+', 'r+')
  const property = fc.asyncProperty(
    flags,
    fc.array(step, { maxLength: 20 }),
    async (flag, steps) => {
      count += 1
      const path = `/file-${String(count)}`
      const sides = [promises, fs].map(async (api, index) => {
        const full = index === 0 ? directory + path : path
        if (flag.startsWith('r')) await api.writeFile(full, 'some contents')
        const handle = await api.open(full, flag)
        const answers: unknown[] = []
        for (const [name, run] of steps) {
          const answer = await run(handle).catch(
            (error: unknown) => (error as { code?: string }).code,
          )
          answers.push([name, answer])
        }
        await handle.close()
        return JSON.stringify([answers, await api.readFile(full, 'latin1')])
      })
      const [expected, found] = await Promise.all(sides)
      if (expected !== found) throw new Error(`${flag}: ${steps.map(([name]) => name).join(', ')}`)
    },
  )
  await fc.assert(property, { seed: SEED, numRuns: 40 })
  t.pass(`${String(count)} files`)
})

void test('a closed handle answers EBADF and closes again quietly', async t => {
  const { fs } = await openFs(t)
  const handle = await fs.open('/file', 'w')
  t.ok(handle.fd >= 0x4000_0000)
  const writing = handle.write('last words')
  await handle.close()
  t.equal((await writing).bytesWritten, 10)
  t.equal(handle.fd, -1)
  await handle.close()
  await t.rejects(handle.write('x'), { code: 'EBADF', syscall: 'write' })
  await t.rejects(handle.stat(), { code: 'EBADF' })
  t.equal(await fs.readFile('/file', 'utf8'), 'last words')
})

void test('a file stays while it is open', async t => {
  const { fs } = await openFs(t)
  await using handle = await fs.open('/file', 'w+')
  await handle.write(Buffer.alloc(100_000, 7))
  await fs.unlink('/file')
  const { bytesRead } = await handle.read(Buffer.alloc(100_000), 0, 100_000, 0)
  t.equal(bytesRead, 100_000)
  t.equal((await handle.stat()).nlink, 0)
  await handle.chmod(0o600)
  t.equal((await handle.stat()).mode & 0o777, 0o600)
})

void test('a directory can be opened, looked at and made durable', async t => {
  const { fs } = await openFs(t)
  await fs.mkdir('/directory')
  await using handle = await fs.open('/directory', 'r')
  t.ok((await handle.stat()).isDirectory())
  await handle.sync()
  await t.rejects(handle.read(Buffer.alloc(1)), { code: 'EISDIR', syscall: 'read' })
  await t.rejects(fs.open('/directory', 'w'), { code: 'EISDIR', syscall: 'open' })
  const flags = constants.O_RDONLY | constants.O_DIRECTORY
  await fs.writeFile('/file', '')
  await t.rejects(fs.open('/file', flags), { code: 'ENOTDIR' })
  await fs.symlink('file', '/link')
  await t.rejects(fs.open('/link', constants.O_RDONLY | constants.O_NOFOLLOW), { code: 'ELOOP' })
})

void test('streams carry files of any size in pieces', async t => {
  const { fs } = await openFs(t)
  const piece = Buffer.from(Array.from({ length: 65_537 }, (_, index) => index % 251))
  const source = Readable.from(Array.from({ length: 100 }, () => piece))
  await pipeline(source, fs.createWriteStream('/large'))
  t.equal((await fs.stat('/large')).size, piece.byteLength * 100)
  const chunks: Buffer[] = []
  const stream: fs.ReadStream = fs.createReadStream('/large', { start: 10, end: 200_000 })
  for await (const chunk of stream) chunks.push(chunk as Buffer)
  const whole = await fs.readFile('/large')
  t.ok(Buffer.concat(chunks).equals(whole.subarray(10, 200_001)))
  await t.rejects(pipeline(fs.createReadStream('/nowhere'), fs.createWriteStream('/x')), {
    code: 'ENOENT',
    path: '/nowhere',
  })
  const handle = await fs.open('/large')
  let total = 0
  for await (const chunk of handle.readableWebStream()) total += (chunk as Uint8Array).byteLength
  t.equal(total, whole.byteLength)
  await handle.close()
})

void test('lines, iterables, signals and encodings', async t => {
  const { fs } = await openFs(t)
  await fs.writeFile('/lines', ['one\n', 'two\n', Buffer.from('three')])
  const handle = await fs.open('/lines')
  const lines: string[] = []
  for await (const line of handle.readLines()) lines.push(line)
  t.same(lines, ['one', 'two', 'three'])
  t.equal(await fs.readFile('/lines', 'base64'), Buffer.from('one\ntwo\nthree').toString('base64'))
  const aborted = AbortSignal.abort()
  const expected = { name: 'AbortError', code: 'ABORT_ERR' }
  await t.rejects(fs.readFile('/lines', { signal: aborted }), expected)
  await t.rejects(fs.writeFile('/lines', 'x', { signal: aborted }), expected)
  t.equal((await fs.stat('/lines')).size, 13)
  await t.rejects(fs.readFile('/lines', 'no-such-encoding' as BufferEncoding), {
    code: 'ERR_INVALID_ARG_VALUE',
  })
  const stats = await fs.stat('/lines', { bigint: true })
  t.equal(stats.size, 13n)
  t.equal(stats.mtimeMs, stats.mtimeNs / 1_000_000n)
  t.same(await fs.readdir('/', 'buffer'), [Buffer.from('lines')])
  t.match(await fs.mkdtemp('/tmp-'), /^\/tmp-[A-Za-z0-9]{6}$/)
})

void test('trees are copied with their attributes', async t => {
  const { fs } = await openFs(t)
  await fs.mkdir('/from/sub', { recursive: true })
  await fs.writeFile('/from/sub/file', 'x'.repeat(5000), { mode: 0o640 })
  await fs.symlink('file', '/from/sub/link')
  await t.rejects(fs.cp('/from', '/to'), { code: 'ERR_FS_EISDIR' })
  await t.rejects(fs.cp('/from', '/from/sub/in', { recursive: true }), { code: 'ERR_FS_CP_EINVAL' })
  await fs.cp('/from', '/to', { recursive: true, verbatimSymlinks: true })
  t.equal(await fs.readFile('/to/sub/link', 'utf8'), 'x'.repeat(5000))
  t.equal((await fs.stat('/to/sub/file')).mode & 0o777, 0o640)
  await fs.writeFile('/to/sub/file', 'mine')
  await fs.cp('/from', '/to', { recursive: true, force: false })
  t.equal(await fs.readFile('/to/sub/file', 'utf8'), 'mine')
  const options = { recursive: true, force: false, errorOnExist: true }
  await t.rejects(fs.cp('/from', '/to', options), { code: 'ERR_FS_CP_EEXIST' })
})
