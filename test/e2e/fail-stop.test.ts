/**
 * A disk whose writes or syncs fail with EIO: a real daemon over real files, of which one kind fails
 * from some moment on. From then on no view changes anything, all of them read, and nothing that was
 * acknowledged is lost.
 */
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import * as host from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { codeOf } from '../../lib/errors.js'
import { cliJson, runCli } from '../support/cli.js'
import { type Daemon, startDaemon } from '../support/daemon.js'
import { root, temporaryDirectory } from '../support/paths.js'
import { hasFuse } from './posix-side.js'

/** What fails: the operation, and what the path of the file contains. */
const RULES: readonly [string, string][] = [
  ['write', '/log/'],
  ['sync', '/log/'],
  ['write', '.segment'],
  ['sync', '.segment'],
  ['write', '/data.mdb'],
  ['sync', '/data.mdb'],
]
const FAILS_WITHIN_MS = 20_000

const isPossible = existsSync('/usr/bin/cc') && process.getuid?.() === 0 && (await hasFuse())

function buildShim(directory: string): string {
  const shim = join(directory, 'failing-disk.so')
  const source = join(root, 'test', 'support', 'failing-disk.c')
  execFileSync('cc', ['-shared', '-fPIC', '-O1', '-o', shim, source, '-ldl'])
  return shim
}

/** Writes and syncs files until that fails; resolves to those that were acknowledged. */
async function writeUntilFailure(mount: string): Promise<Map<string, Buffer>> {
  const acknowledged = new Map<string, Buffer>()
  const deadline = Date.now() + FAILS_WITHIN_MS
  for (let number = 0; Date.now() < deadline; number += 1) {
    const [name, bytes] = [`file${number}`, randomBytes(number % 2 === 0 ? 700_000 : 500)]
    try {
      const file = await host.open(join(mount, name), 'wx')
      try {
        await file.writeFile(bytes)
        await file.sync()
      } finally {
        await file.close()
      }
    } catch (error) {
      if (codeOf(error) !== 'EIO') throw error
      return acknowledged
    }
    acknowledged.set(name, bytes)
    await delay(20)
  }
  throw new Error('nothing failed')
}

async function code(operation: Promise<unknown>): Promise<string> {
  return operation.then(
    () => 'done',
    (error: unknown) => codeOf(error as Error) ?? String(error),
  )
}

async function everyViewRefuses(t: Test, daemon: Daemon, store: string): Promise<void> {
  const mount = daemon.ready.mount ?? ''
  const before = join(mount, 'before')
  t.equal(await code(host.mkdir(join(mount, 'new'))), 'EIO')
  t.equal(await code(host.unlink(before)), 'EIO')
  t.equal(await code(host.writeFile(before, 'changed')), 'EIO')
  const file = await host.open(before, 'r')
  t.equal(await code(file.sync()), 'EIO', 'a sync after a failed one')
  await file.close()
  const made = await runCli(['mkdir', '/new'], { store, allowFailure: true })
  t.match(made.stderr, 'ERR_LOCKSTEP_CLOSED')
  const answer = await fetch(`${daemon.ready.http}/webhdfs/v1/new?op=MKDIRS&user.name=root`, {
    method: 'PUT',
  })
  t.equal(answer.status, 403)
  t.match(await answer.json(), {
    RemoteException: { exception: 'SafeModeException', message: /Name node is in safe mode/ },
  })
}

async function everyViewReads(
  t: Test,
  daemon: Daemon,
  store: string,
  bytes: Buffer,
): Promise<void> {
  const mount = daemon.ready.mount ?? ''
  t.ok((await host.readFile(join(mount, 'before'))).equals(bytes))
  t.ok((await host.readdir(mount)).includes('before'))
  const opened = await fetch(`${daemon.ready.http}/webhdfs/v1/before?op=OPEN&user.name=root`)
  const body = Buffer.from(await opened.arrayBuffer())
  t.equal(opened.status, 200, body.subarray(0, 300).toString())
  t.ok(body.equals(bytes))
  t.match(await cliJson(['stat', '/before'], { store }), { size: bytes.length })
}

for (const [operation, text] of RULES) {
  await t.test(
    `a failing ${operation} of ${text} stops changes, not reading`,
    { skip: !isPossible },
    async t => {
      const directory = temporaryDirectory(t)
      const [store, mount, trigger] = ['store', 'mount', 'trigger'].map(name => join(directory, name)) as [string, string, string] // prettier-ignore
      await host.mkdir(mount)
      const env = { LD_PRELOAD: buildShim(directory), FAILING_DISK: trigger }
      const daemon = await startDaemon({ store, mount, env })
      t.teardown(() => daemon.stop())
      const bytes = randomBytes(3_000_000)
      await host.writeFile(join(mount, 'before'), bytes, { flush: true })
      await host.writeFile(trigger, `${operation} ${text}`)
      const acknowledged = await writeUntilFailure(mount)
      await everyViewRefuses(t, daemon, store)
      await host.unlink(trigger)
      await everyViewRefuses(t, daemon, store)
      await everyViewReads(t, daemon, store, bytes)
      t.match(await cliJson(['space'], { store }), { health: { failure: String } })
      t.match(await (await fetch(`${daemon.ready.http}/status`)).json(), {
        health: { failure: String },
      })
      t.equal(await daemon.stop(), 1, 'not a clean stop')
      t.match(daemon.log, 'the store failed')
      const next = await startDaemon({ store, mount })
      t.teardown(() => next.stop())
      for (const [name, expected] of [...acknowledged, ['before', bytes] as const]) {
        t.ok((await host.readFile(join(mount, name))).equals(expected), name)
      }
      await host.writeFile(join(mount, 'before'), 'changed', { flush: true })
      t.equal(await next.stop(), 0)
      t.match(await runCli(['check', store]), { status: 0 })
    },
  )
}
