import { chmodSync, lstatSync, mkdirSync, readFileSync, readlinkSync, statSync } from 'node:fs'
import { symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { defaultName } from '../../lib/cli/commands/snapshot.js'
import { modeText } from '../../lib/cli/commands/ls.js'
import { storePath } from '../../lib/cli/context.js'
import { byteSize, visible } from '../../lib/cli/render.js'
import { ControlServer } from '../../lib/daemon/control-server.js'
import type { Entry } from '../../lib/daemon/control.js'
import { cliJson, runCli } from '../support/cli.js'
import { MemoryControl } from '../support/memory-control.js'
import { temporaryDirectory } from '../support/paths.js'
import type { Teardown } from '../support/paths.js'

/** A store whose daemon keeps its files in the memory of this test. */
async function served(t: Teardown): Promise<{ store: string; memory: MemoryControl }> {
  const store = temporaryDirectory(t)
  const memory = new MemoryControl()
  const server = new ControlServer(memory)
  await server.listen(store)
  t.teardown(() => server.close(0))
  return { store, memory }
}

await t.test('wrong calls exit with 2 and one line', async t => {
  const cases: [string[], RegExp][] = [
    [['frobnicate'], /unknown command 'frobnicate'/],
    [['ls', '--frobnicate'], /unknown option '--frobnicate'/],
    [['init'], /missing required argument 'dir'/],
    [['put', 'one'], /put needs a source and a destination/],
    [['serve', 'x', '--hdfs-port', '65536'], /a port is a number from 0 to 65535/],
    [['serve', 'x', '--http-port', '-1'], /a port is a number/],
    [['serve', 'x', '--log-level', 'loud'], /Allowed choices are/],
    [['ls', '/'], /--store DIR or LOCKSTEP_STORE/],
    [['clone', '/a', 's'], /missing required argument 'newpath'/],
  ]
  const cwd = temporaryDirectory(t)
  for (const [args, message] of cases) {
    const result = await runCli(args, { allowFailure: true, cwd })
    t.equal(result.status, 2, args.join(' '))
    t.match(result.stderr, /^lockstep: ERR_LOCKSTEP_USAGE: [^\n]*\n$/)
    t.match(result.stderr, message)
    t.equal(result.stdout, '')
  }
  const json = await runCli(['frobnicate', '--json'], { allowFailure: true })
  t.match(JSON.parse(json.stderr), { error: { code: 'ERR_LOCKSTEP_USAGE', message: String } })
  t.equal((await runCli([], { allowFailure: true })).status, 2, 'no command shows help')
  t.match((await runCli(['--help'])).stdout, /Usage: lockstep/)
  t.match((await runCli(['--version'])).stdout, /^\d+\.\d+\.\d+\n$/)
})

await t.test('a failed operation exits with 1 and one line, or JSON', async t => {
  const { store } = await served(t)
  const result = await runCli(['stat', '/none'], { store, allowFailure: true })
  t.match(result, { status: 1, stdout: '' })
  t.equal(result.stderr, "lockstep: ENOENT: no such file or directory, stat '/none'\n")
  const json = await runCli(['--json', 'stat', '/none'], { store, allowFailure: true })
  t.equal(json.status, 1)
  t.same(JSON.parse(json.stderr), {
    error: { code: 'ENOENT', message: "no such file or directory, stat '/none'" },
  })
})

await t.test('only this machine is served as long as there is no authentication', async t => {
  for (const host of ['0.0.0.0', '::', '192.0.2.1', 'example.org', '127.0.0.1.example.org']) {
    const result = await runCli(['serve', 'nowhere', '--host', host], { allowFailure: true })
    t.match(result, { status: 1, stderr: /^lockstep: ERR_LOCKSTEP_LOOPBACK_ONLY: .*loopback/ })
  }
})

await t.test('files go in and out through the daemon, and changes are synced', async t => {
  const { store, memory } = await served(t)
  t.match(await cliJson(['put', '-', '/in'], { store, input: 'hello' }), { path: '/in', bytes: 5 })
  t.equal(memory.synced, 1)
  t.equal((await runCli(['cat', '/in', 'in'], { store })).stdout, 'hellohello')
  t.same(await cliJson(['cat', '/in'], { store }), {
    ...{ path: '/in', size: 5, encoding: 'base64' },
    content: Buffer.from('hello').toString('base64'),
  })
  t.equal((await runCli(['get', '/in', '-'], { store })).stdout, 'hello')
  const cwd = temporaryDirectory(t)
  t.match(await cliJson(['get', '/in'], { store, cwd }), { path: 'in', files: 1, bytes: 5 })
  t.equal(readFileSync(join(cwd, 'in'), 'utf8'), 'hello')
  t.match(await cliJson(['ls', '/'], { store }), [{ path: '/in', size: 5 }])
  t.match((await runCli(['ls', '/'], { store })).stdout, /MODE .* NAME\n-.* 5 .* in\n/)
  t.same(await cliJson(['rm', '/in'], { store }), { removed: ['/in'] })
  t.same(await cliJson(['rm', '-f', '/in'], { store }), { removed: [] })
  t.match(await runCli(['rm', '/in'], { store, allowFailure: true }), {
    status: 1,
    stderr: /ENOENT/,
  })
})

await t.test('a big file passes through base64 without a seam', async t => {
  const { store, memory } = await served(t)
  const bytes = Buffer.alloc(2_500_001, 'lockstep')
  memory.files.set('/big', bytes)
  const printed = (await cliJson(['cat', '/big'], { store })) as { content: string }
  t.ok(Buffer.from(printed.content, 'base64').equals(bytes))
})

await t.test('a tree goes in with its modes and links', async t => {
  const { store, memory } = await served(t)
  const tree = join(temporaryDirectory(t), 'tree')
  mkdirSync(join(tree, 'sub'), { recursive: true })
  for (let i = 0; i < 50; i += 1) writeFileSync(join(tree, 'sub', `f${i}`), `${i}`)
  writeFileSync(join(tree, 'run'), '#!')
  chmodSync(join(tree, 'run'), 0o755)
  symlinkSync('run', join(tree, 'link'))
  t.match(await cliJson(['put', tree, '/copy'], { store }), {
    ...{ path: '/copy', files: 51, directories: 2, links: 1, bytes: 92 },
  })
  t.equal(memory.files.get('/copy/sub/f49')?.toString(), '49')
  t.equal(memory.modes.get('/copy/run'), 0o755)
  const byText = (call: [string, unknown]): string => JSON.stringify(call)
  const made: [string, unknown][] = [
    ['makeDirectory', { path: '/copy', mode: 0o755, parents: true }],
    ['makeDirectory', { path: '/copy/sub', mode: 0o755, parents: true }],
    ['makeLink', { path: '/copy/link', target: 'run' }],
  ]
  t.strictSame(memory.calls.map(byText).sort(), made.map(byText))
  const missing = await runCli(['put', join(tree, 'none'), '/x'], { store, allowFailure: true })
  t.match(missing, { status: 1, stderr: /^lockstep: ENOENT: .*none/ })
})

await t.test('a local file that is replaced keeps its name, mode comes from the store', async t => {
  const { store, memory } = await served(t)
  memory.files.set('/f', Buffer.from('new'))
  memory.modes.set('/f', 0o600)
  const local = join(temporaryDirectory(t), 'f')
  writeFileSync(local, 'old')
  await runCli(['get', '/f', local], { store })
  t.equal(readFileSync(local, 'utf8'), 'new')
  t.equal(statSync(local).mode & 0o777, 0o600)
  t.notOk(lstatSync(local).isSymbolicLink())
  t.throws(() => readlinkSync(local))
})

await t.test('diff, snapshots and space have a form for people', async t => {
  const { store } = await served(t)
  const diff = (await runCli(['diff', '/', 'one', '.'], { store })).stdout.split('\n')
  t.equal(diff.length, 1002)
  t.match(diff[1], /^\+ {2}file {2}0$/)
  t.match((await runCli(['snapshot', 'create', '/data', 'v1'], { store })).stdout, /v1\n$/)
  t.match(await cliJson(['snapshot', 'create', '/data'], { store }), {
    name: /^s\d{8}-\d{6}\.\d{3}$/,
  })
  t.equal((await runCli(['snapshot', 'list', '/data'], { store })).stdout, 'no snapshots\n')
  t.same(await cliJson(['snapshot', 'list', '/data'], { store }), [])
  t.match((await runCli(['space'], { store })).stdout, /segments/)
})

await t.test('names, sizes, paths and modes are shown plainly', t => {
  t.equal(visible('a\u001b[31m\n'), 'a\\x1b[31m\\x0a')
  t.equal(byteSize(0), '0 B')
  t.equal(byteSize(1023), '1023 B')
  t.equal(byteSize(1536), '1.5 KiB')
  t.equal(byteSize(2 ** 40), '1.0 TiB')
  t.equal(storePath('a//b/'), '/a/b')
  t.equal(storePath('/'), '/')
  t.equal(defaultName(new Date(0)), 's19700101-000000.000')
  const mode = (text: string): string => modeText({ mode: text, kind: 'file' } as Entry)
  t.equal(mode('0644'), '-rw-r--r--')
  t.equal(mode('7777'), '-rwsrwsrwt')
  t.equal(mode('7000'), '---S--S--T')
  t.end()
})
