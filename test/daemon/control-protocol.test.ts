import { createHash, randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { once } from 'node:events'
import { join } from 'node:path'
import t from 'tap'
import { ControlServer } from '../../lib/daemon/control-server.js'
import { findDaemon } from '../../lib/daemon/open-control.js'
import { RemoteControl } from '../../lib/daemon/remote-control.js'
import { ControlSocket } from '../../lib/daemon/socket.js'
import { errorFor, systemError } from '../../lib/errors.js'
import { MemoryControl } from '../support/memory-control.js'
import { temporaryDirectory } from '../support/paths.js'
import type { Teardown } from '../support/paths.js'

/** A server over a control interface in memory, and a client of it. */
async function connected(
  t: Teardown,
  directory = temporaryDirectory(t),
): Promise<{ memory: MemoryControl; remote: RemoteControl; directory: string }> {
  const memory = new MemoryControl()
  const server = new ControlServer(memory)
  await server.listen(directory)
  const remote = new RemoteControl(new ControlSocket(directory))
  t.teardown(async () => {
    await remote.close()
    await server.close(0)
  })
  return { memory, remote, directory }
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const item of items) all.push(item)
  return all
}

async function* chunks(...parts: Uint8Array[]): AsyncGenerator<Uint8Array, void> {
  for (const part of parts) {
    await Promise.resolve()
    yield part
  }
}

async function bytesOf(remote: RemoteControl, path: string): Promise<Buffer> {
  return Buffer.concat(await collect((await remote.read({ path })).bytes))
}

await t.test('values, lists and void answers arrive as they are', async t => {
  const { memory, remote } = await connected(t)
  memory.files.set('/a', Buffer.from('abc'))
  memory.files.set('/ü "b"\n', Buffer.from(''))
  t.match(await remote.about(), { pid: process.pid, protocol: 1 })
  t.match(await remote.stat({ path: '/a', follow: true }), { path: '/a', size: 3, kind: 'file' })
  t.same(
    (await collect(remote.list({ path: '/' }))).map(entry => entry.path),
    ['/a', '/ü "b"\n'],
  )
  await remote.remove({ path: '/a', recursive: false })
  t.notOk(memory.files.has('/a'))
  t.same(await remote.listVolumes(), [])
})

await t.test('a refusal keeps its code, path and class', async t => {
  const { remote } = await connected(t)
  await t.rejects(remote.stat({ path: '/none', follow: false }), {
    name: 'NotFoundError',
    code: 'ENOENT',
    path: '/none',
    syscall: 'stat',
    message: "ENOENT: no such file or directory, stat '/none'",
  })
  await t.rejects(collect(remote.list({ path: '/none' })), { code: 'ENOENT' })
  await t.rejects(remote.read({ path: '/none' }), { code: 'ENOENT' })
})

await t.test('bytes go both ways unchanged, empty and many', async t => {
  const { memory, remote } = await connected(t)
  const parts = Array.from({ length: 40 }, () => randomBytes(300_000))
  const entry = await remote.write({ path: '/big', mode: 0o640 }, chunks(...parts))
  t.match(entry, { path: '/big', size: 12_000_000, mode: '0640' })
  const digest = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')
  t.equal(digest(await bytesOf(remote, '/big')), digest(Buffer.concat(parts)))
  await remote.write({ path: '/empty', mode: 0o600 }, chunks())
  t.equal(memory.files.get('/empty')?.length, 0)
  t.equal((await bytesOf(remote, '/empty')).length, 0)
})

await t.test(
  'a stream that fails half way is an error with its code, not a short success',
  async t => {
    const { memory, remote } = await connected(t)
    memory.files.set('/bad', randomBytes(3_000_000))
    memory.failure = () => errorFor('ERR_LOCKSTEP_CORRUPT', 'damage found: /bad')
    await t.rejects(bytesOf(remote, '/bad'), { code: 'ERR_LOCKSTEP_CORRUPT', message: /damage/ })
    await t.rejects(collect(remote.diff({ path: '/', from: '', to: '' })), {
      code: 'ERR_LOCKSTEP_CORRUPT',
    })
  },
)

await t.test(
  'a source that fails leaves nothing and is the error that the caller sees',
  async t => {
    const { memory, remote } = await connected(t)
    async function* failing(): AsyncGenerator<Uint8Array, void> {
      yield randomBytes(100_000)
      await Promise.resolve()
      throw systemError('EACCES', { syscall: 'read', path: 'local' })
    }
    await t.rejects(remote.write({ path: '/half', mode: 0o600 }, failing()), { code: 'EACCES' })
    await t.rejects(remote.stat({ path: '/half', follow: false }), { code: 'ENOENT' })
    t.notOk(memory.files.has('/half'))
  },
)

await t.test('a write that is refused at once ends early, with the reason', async t => {
  const { memory, remote } = await connected(t)
  memory.failure = () => systemError('ENOSPC', { syscall: 'write', path: '/full' })
  let sent = 0
  async function* endless(): AsyncGenerator<Uint8Array, void> {
    const part = Buffer.alloc(1024 * 1024)
    for (; sent < 2000; sent += 1) {
      await Promise.resolve()
      yield part
    }
  }
  await t.rejects(remote.write({ path: '/full', mode: 0o600 }, endless()), { code: 'ENOSPC' })
  t.ok(sent < 1000, `stopped after ${sent} MiB`)
  t.match(await remote.about(), { protocol: 1 }, 'the daemon goes on')
})

await t.test('bad requests are answered, and harm nothing', async t => {
  const { remote, directory } = await connected(t)
  const post = (path: string, body: string): Promise<string> =>
    raw(
      directory,
      `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    )
  t.match(await post('/v1/stat', 'no json'), /EINVAL: a request must be a JSON object/)
  t.match(await post('/v1/stat', '[]'), /EINVAL/)
  t.match(await post('/v1/stat', '{"path":"relative","follow":true}'), /"path\\" must be/)
  t.match(await post('/v1/stat', '{"path":"/a"}'), /"follow\\" must be/)
  t.match(await post('/v1/stat', `{"path":"/${'a'.repeat(5000)}","follow":true}`), /ENAMETOOLONG/)
  t.match(await post('/v1/list', '{"path":"/\\u0000"}'), /EINVAL/)
  t.match(await post('/v1/none', '{}'), /EOPNOTSUPP/)
  t.match(await post('/v1/constructor', '{}'), /EOPNOTSUPP/)
  t.match(await post('/v1/stat', `{"path":"${'x'.repeat(70_000)}"}`), /E2BIG/)
  t.match(
    await raw(directory, 'PUT /v1/write?path=/a&mode=9999 HTTP/1.1\r\nHost: x\r\n\r\n'),
    /mode/,
  )
  await raw(directory, randomBytes(4096).toString('latin1'))
  await raw(directory, `GET /${'a'.repeat(40_000)} HTTP/1.1\r\n\r\n`)
  t.match(await remote.about(), { protocol: 1 }, 'the daemon goes on')
})

await t.test('only the owner may connect to the socket', async t => {
  const { directory } = await connected(t)
  t.equal(statSync(join(directory, 'control.sock')).mode & 0o777, 0o600)
})

await t.test('a store with a long path is reached all the same', async t => {
  const directory = join(temporaryDirectory(t), 'd'.repeat(100), 'e'.repeat(100))
  mkdirSync(directory, { recursive: true })
  const { remote } = await connected(t, directory)
  t.match(await remote.about(), { pid: process.pid })
})

await t.test('a socket that nobody answers on counts as none', async t => {
  const directory = temporaryDirectory(t)
  const path = join(directory, 'control.sock')
  t.equal(await findDaemon(directory), undefined, 'none')
  writeFileSync(path, 'a file')
  t.equal(await findDaemon(directory), undefined, 'a file')
  t.equal(readFileSync(path, 'utf8'), 'a file', 'it is left alone')
  const other = createServer(socket => socket.end('no http\r\n\r\n'))
  const odd = temporaryDirectory(t)
  other.listen(join(odd, 'control.sock'))
  await once(other, 'listening')
  t.teardown(() => other.close())
  await t.rejects(findDaemon(odd), Error, 'what is no daemon is told')
})

/** Sends bytes to the socket; resolves to what comes back until the other side is silent. */
function raw(directory: string, bytes: string): Promise<string> {
  return new Promise(resolve => {
    const socket = connect(join(directory, 'control.sock'))
    let text = ''
    const done = (): void => {
      socket.destroy()
      resolve(text)
    }
    socket.on('data', chunk => {
      text += chunk.toString('latin1')
      if (text.includes('}}')) done()
    })
    socket.on('error', done)
    socket.on('close', done)
    socket.setTimeout(2000, done)
    socket.write(bytes, 'latin1')
  })
}
