/**
 * The main job, end to end, on real files: Hadoop's own shell puts them in, the mount shows the
 * same bytes, an instant snapshot versions them in place, both views go on changing them, and no
 * second copy is ever made.
 *
 * Method: the state of every file is kept beside the test as length and SHA-256, and each view is
 * compared with it. Space is what `du` says of the store's directory.
 */
import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import t from 'tap'
import { JavaClient } from '../clients/java.js'
import { python, pythonWalk } from '../clients/python.js'
import { runCli } from '../support/cli.js'
import {
  type Contents,
  type DataSet,
  LARGE_FILE,
  LARGE_FILE_BYTES,
  diskUsage,
  differences,
  digestTree,
  makeDataSet,
} from './data-set.js'
import { type PosixVisit, Served, digestThrough, digestTreeThrough } from './posix-side.js'

const MEBIBYTE = 1 << 20
const OVERWRITES = 64
const OVERWRITE_BYTES = 32 << 10
/** What pages, the intent log and preallocated segment tails may take beside the data. */
const OVERHEAD_BYTES_MAX = 96 * MEBIBYTE
const OVERHEAD_RATIO_MAX = 0.05

const directory = await mkdtemp(join(tmpdir(), 'lockstep-main-job-'))
const startedAt = Date.now()

function say(what: string): void {
  t.comment(`${((Date.now() - startedAt) / 1000).toFixed(1)} s: ${what}`)
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`
}

const data = await makeDataSet(join(directory, 'data'))
say(`data set: ${String(data.contents.size)} files, ${megabytes(data.bytes)}`)

const served = await Served.start(directory)
say(served.mounted ? 'POSIX side: the mount' : 'POSIX side: the library (no /dev/fuse here)')
const store = join(directory, 'store')
// A Java client looks at an idle connection only when it uses it again; where the daemon comes and
// goes between two commands, it must not keep any.
const properties = served.mounted ? {} : { 'ipc.client.connection.maxidletime': '50' }
const java = await JavaClient.start(served.daemon.ready.hdfs ?? '', properties)

t.teardown(async () => {
  await java.close()
  await served.daemon.stop()
  await rm(directory, { recursive: true, force: true })
})

const emptyBytes = await diskUsage(store)
const original: Contents = new Map(data.contents)
const live: Contents = new Map(data.contents)

await t.test('the data set is what it should be', t => {
  t.ok(data.contents.size >= 2000, 'thousands of files')
  t.ok((original.get(LARGE_FILE)?.[0] ?? 0) >= LARGE_FILE_BYTES, 'and a large one')
  t.end()
})

await t.test('FsShell puts it through hdfs://, and the store grows by it once', async t => {
  const start = Date.now()
  await java.shellOk('-put', '-t', '4', data.directory, '/data')
  const seconds = (Date.now() - start) / 1000
  say(`hdfs dfs -put: ${seconds.toFixed(1)} s, ${megabytes(data.bytes / seconds)}/s`)
  const grown = (await diskUsage(store)) - emptyBytes
  say(`du of the store: ${megabytes(emptyBytes)} empty, ${megabytes(grown)} more with the data`)
  t.ok(grown <= data.bytes * (1 + OVERHEAD_RATIO_MAX) + OVERHEAD_BYTES_MAX, 'no second copy')
  t.ok(grown >= data.bytes * 0.9, 'the bytes are in the store')
})

await t.test('the mount shows the same bytes in every file', async t => {
  const seen = await served.posix(({ fs, root }) => digestTreeThrough(fs, join(root, 'data')))
  t.same(differences(seen, original), [])
  say(`${String(seen.size)} files compared through the POSIX side`)
})

await t.test('both views take a snapshot, and none of them copies', async t => {
  const before = await diskUsage(store)
  await java.allowSnapshot('/data')
  const start = process.hrtime.bigint()
  await java.shellOk('-createSnapshot', '/data', 's1')
  const milliseconds = Number(process.hrtime.bigint() - start) / 1e6
  await served.posix(({ fs, root }) => fs.mkdir(join(root, 'data/.snapshot/s2')))
  const grown = (await diskUsage(store)) - before
  say(`snapshot: ${milliseconds.toFixed(1)} ms by FsShell; du grew by ${megabytes(grown)}`)
  t.ok(grown < 16 * MEBIBYTE)
  const listed = await java.shellOk('-ls', '/data/.snapshot')
  t.match(listed.stdout, /\/data\/\.snapshot\/s1\n[^]*\/data\/\.snapshot\/s2\n/)
  const names = await served.posix(({ fs, root }) => fs.readdir(join(root, 'data/.snapshot')))
  t.same(names.sort(), ['s1', 's2'])
})

/** What the POSIX side is going to do to the live tree. */
interface Plan {
  deleted: string[]
  renamed: [string, string]
  renamedDirectory: [string, string]
  appended: string[]
  created: string
  madeDirectory: string
}

function planChanges(set: DataSet): Plan {
  const small = [...set.contents.keys()].filter(path => path !== LARGE_FILE).sort()
  const pick = (fraction: number): string => small[Math.floor(small.length * fraction)] ?? ''
  const moved = dirname(pick(0.6))
  const outside = small.filter(path => !path.startsWith(`${moved}/`))
  const take = (fraction: number): string => outside[Math.floor(outside.length * fraction)] ?? ''
  const source = take(0.5)
  return {
    deleted: [take(0.1), take(0.3), take(0.9)],
    renamed: [source, `${dirname(source)}/renamed by the mount`],
    renamedDirectory: [moved, 'moved-directory'],
    appended: [take(0.2), take(0.7)],
    created: 'added/é new file.txt',
    madeDirectory: 'added',
  }
}

const plan = planChanges(data)

async function overwriteLargeFile({ fs, root }: PosixVisit): Promise<void> {
  const file = await fs.open(join(root, 'data', LARGE_FILE), 'r+')
  try {
    for (let i = 0; i < OVERWRITES; i += 1) {
      const at = i * 8 * MEBIBYTE + 12_345
      await file.write(Buffer.alloc(OVERWRITE_BYTES, i + 1), 0, OVERWRITE_BYTES, at)
    }
    await file.sync()
  } finally {
    await file.close()
  }
}

async function changeNames({ fs, root }: PosixVisit): Promise<void> {
  const path = (name: string): string => join(root, 'data', name)
  for (const name of plan.deleted) await fs.unlink(path(name))
  await fs.rename(path(plan.renamed[0]), path(plan.renamed[1]))
  await fs.rename(path(plan.renamedDirectory[0]), path(plan.renamedDirectory[1]))
  for (const name of plan.appended) await fs.appendFile(path(name), `appended to ${name}\n`)
  await fs.mkdir(path(plan.madeDirectory))
  await fs.writeFile(path(plan.created), 'written by the POSIX side\n')
}

/** Does to the host's copy what `changeNames` and `overwriteLargeFile` did to the store. */
async function changeExpectation(): Promise<void> {
  const twin = { fs: await import('node:fs/promises'), root: directory }
  await overwriteLargeFile(twin)
  await changeNames(twin)
  live.clear()
  for (const [path, found] of await digestTree(data.directory)) live.set(path, found)
}

await t.test('the mount changes, deletes, renames and appends; only that is stored', async t => {
  const before = await diskUsage(store)
  await served.posix(async side => {
    await overwriteLargeFile(side)
    await changeNames(side)
  })
  const grown = (await diskUsage(store)) - before
  await changeExpectation()
  const written = OVERWRITES * OVERWRITE_BYTES
  say(`${megabytes(written)} overwritten in place: du grew by ${megabytes(grown)}`)
  t.ok(grown <= 2 * written + 32 * MEBIBYTE, 'only the changed extents')
  const seen = await served.posix(({ fs, root }) => digestTreeThrough(fs, join(root, 'data')))
  t.same(differences(seen, live), [])
})

async function cat(path: string): Promise<[number, string]> {
  const result = await java.shellOk('-cat', path)
  return [result.stdoutBytes, result.stdoutSha256]
}

await t.test('hdfs dfs -cat gives the old bytes from .snapshot and the new ones live', async t => {
  const [renamedFrom, renamedTo] = plan.renamed
  const old = [LARGE_FILE, ...plan.appended, ...plan.deleted, renamedFrom]
  for (const name of old) {
    for (const snapshot of ['s1', 's2']) {
      if (name === LARGE_FILE && snapshot === 's2') continue
      t.same(await cat(`/data/.snapshot/${snapshot}/${name}`), original.get(name), name)
    }
  }
  for (const name of [LARGE_FILE, ...plan.appended, renamedTo, plan.created]) {
    t.same(await cat(`/data/${name}`), live.get(name), name)
  }
  const gone = await java.shell('-cat', `/data/${plan.deleted[0] ?? ''}`)
  t.equal(gone.exit, 1)
  t.match(gone.stderr, /No such file or directory/)
})

await t.test('hdfs dfs -get of a snapshot brings every file as it was', async t => {
  const target = join(directory, 'got')
  await mkdir(target)
  const start = Date.now()
  await java.shellOk('-get', '-t', '4', '/data/.snapshot/s1', target)
  say(`hdfs dfs -get of the snapshot: ${((Date.now() - start) / 1000).toFixed(1)} s`)
  t.same(differences(await digestTree(join(target, 's1')), original), [])
  await rm(target, { recursive: true })
})

await t.test('the mount shows the snapshot unchanged, and refuses to change it', async t => {
  await served.posix(async ({ fs, root }) => {
    const snapshot = join(root, 'data/.snapshot/s2')
    t.same(differences(await digestTreeThrough(fs, snapshot), original), [])
    await t.rejects(fs.writeFile(join(snapshot, 'new'), ''), { code: 'EROFS' })
    await t.rejects(fs.unlink(join(snapshot, LARGE_FILE)), { code: 'EROFS' })
    await t.rejects(fs.truncate(join(snapshot, LARGE_FILE), 0), { code: 'EROFS' })
  })
})

/**
 * HDFS's report of the plan: it names the parent of every name that came or went as modified, and
 * of a new directory only the top.
 */
function expectedReport(): string[] {
  const parent = (path: string): string => dirname(path)
  const [from, to] = plan.renamed
  const [directoryFrom, directoryTo] = plan.renamedDirectory
  const touched = [...plan.deleted, from, to, directoryFrom, directoryTo, plan.madeDirectory]
  return [
    ...new Set(touched.map(path => `M ${parent(path)}`)),
    ...[LARGE_FILE, ...plan.appended].map(path => `M ${path}`),
    ...plan.deleted.map(path => `- ${path}`),
    `+ ${plan.madeDirectory}`,
    `R ${from} -> ${to}`,
    `R ${directoryFrom} -> ${directoryTo}`,
  ].sort()
}

interface DiffRecord {
  kind: string
  path: string
  target?: string | null
}

await t.test('snapshotDiff and lockstep diff list exactly the changes', async t => {
  await java.shellOk('-createSnapshot', '/data', 's3')
  const wanted = expectedReport()
  t.same((await java.snapshotDiff('/data', 's1', 's3')).sort(), wanted, 'between snapshots')
  t.same((await java.snapshotDiff('/data', 's1', '')).sort(), wanted, 'up to now')
  t.same(await java.snapshotDiff('/data', 's1', 's2'), [], 'nothing between s1 and s2')
  const printed = await runCli(['--store', store, '--json', 'diff', '/data', 's1', '.'])
  const changes = JSON.parse(printed.stdout) as DiffRecord[]
  const letters: Record<string, string> = {
    created: '+',
    deleted: '-',
    modified: 'M',
    renamed: 'R',
  }
  const lines = changes.map(({ kind, path, target }) => {
    const line = `${letters[kind] ?? kind} ${path === '' ? '.' : path}`
    return typeof target === 'string' ? `${line} -> ${target}` : line
  })
  t.same(lines.sort(), [...wanted, `+ ${plan.created}`].sort(), 'by the command line')
})

await t.test('a clone is written by HDFS and read by POSIX', async t => {
  const before = await diskUsage(store)
  await runCli(['--store', store, 'clone', '/data', 's1', '/work'])
  const local = join(directory, 'local')
  await writeFile(local, 'a line from HDFS\n'.repeat(1000))
  const [appended] = plan.appended
  await java.shellOk('-appendToFile', local, `/work/${appended ?? ''}`)
  await java.shellOk('-put', local, '/work/put-by-hdfs')
  await java.shellOk('-mv', `/work/${LARGE_FILE}`, '/work/large-renamed')
  await java.shellOk('-rm', '-skipTrash', `/work/${plan.renamed[0]}`)
  const text = await readFile(local)
  await served.posix(async ({ fs, root }) => {
    const work = (name: string): string => join(root, 'work', name)
    const sum = createHash('sha256').update(text).digest('hex')
    t.same(await digestThrough(fs, work('put-by-hdfs')), [text.length, sum])
    const joined = await fs.readFile(work(appended ?? ''))
    t.equal(joined.length, (original.get(appended ?? '')?.[0] ?? 0) + text.length)
    t.ok(joined.subarray(joined.length - text.length).equals(text))
    t.same(await digestThrough(fs, work('large-renamed')), original.get(LARGE_FILE))
    await t.rejects(fs.stat(work(plan.renamed[0])), { code: 'ENOENT' })
    const untouched = await digestTreeThrough(fs, join(root, 'data'))
    t.same(differences(untouched, live), [], 'the origin does not change with its clone')
  })
  const grown = (await diskUsage(store)) - before
  say(`clone of ${megabytes(data.bytes)}, written to: du grew by ${megabytes(grown)}`)
  t.ok(grown < 24 * MEBIBYTE)
})

await t.test('hdfs-native and fsspec webhdfs read the same files and write some', async t => {
  const { hdfs, webhdfs } = served.daemon.ready
  const native = await pythonWalk('hdfs-native', hdfs ?? '', '/data')
  t.same(differences(native, live), [], 'hdfs-native, live')
  const top = plan.renamedDirectory[1]
  const part: Contents = new Map(
    [...live].flatMap(([path, found]) =>
      path.startsWith(`${top}/`) ? [[path.slice(top.length + 1), found] as const] : [],
    ),
  )
  t.same(differences(await pythonWalk('webhdfs', webhdfs, `/data/${top}`), part), [])
  const inSnapshot = `/data/.snapshot/s1/${LARGE_FILE}`
  t.same(await python('hdfs-native', hdfs ?? '', 'sha256', inSnapshot), original.get(LARGE_FILE))
  t.same(await python('webhdfs', webhdfs, 'sha256', inSnapshot), original.get(LARGE_FILE))
  const local = join(data.directory, plan.appended[1] ?? '')
  await python('hdfs-native', hdfs ?? '', 'write', '/data/from-rust', local)
  await python('webhdfs', webhdfs, 'write', '/data/from-fsspec', local)
  const wanted = live.get(plan.appended[1] ?? '')
  await served.posix(async ({ fs, root }) => {
    t.same(await digestThrough(fs, join(root, 'data/from-rust')), wanted)
    t.same(await digestThrough(fs, join(root, 'data/from-fsspec')), wanted)
  })
})

await t.test('the store is sound, and after a restart everything is as it was', async t => {
  await served.whileStopped(async () => {
    const checked = await runCli(['--json', 'check', store], { allowFailure: true })
    t.same((JSON.parse(checked.stdout) as { problems: string[] }).problems, [])
  })
  const seen = await served.posix(async ({ fs, root }) => {
    t.same(differences(await digestTreeThrough(fs, join(root, 'data/.snapshot/s1')), original), [])
    return digestThrough(fs, join(root, 'data', LARGE_FILE))
  })
  t.same(seen, live.get(LARGE_FILE))
})
