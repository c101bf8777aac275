/**
 * A disk that is really full: a store on a small ext4 of its own, served to a mount, to Hadoop's own
 * client, to WebHDFS and to the command line. Writers are told, reading and deleting go on, what is
 * deleted comes back as space, and nothing acknowledged is lost, not even to a kill.
 */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import * as host from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { codeOf } from '../../lib/errors.js'
import { JavaClient } from '../clients/java.js'
import { cliJson, runCli } from '../support/cli.js'
import { type Daemon, startDaemon } from '../support/daemon.js'
import { temporaryDirectory } from '../support/paths.js'
import { hasFuse } from './posix-side.js'

const MIB = 1 << 20
const DISK_BYTES = 128 * MIB
const SPACE_WITHIN_MS = 15_000

/** Mounts a new ext4; undefined where that cannot be. */
async function mountDisk(t: Test, directory: string): Promise<string | undefined> {
  const [image, disk] = [join(directory, 'image'), join(directory, 'disk')]
  await host.mkdir(disk)
  await host.writeFile(image, '')
  await host.truncate(image, DISK_BYTES)
  try {
    execFileSync('mkfs.ext4', ['-q', image], { stdio: 'ignore' })
    execFileSync('mount', ['-o', 'loop', image, disk], { stdio: 'ignore' })
  } catch {
    return undefined
  }
  t.teardown(() => execFileSync('umount', ['-l', disk], { stdio: 'ignore' }))
  return disk
}

/** The bytes of file number `number`: nothing repeats, so that nothing is stored twice. */
function content(number: number, length: number): Buffer {
  const seed = createHash('sha256').update(String(number)).digest()
  return Buffer.alloc(length, seed)
}

async function code(operation: Promise<unknown>): Promise<string> {
  return operation.then(
    () => 'done',
    (error: unknown) => codeOf(error as Error) ?? String(error),
  )
}

/** Writes files of 1 MiB until there is no space; resolves to how many are whole. */
async function fill(mount: string): Promise<number> {
  for (let number = 0; ; number += 1) {
    const path = join(mount, `file${number}`)
    const done = await code(host.writeFile(path, content(number, MIB)))
    if (done === 'done') continue
    if (done !== 'ENOSPC') throw new Error(done)
    await host.rm(path, { force: true })
    return number
  }
}

async function availableBytes(path: string): Promise<number> {
  const { bavail, bsize } = await host.statfs(path)
  return bavail * bsize
}

async function waitForSpace(path: string, bytes: number): Promise<void> {
  const deadline = Date.now() + SPACE_WITHIN_MS
  while ((await availableBytes(path)) < bytes) {
    if (Date.now() > deadline) throw new Error(`${await availableBytes(path)} bytes, not ${bytes}`)
    await delay(50)
  }
}

async function everyWriterIsTold(t: Test, daemon: Daemon, store: string): Promise<void> {
  const mount = daemon.ready.mount ?? ''
  const large = join(temporaryDirectory(t), 'large')
  await host.writeFile(large, content(1, 8 * MIB))
  t.equal(await code(host.copyFile(large, join(mount, 'large'))), 'ENOSPC', 'the mount')
  const put = await runCli(['put', large, '/large'], { store, allowFailure: true })
  t.match(put.stderr, 'lockstep: ENOSPC', 'the command line')
  const url = `${daemon.ready.http}/webhdfs/v1/large?op=CREATE&overwrite=true&user.name=root`
  const { headers } = await fetch(url, { method: 'PUT', redirect: 'manual' })
  const target = headers.get('location') ?? ''
  const answer = await fetch(target, { method: 'PUT', body: content(1, 8 * MIB) })
  t.match(await answer.json(), { RemoteException: { exception: 'IOException' } }, 'WebHDFS')
  await using java = await JavaClient.start(daemon.ready.hdfs ?? '')
  const shell = await java.shell('-put', '-f', large, '/large')
  t.not(shell.exit, 0, 'hdfs dfs -put')
  t.match(shell.stderr, /could only be written to 0 of the 1 minReplication|no space is left/)
  const cat = await java.shellOk('-cat', '/file0')
  const digest = createHash('sha256').update(content(0, MIB)).digest('hex')
  t.equal(cat.stdoutSha256, digest, 'it reads')
  await java.shellOk('-rm', '-skipTrash', '/file1')
}

async function everythingIsThere(t: Test, mount: string, numbers: number[]): Promise<void> {
  const found = await Promise.all(
    numbers.map(async n => (await host.readFile(join(mount, `file${n}`))).equals(content(n, MIB))),
  )
  t.same(
    numbers.filter((_, index) => found[index] !== true),
    [],
    'every file is whole',
  )
}

await t.test('a full disk is told to every writer, and deleting gives its space back', async t => {
  const directory = temporaryDirectory(t)
  const isPossible = process.getuid?.() === 0 && (await hasFuse())
  const disk = isPossible ? await mountDisk(t, directory) : undefined
  if (disk === undefined) {
    t.comment('skipped: needs root, mkfs.ext4, a loop device and FUSE')
    return
  }
  const [store, mount] = [join(disk, 'store'), join(directory, 'mount')]
  await host.mkdir(mount)
  let daemon = await startDaemon({ store, mount })
  t.teardown(() => daemon.stop())
  const count = await fill(mount)
  t.ok(count > 70, `${count} MiB in a disk of 128`)
  t.equal(await availableBytes(mount), 0, 'df')
  t.match(await cliJson(['space'], { store }), { health: { full: true, failure: null } })
  await everyWriterIsTold(t, daemon, store)
  const kept = Array.from({ length: count }, (_, n) => n).filter(n => n !== 1)
  await everythingIsThere(t, mount, kept)
  await daemon.kill()
  daemon = await startDaemon({ store, mount })
  await everythingIsThere(t, mount, kept)
  t.equal(await daemon.stop(), 0, 'a full store closes')
  daemon = await startDaemon({ store, mount })
  await everythingIsThere(t, mount, kept)
  await takeTheRest(mount)

  const [doomed, rest] = [kept.slice(0, count / 2), kept.slice(count / 2)]
  for (const number of doomed) await host.unlink(join(mount, `file${number}`))
  await waitForSpace(mount, (doomed.length - 12) * MIB)
  await waitForSpace(disk, (doomed.length - 12) * MIB)
  for (const number of doomed.slice(12)) {
    await host.writeFile(join(mount, `file${number}`), content(number, MIB))
  }
  await everythingIsThere(t, mount, [...doomed.slice(12), ...rest])
  t.equal(await daemon.stop(), 0)
  t.match(daemon.log, 'the disk of the store is full')
  t.match(daemon.log, 'there is space again')
  t.match(await runCli(['check', store]), { status: 0 })
})

/** Appends to one file until there is no space. */
async function takeTheRest(mount: string): Promise<void> {
  const path = join(mount, 'rest')
  while ((await code(host.appendFile(path, content(0, 100_000)))) === 'done');
}
