/** Golden stores: what every earlier format wrote is read, by the engine and by an outside reader. */
import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { checkStore, NativeStore, OPEN } from '../lib/native.js'
import { libraryManifest } from './fixtures/library-manifest.js'
import type { Manifest, ManifestEntry } from './format-reader/manifest.js'
import { FormatStore } from './format-reader/store.js'
import { root, temporaryDirectory } from './support/paths.js'

const FORMATS = join(root, 'test', 'fixtures', 'format')

function unpack(version: string, directory: string): string {
  const store = join(directory, 'store')
  mkdirSync(store)
  const archive = join(FORMATS, version, 'store.tar.gz')
  const { status, error } = spawnSync('tar', ['-C', store, '-xzf', archive])
  if (status !== 0) throw new Error(`tar failed on ${archive}`, { cause: error })
  return store
}

/** By view and path, without what the test itself changes. */
function entriesOf(manifest: Manifest): Map<string, ManifestEntry> {
  const all = manifest.views.flatMap(view =>
    view.entries.map(entry => [`${view.path} ${entry.path}`, entry] as const),
  )
  return new Map(all.filter(([, { path }]) => path !== '/' && path !== '/written-later'))
}

for (const version of readdirSync(FORMATS)) {
  const expected = JSON.parse(
    readFileSync(join(FORMATS, version, 'manifest.json'), 'utf8'),
  ) as Manifest

  await t.test(`a store of format ${version} is read from FORMAT.md alone`, async t => {
    const store = new FormatStore(unpack(version, temporaryDirectory(t)))
    t.same(store.manifest(), expected)
    t.same(
      [...store.replayed].sort(),
      ['bytes', 'delete', 'put', 'rename', 'snapshot', 'volume'],
      'the log held every operation',
    )
    await Promise.resolve()
  })

  await t.test(`a store of format ${version} opens, is sound, and can be written`, async t => {
    const directory = unpack(version, temporaryDirectory(t))
    t.same(await libraryManifest(directory), expected, 'read only')
    t.same((await checkStore(directory)).problems, [], 'sound before recovery')

    const store = await NativeStore.open(directory)
    const view = store.view({ uid: 0, gid: 0, groups: [], umask: 0 })
    const file = view.open('/written-later', OPEN.write | OPEN.create, 0o644)
    file.writeSync(Buffer.alloc(100_000, 'later'), 0)
    file.close()
    await store.close()

    t.same((await checkStore(directory)).problems, [], 'sound after recovery and a change')
    const later = await libraryManifest(directory)
    t.same(entriesOf(later), entriesOf(expected), 'the rest is as it was')
    t.same(new FormatStore(directory).manifest(), later, 'and the outside reader agrees')
  })
}
