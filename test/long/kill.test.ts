/**
 * The daemon is killed (-9) under load from the mount and from WebHDFS, again and again, and
 * restarted on the same store and mount point. This process is the witness: whatever was
 * acknowledged to it must be there afterwards, and no snapshot may have changed. What it does on the
 * mount must never fail: it waits for the next daemon.
 *
 * `KILLS` sets how often (200 unless said otherwise), `SEED` replays the choices of a run.
 */
import { createHash, randomBytes } from 'node:crypto'
import * as fs from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { request } from 'undici'
import { hasFuse } from '../e2e/posix-side.js'
import { runCli } from '../support/cli.js'
import { startDaemon } from '../support/daemon.js'
import type { Daemon } from '../support/daemon.js'

const KILLS = Number(process.env['KILLS'] ?? 200)
const SEED = Number(process.env['SEED'] ?? randomBytes(4).readUInt32LE())
const LIFE_MS_MAX = 400
const FILE_BYTES_MAX = 200_000

/** Seeded numbers (mulberry32). */
function randomOf(seed: number): (bound: number) => number {
  let state = seed >>> 0
  return bound => {
    state = (state + 0x6d2b79f5) >>> 0
    let z = Math.imul(state ^ (state >>> 15), state | 1)
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61)
    return ((z ^ (z >>> 14)) >>> 0) % bound
  }
}

t.setTimeout(0)
const below = randomOf(SEED)
const directory = await fs.mkdtemp(join(tmpdir(), 'lockstep-kill-'))
const mount = join(directory, 'mnt')
const store = join(directory, 'store')
await fs.mkdir(mount)

/** Bytes of acknowledged files, by path in the store. */
const files = new Map<string, Buffer>()
/** The acknowledged lines of the file that several append to. */
const appended = new Set<string>()
/** Digest of each acknowledged snapshot, taken when it was first seen. */
const snapshots = new Map<string, string | undefined>()
let acknowledged = 0
let next = 0

function someBytes(): Buffer {
  return Buffer.alloc(1 + below(FILE_BYTES_MAX), `${String(next)}:`)
}

async function writeThroughMount(): Promise<void> {
  const name = `/m${String(next++)}`
  const bytes = someBytes()
  await fs.writeFile(join(mount, name), bytes)
  files.set(name, bytes)
}

async function writeThroughWebHdfs(daemon: Daemon): Promise<void> {
  const name = `/w${String(next++)}`
  const bytes = someBytes()
  const base = `${daemon.ready.http}/webhdfs/v1${name}?op=CREATE&user.name=root`
  const first = await request(base, { method: 'PUT' })
  await first.body.dump()
  const location = String(first.headers['location'])
  const second = await request(location, { method: 'PUT', body: bytes })
  await second.body.dump()
  if (second.statusCode === 201) files.set(name, bytes)
}

async function append(): Promise<void> {
  const line = `line ${String(next++)}`
  await fs.appendFile(join(mount, 'log'), `${line}\n`)
  appended.add(line)
}

async function replace(): Promise<void> {
  const [name] = [...files.keys()].slice(-1)
  if (name === undefined) return
  const bytes = files.get(name)
  const target = `/r${String(next++)}`
  files.delete(name)
  await fs.rename(join(mount, name), join(mount, target))
  if (bytes !== undefined) files.set(target, bytes)
}

async function snapshot(): Promise<void> {
  const name = `s${String(next++)}`
  await fs.mkdir(join(mount, '.snapshot', name))
  snapshots.set(name, undefined)
}

/** Does things until told to stop; what fails through WebHDFS was not acknowledged. */
async function load(daemon: Daemon, isOver: () => boolean): Promise<void> {
  while (!isOver()) {
    const choice = below(20)
    if (choice < 8) await writeThroughMount()
    else if (choice < 14) await append()
    else if (choice < 17) await writeThroughWebHdfs(daemon).catch(() => undefined)
    else if (choice < 19) await replace()
    else await snapshot()
    acknowledged++
  }
}

async function digest(folder: string): Promise<string> {
  const hash = createHash('sha256')
  for (const name of (await fs.readdir(folder)).sort()) {
    hash.update(`${name}\0`).update(await fs.readFile(join(folder, name)))
  }
  return hash.digest('hex')
}

/** What is missing or different of all that was acknowledged. */
async function verify(): Promise<string[]> {
  const problems: string[] = []
  for (const [name, bytes] of files) {
    const found = await fs.readFile(join(mount, name)).catch(() => undefined)
    if (found === undefined || !found.equals(bytes)) problems.push(`${name} is not as acknowledged`)
  }
  const log = await fs.readFile(join(mount, 'log'), 'utf8').catch(() => '')
  const lines = new Set(log.split('\n'))
  for (const line of appended) if (!lines.has(line)) problems.push(`${line} is not in the log`)
  for (const [name, before] of snapshots) {
    const now = await digest(join(mount, '.snapshot', name)).catch(String)
    if (before !== undefined && before !== now) problems.push(`snapshot ${name} has changed`)
    snapshots.set(name, now)
  }
  return problems
}

/** Keeps the witness, and so the verification, from growing with the number of kills. */
async function forgetOld(): Promise<void> {
  for (const name of [...files.keys()].slice(0, Math.max(0, files.size - 60))) {
    await fs.rm(join(mount, name))
    files.delete(name)
  }
  for (const name of [...snapshots.keys()].slice(0, Math.max(0, snapshots.size - 4))) {
    await fs.rmdir(join(mount, '.snapshot', name))
    snapshots.delete(name)
  }
}

const skip = (await hasFuse()) ? false : 'this machine has no FUSE'

await t.test('nothing acknowledged is lost to kill -9', { skip, timeout: 0 }, async t => {
  t.comment(`SEED=${String(SEED)} KILLS=${String(KILLS)}`)
  let violations = 0
  let daemon = await startDaemon({ store, mount })
  for (let kill = 1; kill <= KILLS && violations === 0; kill++) {
    const served = daemon
    let over = false
    const workers = Promise.allSettled([0, 1, 2].map(() => load(served, () => over)))
    await new Promise(resolve => setTimeout(resolve, below(LIFE_MS_MAX)))
    await daemon.kill()
    over = true
    daemon = await startDaemon({ store, mount })
    const ends = await workers
    const failures = ends.flatMap(end => (end.status === 'rejected' ? [String(end.reason)] : []))
    const problems = [...failures, ...(await verify())]
    violations += problems.length
    for (const problem of problems) t.fail(`after ${String(kill)} kills: ${problem}`)
    if (problems.length > 0) t.comment(`killed:\n${served.log}\nafter it:\n${daemon.log}`)
    await forgetOld()
  }
  t.equal(await daemon.stop(), 0)
  const check = await runCli(['check', store, '--json'])
  t.same((JSON.parse(check.stdout) as { problems: string[] }).problems, [], 'the store is sound')
  t.comment(
    `${String(KILLS)} kills, ${String(acknowledged)} acknowledged, ${String(violations)} violations`,
  )
})

t.teardown(() => fs.rm(directory, { recursive: true, force: true }))
