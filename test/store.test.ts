/** Stores, volumes, snapshots, clones and differences through the library. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { ClosedError, ConflictError, NotFoundError, Store } from '../lib/index.js'
import type { Change, Snapshot } from '../lib/index.js'
import { temporaryDirectory } from './support/paths.js'
import type { Teardown } from './support/paths.js'

async function openStore(t: Teardown): Promise<Store> {
  const directory = join(temporaryDirectory(t), 'store')
  const store = await Store.open(directory, { create: true })
  t.teardown(() => store.close())
  return store
}

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = []
  for await (const item of items) found.push(item)
  return found
}

const line = ({ kind, path, target }: Change) => [kind, path, target].filter(Boolean).join(' ')

void test('a store keeps what was written when it is opened again', async t => {
  const directory = join(temporaryDirectory(t), 'store')
  {
    await using store = await Store.open(directory, { create: true })
    await store.fs.mkdir('/deep/er', { recursive: true })
    await store.fs.writeFile('/deep/er/file', 'kept')
    await store.snapshot('/deep', 'one')
    await store.sync()
  }
  await using store = await Store.open(directory)
  t.equal(await store.fs.readFile('/deep/er/file', 'utf8'), 'kept')
  t.equal(await store.fs.readFile('/deep/.snapshot/one/er/file', 'utf8'), 'kept')
})

void test('opening says what is wrong', async t => {
  const directory = temporaryDirectory(t)
  const missing = join(directory, 'missing')
  await t.rejects(Store.open(missing), { code: 'ERR_LOCKSTEP_NOT_A_STORE', path: missing })
  const other = join(directory, 'other')
  mkdirSync(other)
  writeFileSync(join(other, 'mine'), 'mine')
  await t.rejects(Store.open(other), NotFoundError)
  await t.rejects(Store.open(other, { create: true }), { code: 'ERR_LOCKSTEP_NOT_EMPTY' })
  await t.rejects(Store.create(other), ConflictError)
  await t.rejects(Store.open(missing, { cacheBytes: 1 }), { code: 'ERR_OUT_OF_RANGE' })
})

void test('a store is open once', async t => {
  const store = await openStore(t)
  await t.rejects(Store.open(store.directory), { code: 'ERR_LOCKSTEP_LOCKED' })
  await store.close()
  await store.close()
  const again = await Store.open(store.directory)
  await again.close()
  await t.rejects(store.fs.readFile('/x'), ClosedError)
  await t.rejects(store.sync(), { code: 'ERR_LOCKSTEP_CLOSED' })
})

void test('a snapshot is a point in time and never changes', async t => {
  const store = await openStore(t)
  const { fs } = store
  await fs.writeFile('/small', 'before')
  await fs.writeFile('/large', Buffer.alloc(3_000_000, 1))
  const snapshot = await store.root.snapshot('first')
  await fs.writeFile('/small', 'after')
  await fs.rm('/large')
  t.equal(await snapshot.fs.readFile('/small', 'utf8'), 'before')
  t.ok((await snapshot.fs.readFile('/large')).equals(Buffer.alloc(3_000_000, 1)))
  t.equal(await fs.readFile('/.snapshot/first/small', 'utf8'), 'before')
  await t.rejects(snapshot.fs.writeFile('/small', ''), { code: 'EROFS', errno: -30 })
  await t.rejects(store.root.snapshot('first'), { code: 'EEXIST' })
  for (const name of ['', '.', '..', 'a/b', 'x'.repeat(256)]) {
    await t.rejects(store.root.snapshot(name), { code: 'EINVAL' }, `name ${name.slice(0, 5)}`)
  }
  await snapshot.rename('second')
  t.equal(snapshot.path, '/.snapshot/second')
  t.equal(await snapshot.fs.readFile('/small', 'utf8'), 'before')
  const names = (await all<Snapshot>(store.root.snapshots())).map(({ name }) => name)
  t.same(names, ['second'])
  await snapshot.delete()
  await t.rejects(snapshot.fs.readFile('/small'), { code: 'ENOENT' })
})

void test('a clone is written apart from its origin', async t => {
  const store = await openStore(t)
  await store.fs.mkdir('/data')
  await store.fs.writeFile('/data/file', 'origin')
  const snapshot = await store.snapshot('/data', 'base')
  const clone = await snapshot.clone('/copy')
  t.equal(clone.isClone, true)
  await clone.fs.appendFile('/file', ' and more')
  t.equal(await store.fs.readFile('/copy/file', 'utf8'), 'origin and more')
  t.equal(await store.fs.readFile('/data/file', 'utf8'), 'origin')
  await t.rejects(store.fs.rename('/data/file', '/copy/other'), { code: 'EXDEV' })
  t.same((await all(store.volumes())).map(({ path }) => path).sort(), ['/', '/copy'])
  t.equal((await store.volume('/copy')).view, clone.view)
  await t.rejects(store.volume('/data'), NotFoundError)
  await clone.delete()
  await t.rejects(store.fs.stat('/copy'), { code: 'ENOENT' })
})

void test('a volume has its own root, which paths cannot leave', async t => {
  const store = await openStore(t)
  const volume = await store.createVolume('/volume')
  await store.fs.writeFile('/outside', 'outside')
  await volume.fs.mkdir('/sub')
  await volume.fs.writeFile('/sub/file', 'inside')
  t.equal(await volume.fs.readFile('sub/file', 'utf8'), 'inside')
  await t.rejects(volume.fs.readFile('/../outside'), { code: 'ENOENT' })
  await t.rejects(volume.fs.readFile('/sub/../../outside'), { code: 'ENOENT' })
  await volume.fs.symlink('/sub/file', '/sub/link')
  t.equal(await volume.fs.readlink('/sub/link'), 'file')
  t.equal(await volume.fs.realpath('/sub/link'), '/sub/file')
  t.equal((await volume.statistics()).inodeCount, 4)
})

void test('differences are typed and complete', async t => {
  const store = await openStore(t)
  const { fs } = store
  await fs.mkdir('/tree')
  for (const name of ['kept', 'changed', 'gone', 'moved']) await fs.writeFile(`/tree/${name}`, name)
  const from = await store.snapshot('/tree', 'from')
  await fs.writeFile('/tree/changed', 'otherwise')
  await fs.rm('/tree/gone')
  await fs.rename('/tree/moved', '/tree/here')
  await fs.writeFile('/tree/new', 'new')
  const changes = await all(from.diff())
  const expected = [
    'created new',
    'deleted gone',
    'modified',
    'modified changed',
    'renamed moved here',
  ]
  t.same(changes.map(line).sort(), expected)
  t.equal(changes.find(({ kind }) => kind === 'created')?.type, 'file')
  const to = await store.snapshot('/tree', 'to')
  t.same(await all(store.diff('/tree', from, 'to')), changes)
  t.same(await all(to.diff()), [])
  await t.rejects(all(store.diff('/tree', 'nowhere')), { code: 'ENOENT' })
})

void test('permission is that of the user who asks', async t => {
  const store = await openStore(t)
  await store.fs.chmod('/', 0o755)
  await store.fs.writeFile('/secret', 'secret', { mode: 0o600 })
  const other = store.as({ uid: 12345, gid: 12345 })
  await t.rejects(other.fs.readFile('/secret'), { code: 'EACCES', syscall: 'open' })
  await t.rejects(other.fs.writeFile('/mine', ''), { code: 'EACCES' })
  await store.fs.mkdir('/shared')
  await store.fs.chmod('/shared', 0o777)
  await other.fs.writeFile('/shared/file', 'x')
  const { uid, gid, mode } = await store.fs.stat('/shared/file')
  t.same([uid, gid, mode & 0o777], [12345, 12345, 0o644])
  const named = store.as({ user: 'somebody-unknown' })
  t.ok(named.uid >= 1_000_000_000)
})

void test('a store that was closed is sound', async t => {
  const store = await openStore(t)
  for (let index = 0; index < 300; index += 1) {
    await store.fs.writeFile(`/file-${String(index)}`, 'x'.repeat(index * 50))
  }
  await store.snapshot('/', 'all')
  await store.fs.rm('/file-200')
  t.ok((await store.space()).segmentBytes > 0)
  const summary = await store.summary('/')
  t.same([summary.files, summary.directories], [299, 1])
  await store.close()
  const report = await Store.check(store.directory)
  t.same(report.problems, [])
  t.ok(report.inodes >= 300)
})
