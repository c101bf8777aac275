/** `lockstep serve` and `lockstep start` as processes. */
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { cliCommand, cliJson, runCli } from '../support/cli.js'
import { startDaemon } from '../support/daemon.js'
import { temporaryDirectory } from '../support/paths.js'

const canMount = existsSync('/dev/fuse') && process.getuid?.() === 0

await t.test('a daemon answers when it is ready and ends with 0 when told to', async t => {
  const store = join(temporaryDirectory(t), 'store')
  const daemon = await startDaemon({ store })
  t.match(daemon.ready, {
    pid: Number,
    mount: null,
    hdfs: /^hdfs:\/\/127\.0\.0\.1:\d+$/,
    webhdfs: /^webhdfs:\/\/127\.0\.0\.1:\d+$/,
    http: /^http:\/\/127\.0\.0\.1:\d+$/,
  })
  t.equal((await fetch(`${daemon.ready.http}/webhdfs/v1/?op=LISTSTATUS`)).status, 200)
  t.equal(statSync(join(store, 'control.sock')).mode & 0o777, 0o600)
  await runCli(['put', '-', '/f'], { store, input: 'kept' })
  t.equal(await daemon.stop('SIGINT'), 0)
  t.notOk(existsSync(join(store, 'control.sock')), 'the socket is gone')
  t.equal((await runCli(['cat', '/f'], { store })).stdout, 'kept', 'opened without a daemon')
})

await t.test('what a killed daemon leaves behind keeps nobody away', async t => {
  const store = join(temporaryDirectory(t), 'store')
  const killed = await startDaemon({ store })
  await runCli(['put', '-', '/f'], { store, input: 'kept' })
  await killed.kill()
  t.ok(existsSync(join(store, 'control.sock')))
  t.equal((await runCli(['cat', '/f'], { store })).stdout, 'kept')
  const next = await startDaemon({ store })
  t.equal((await runCli(['cat', '/f'], { store })).stdout, 'kept')
  t.equal(await next.stop(), 0)
})

await t.test('names given to HDFS clients are the same after a restart', async t => {
  const store = join(temporaryDirectory(t), 'store')
  const name = async (): Promise<unknown> => {
    const daemon = await startDaemon({ store })
    const status = (await (await fetch(`${daemon.ready.http}/status`)).json()) as { store: string }
    await daemon.stop()
    return status.store
  }
  const first = await name()
  t.match(first, /^CID-[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  t.equal(await name(), first)
})

await t.test('a taken port is named, and nothing is left running', async t => {
  const store = join(temporaryDirectory(t), 'store')
  await runCli(['init', store])
  const taken = createServer().listen(0, '127.0.0.1')
  await once(taken, 'listening')
  const port = String((taken.address() as AddressInfo).port)
  for (const option of ['--hdfs-port', '--data-port', '--http-port']) {
    const ports = ['--hdfs-port', '0', '--data-port', '0', '--http-port', '0']
    ports[ports.indexOf(option) + 1] = port
    const result = await runCli(['serve', store, ...ports], { allowFailure: true })
    t.match(result, { status: 1, stdout: '' }, option)
    t.match(result.stderr, new RegExp(`^lockstep: EADDRINUSE: port ${port} is taken;.*${option} `))
  }
  taken.close()
  t.same(await cliJson(['ls', '/'], { store }), [], 'the store is free')
})

await t.test('without hdfs:// the other services answer', async t => {
  const store = join(temporaryDirectory(t), 'store')
  const daemon = await startDaemon({ store, args: ['--no-hdfs'] })
  t.equal(daemon.ready.hdfs, null)
  t.equal((await fetch(`${daemon.ready.http}/webhdfs/v1/?op=LISTSTATUS`)).status, 200)
  t.equal(await daemon.stop(), 0)
})

await t.test('a mount point that cannot work is refused, with a reason', async t => {
  const directory = temporaryDirectory(t)
  const store = join(directory, 'store')
  await runCli(['init', store])
  mkdirSync(join(store, 'log', 'inside'), { recursive: true })
  writeFileSync(join(directory, 'file'), '')
  const cases: [string, RegExp][] = [
    [join(directory, 'none'), /does not exist/],
    [join(directory, 'file'), /not a directory/],
    [join(store, 'log', 'inside'), /inside one another/],
    [directory, /inside one another/],
  ]
  for (const [mount, why] of cases) {
    const ports = ['--hdfs-port', '0', '--data-port', '0', '--http-port', '0']
    const result = await runCli(['serve', store, '--mount', mount, ...ports], {
      allowFailure: true,
    })
    t.match(result, { status: 1, stderr: /^lockstep: ERR_LOCKSTEP_MOUNT_POINT: [^\n]*\n$/ })
    t.match(result.stderr, why)
  }
})

await t.test('the mount shows the store and goes with the daemon', async t => {
  if (!canMount) {
    t.comment('no /dev/fuse for this user: nothing to mount')
    return
  }
  const directory = temporaryDirectory(t)
  const store = join(directory, 'store')
  const mount = join(directory, 'mnt')
  mkdirSync(mount)
  const daemon = await startDaemon({ store, mount })
  t.equal(daemon.ready.mount, mount)
  writeFileSync(join(mount, 'f'), 'from the mount')
  t.equal((await runCli(['cat', '/f'], { store })).stdout, 'from the mount')
  await runCli(['put', '-', '/g'], { store, input: 'from the command' })
  t.equal(readFileSync(join(mount, 'g'), 'utf8'), 'from the command')
  t.equal(await daemon.stop(), 0)
  t.notOk(existsSync(join(mount, 'f')), 'unmounted')
})

await t.test('start makes what is missing and says what to try', async t => {
  const cwd = temporaryDirectory(t)
  const [command = '', ...words] = cliCommand()
  const ports = ['--hdfs-port', '0', '--data-port', '0', '--http-port', '0']
  const child = spawn(command, [...words, 'start', ...ports], {
    cwd,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  t.teardown(() => {
    child.kill('SIGKILL')
  })
  let output = ''
  for await (const chunk of child.stdout) {
    output += String(chunk)
    if (output.includes('curl')) break
  }
  t.match(output, /^ready \{.*\}\n/)
  t.match(output, /npx lockstep snapshot create \/ first/)
  t.ok(existsSync(join(cwd, 'lockstep-data', 'superblock')))
  t.same(await cliJson(['ls', '/'], { cwd }), [], 'the store here is found without a name')
  const ended = once(child, 'close')
  child.kill('SIGTERM')
  t.same(await ended, [0, null])
})
