/** One suite for both ways to a store: opened in this process, and over a daemon's socket. */
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { ControlServer } from '../../lib/daemon/control-server.js'
import type { Control } from '../../lib/daemon/control.js'
import { LocalControl } from '../../lib/daemon/local-control.js'
import { openControl } from '../../lib/daemon/open-control.js'
import { systemError } from '../../lib/errors.js'
import { NativeStore } from '../../lib/native.js'
import { temporaryDirectory } from '../support/paths.js'
import type { Teardown } from '../support/paths.js'

async function local(t: Teardown): Promise<Control> {
  const store = join(temporaryDirectory(t), 'store')
  NativeStore.create(store)
  const control = await openControl(store)
  t.teardown(() => control.close())
  return control
}

async function remote(t: Teardown): Promise<Control> {
  const store = join(temporaryDirectory(t), 'store')
  NativeStore.create(store)
  const native = await NativeStore.open(store)
  const server = new ControlServer(new LocalControl(native, store, false))
  await server.listen(store)
  const control = await openControl(store)
  t.teardown(async () => {
    await control.close()
    await server.close(0)
    await native.close()
  })
  return control
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const item of items) all.push(item)
  return all
}

async function* bytes(...parts: (string | Uint8Array)[]): AsyncGenerator<Uint8Array, void> {
  for (const part of parts) {
    await Promise.resolve()
    yield Buffer.from(part)
  }
}

async function text(control: Control, path: string): Promise<string> {
  return Buffer.concat(await collect((await control.read({ path })).bytes)).toString()
}

for (const [name, open] of [['local', local] as const, ['remote', remote] as const]) {
  await t.test(`${name}: files are written whole, replaced and read`, async t => {
    await files(t, await open(t))
  })
  await t.test(`${name}: what fails leaves nothing behind`, async t => {
    await failures(t, await open(t))
  })
  await t.test(`${name}: directories are made, listed and removed`, async t => {
    await directories(t, await open(t))
  })
  await t.test(`${name}: snapshots, clones, volumes and differences`, async t => {
    await snapshots(t, await open(t))
  })
}

async function files(t: Test, control: Control): Promise<void> {
  const parts = Array.from({ length: 7 }, () => randomBytes(700_001))
  const made = await control.write({ path: '/big', mode: 0o640 }, bytes(...parts))
  t.match(made, { path: '/big', kind: 'file', size: 4_900_007, mode: '0640', user: 'root' })
  t.match(made.mtime, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/)
  const read = await control.read({ path: '/big' })
  t.equal(read.entry.size, 4_900_007)
  t.ok(Buffer.concat(await collect(read.bytes)).equals(Buffer.concat(parts)))
  await control.write({ path: '/big', mode: 0o600 }, bytes('small'))
  t.equal(await text(control, '/big'), 'small')
  await control.write({ path: '/empty', mode: 0o600 }, bytes())
  t.equal(await text(control, '/empty'), '')
  await control.makeLink({ path: '/link', target: 'big' })
  await control.write({ path: '/link', mode: 0o600 }, bytes('through the link'))
  t.equal(await text(control, '/big'), 'through the link')
  t.match(await control.stat({ path: '/link', follow: false }), { kind: 'symlink', target: 'big' })
  t.match(await control.stat({ path: '/link', follow: true }), { kind: 'file', size: 16 })
  for await (const chunk of (await control.read({ path: '/big' })).bytes) {
    t.equal(chunk.length, 16, 'a reader may leave early')
    break
  }
  const longest = `/${'n'.repeat(255)}`
  t.match(await control.write({ path: longest, mode: 0o600 }, bytes('x')), { path: longest })
}

async function failures(t: Test, control: Control): Promise<void> {
  async function* failing(): AsyncGenerator<Uint8Array, void> {
    yield randomBytes(2_000_000)
    await Promise.resolve()
    throw systemError('EACCES', { syscall: 'read', path: 'local' })
  }
  await control.write({ path: '/kept', mode: 0o600 }, bytes('kept'))
  for (const path of ['/kept', '/new']) {
    await t.rejects(control.write({ path, mode: 0o600 }, failing()), { code: 'EACCES' })
  }
  t.equal(await text(control, '/kept'), 'kept')
  await t.rejects(control.stat({ path: '/new', follow: false }), { code: 'ENOENT' })
  const write = (path: string): Promise<unknown> => control.write({ path, mode: 0o600 }, bytes('x'))
  await t.rejects(write('/'), { code: 'EISDIR' })
  await t.rejects(write('/none/x'), { code: 'ENOENT' })
  await t.rejects(write('/kept/x'), { code: 'ENOTDIR' })
  await t.rejects(write(`/${'n'.repeat(256)}`), { code: 'ENAMETOOLONG' })
  await t.rejects(control.read({ path: '/' }), { code: 'EISDIR' })
  // Over the socket the daemon notices a moment later that the sender went away.
  for (let i = 0; i < 100 && (await names(control, '/')).length > 1; i += 1) {
    await new Promise(resolve => setTimeout(resolve, 20))
  }
  t.same(await names(control, '/'), ['kept'])
}

async function names(control: Control, path: string): Promise<string[]> {
  return (await collect(control.list({ path }))).map(entry => entry.path.slice(path.length))
}

async function directories(t: Test, control: Control): Promise<void> {
  const make = (path: string, parents: boolean): Promise<unknown> =>
    control.makeDirectory({ path, mode: 0o755, parents })
  await make('/d', false)
  await t.rejects(make('/d', false), { code: 'EEXIST' })
  await t.rejects(make('/x/y', false), { code: 'ENOENT' })
  await make('/d/e/f', true)
  await make('/d/e/f', true)
  const wanted: string[] = []
  for (let i = 0; i < 2500; i += 1) {
    wanted.push(`n${String(i).padStart(4, '0')}`)
    await control.makeLink({ path: `/d/e/n${String(i).padStart(4, '0')}`, target: 'x' })
  }
  t.same(await names(control, '/d/e/'), ['f', ...wanted], 'over several parts')
  const link = await collect(control.list({ path: '/d/e/n0000' }))
  t.match(link, [{ path: '/d/e/n0000', kind: 'symlink', target: 'x' }], 'a link to nothing')
  await t.rejects(control.remove({ path: '/d', recursive: false }), { code: 'EISDIR' })
  await control.remove({ path: '/d/e/n0000', recursive: false })
  await control.remove({ path: '/d', recursive: true })
  await t.rejects(control.remove({ path: '/d', recursive: true }), { code: 'ENOENT' })
  t.same(await names(control, '/'), [])
}

async function snapshots(t: Test, control: Control): Promise<void> {
  await control.makeDirectory({ path: '/data', mode: 0o755, parents: false })
  await control.write({ path: '/data/a', mode: 0o600 }, bytes('one'))
  const taken = await control.createSnapshot({ path: '/data', name: 's1' })
  t.match(taken, { name: 's1', directory: '/data', path: '/data/.snapshot/s1' })
  for (const name of ['', '.', '..', 'a/b', 'n'.repeat(256)]) {
    await t.rejects(control.createSnapshot({ path: '/data', name }), { code: 'EINVAL' }, name)
  }
  await t.rejects(control.createSnapshot({ path: '/data', name: 's1' }), { code: 'EEXIST' })
  await control.makeDirectory({ path: '/data/b', mode: 0o755, parents: false })
  t.equal(await text(control, '/data/.snapshot/s1/a'), 'one')
  t.match(await collect(control.diff({ path: '/data', from: 's1', to: '' })), [
    { kind: 'created', fileKind: 'directory', path: 'b', target: null },
    { kind: 'modified', fileKind: 'directory' },
  ])
  await t.rejects(collect(control.diff({ path: '/data', from: 'no', to: '' })), { code: 'ENOENT' })
  await t.rejects(control.remove({ path: '/data', recursive: true }), {
    code: 'ENOTEMPTY',
    message: /snapshots/,
  })
  const clone = await control.createClone({ path: '/data', snapshot: 's1', newPath: '/clone' })
  t.match(clone, { path: '/clone', origin: Number })
  await control.write({ path: '/clone/a', mode: 0o600 }, bytes('two'))
  t.equal(await text(control, '/data/a'), 'one')
  await control.createVolume({ path: '/volume' })
  t.same((await control.listVolumes()).map(volume => volume.path).sort(), [
    '/',
    '/clone',
    '/volume',
  ])
  await control.deleteVolume({ path: '/volume' })
  await control.renameSnapshot({ path: '/data', name: 's1', to: 's2' })
  t.same(
    (await control.listSnapshots({ path: '/data' })).map(snapshot => snapshot.name),
    ['s2'],
  )
  const space = await control.space({ path: '/data' })
  t.match(space, { path: '/data', content: { length: 3, files: 1, directories: 2 } })
  await control.deleteVolume({ path: '/clone' })
  await control.deleteSnapshot({ path: '/data', name: 's2' })
  t.same(await control.listSnapshots({ path: '/data' }), [])
  await control.sync()
}
