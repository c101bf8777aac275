import t from 'tap'
import { DiffPages, diffEntries } from '../../../lib/hdfs/namenode/diff-report.js'
import { KIND } from '../../../lib/native.js'
import type { Change } from '../../../lib/native.js'

function change(
  kind: Change['kind'],
  path: string,
  fileKind: number = KIND.file,
  target: string | null = null,
): Change {
  return { kind, fileKind, path, target, inode: 1 }
}

function text(changes: Change[]): string[] {
  return diffEntries(changes).map(({ label, path, target }) =>
    target === null ? `${label} ./${path}` : `${label} ./${path} -> ./${target}`,
  )
}

void t.test('a directory stands before what changed in it', test => {
  const lines = text([
    change('created', 'd/new'),
    change('modified', 'f'),
    change('deleted', 'gone'),
    change('modified', 'd', KIND.directory),
    change('renamed', 'd/a', KIND.file, 'b'),
    change('modified', '', KIND.directory),
  ])
  test.same(
    lines,
    ['M ./', '- ./gone', 'M ./d', '+ ./d/new', 'R ./d/a -> ./b', 'M ./f'].sort(
      (a, b) => lines.indexOf(a) - lines.indexOf(b),
    ),
  )
  test.ok(lines.indexOf('M ./') < lines.indexOf('- ./gone'))
  test.ok(lines.indexOf('M ./d') < lines.indexOf('+ ./d/new'))
  test.ok(lines.indexOf('+ ./d/new') < lines.indexOf('R ./d/a -> ./b'))
  test.equal(lines.length, 6)
  test.end()
})

void t.test('what changed below a renamed directory is told by its old path', test => {
  const lines = text([
    change('modified', 'd2', KIND.directory),
    change('created', 'd2/new'),
    change('renamed', 'd1', KIND.directory, 'd2'),
    change('renamed', 'd1/f', KIND.file, 'g'),
    change('modified', 'g'),
    change('modified', '', KIND.directory),
  ])
  test.same(
    lines,
    ['M ./', 'R ./d1 -> ./d2', 'M ./d1', '+ ./d1/new', 'M ./d1/f', 'R ./d1/f -> ./g'].sort(
      (a, b) => lines.indexOf(a) - lines.indexOf(b),
    ),
  )
  test.equal(lines.length, 6)
  test.end()
})

void t.test('of a directory that came or went only the top is told', test => {
  const lines = text([
    change('deleted', 'old/d/f'),
    change('deleted', 'old/d', KIND.directory),
    change('deleted', 'old', KIND.directory),
    change('renamed', 'kept', KIND.file, 'new/kept'),
    change('created', 'new', KIND.directory),
    change('created', 'new/f'),
    change('modified', '', KIND.directory),
  ])
  test.same(lines, ['M ./', '+ ./new', '- ./old', 'R ./kept -> ./new/kept'])
  test.end()
})

void t.test('a directory whose entries changed is shown as modified', test => {
  test.same(text([change('created', 'd/x')]), ['M ./d', '+ ./d/x'])
  test.same(text([change('created', 'x', KIND.directory)]), ['M ./', '+ ./x'])
  test.end()
})

void t.test('pages hold every entry once, each with its directory', async test => {
  const changes: Change[] = []
  for (let index = 0; index < 25_000; index++)
    changes.push(change('created', `d${index % 3}/f${index}`))
  const entries = diffEntries(changes)
  const pages = new DiffPages()
  let loads = 0
  const load = async () => {
    loads++
    return Promise.resolve(entries)
  }
  const seen: string[] = []
  const strays: string[] = []
  const directories = new Map<bigint, string>()
  let index = -1
  for (;;) {
    const page = await pages.page('k', index, load)
    for (const entry of page.modifiedEntries ?? []) {
      directories.set(entry.dirId ?? 0n, Buffer.from(entry.fullpath ?? []).toString())
    }
    for (const entry of page.createdEntries ?? []) {
      const path = Buffer.from(entry.fullpath ?? []).toString()
      if (!path.startsWith(`${directories.get(entry.dirId ?? -1n) ?? '?'}/`)) strays.push(path)
      seen.push(path)
    }
    index = page.cursor?.index ?? -1
    if (index === -1) break
  }
  test.equal(loads, 1)
  test.same(strays, [])
  test.equal(new Set(seen).size, 25_000)
})
