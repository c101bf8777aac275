/**
 * A flipped bit in a segment, seen from every view of a running daemon: a named error or a checksum
 * exception for the range that it covers, right bytes for all others, and one line in the log.
 */
import { open, mkdtemp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { JavaClient } from '../clients/java.js'
import { runCli } from '../support/cli.js'
import { startDaemon } from '../support/daemon.js'

const MEBIBYTE = 1 << 20
/** The grain that the damaged byte is in, in the file. */
const DAMAGED = { offset: 2 * MEBIBYTE + 512 * 1024, length: 16 * 1024 }

const directory = await mkdtemp(join(tmpdir(), 'lockstep-damage-'))
const store = join(directory, 'store')
const mount = join(directory, 'mnt')
await mkdir(mount)

const bytes = Buffer.alloc(4 * MEBIBYTE)
for (let at = 0; at < bytes.length; at += 4) bytes.writeUInt32LE((at * 2654435761) >>> 0, at)
const local = join(directory, 'local')
await writeFile(local, bytes)

const mounts = await access('/dev/fuse')
let daemon = await startDaemon(mounts ? { store, mount } : { store })
t.teardown(async () => {
  await daemon.stop()
  await rm(directory, { recursive: true, force: true })
})

/** Runs the command line against the daemon. */
function cli(...args: string[]): ReturnType<typeof runCli> {
  return runCli(args, { store, allowFailure: true })
}

async function access(path: string): Promise<boolean> {
  return await open(path, 'r+').then(
    async file => {
      await file.close()
      return true
    },
    () => false,
  )
}

/** Flips a bit of the file's bytes in the segment they lie in. */
async function damage(): Promise<void> {
  const needle = bytes.subarray(DAMAGED.offset + 100, DAMAGED.offset + 164)
  const segments = join(store, 'segments')
  for (const name of await readdir(segments)) {
    const path = join(segments, name)
    const at = (await readFile(path)).indexOf(needle)
    if (at < 0) continue
    const file = await open(path, 'r+')
    const wrong = (needle[0] ?? 0) ^ 1
    await file.write(Uint8Array.of(wrong), 0, 1, at)
    await file.close()
    return
  }
  t.fail('the bytes are in no segment')
}

await t.test('a file with a snapshot gets a damaged byte', async t => {
  for (const path of ['/file', '/whole']) t.equal((await cli('put', local, path)).status, 0)
  t.equal((await cli('snapshot', 'create', '/', 'before')).status, 0)
  // A daemon of its own, so that nothing is cached anywhere.
  await daemon.stop()
  await damage()
  daemon = await startDaemon(mounts ? { store, mount } : { store })
})

const withMount = { skip: mounts ? false : 'no /dev/fuse here' }
await t.test('the mount answers EIO for the range, and the rest is right', withMount, async t => {
  const file = await open(join(mount, 'file'), 'r')
  const part = Buffer.alloc(4096)
  const read = file.read(part, 0, 4096, DAMAGED.offset + 4096)
  await t.rejects(read, { code: 'EIO' })
  for (const at of [0, MEBIBYTE, 3 * MEBIBYTE]) {
    await file.read(part, 0, 4096, at)
    t.ok(part.equals(bytes.subarray(at, at + 4096)), `bytes at ${String(at)}`)
  }
  await file.close()
  const snapshot = readFile(join(mount, '.snapshot', 'before', 'file'))
  await t.rejects(snapshot, { code: 'EIO' })
  t.ok((await readFile(join(mount, 'whole'))).equals(bytes), 'another file')
})

await t.test("Hadoop's client ends with a checksum exception, and reads the rest", async t => {
  // It asks three times, after a while that grows from this.
  const properties = { 'dfs.client.retry.window.base': '10' }
  const java = await JavaClient.start(daemon.ready.hdfs ?? '', properties)
  t.teardown(() => java.close())
  const failed = await java.shell('-get', '/file', join(directory, 'got'))
  t.not(failed.exit, 0)
  t.match(`${failed.stderr}\n${java.log()}`, /ChecksumException|Checksum error/)
  t.match(failed.stderr, /Checksum CRC32C not matched for file \/file at position 2621440/)
  await t.rejects(readFile(join(directory, 'got')), { code: 'ENOENT' }, 'nothing was stored')
  await java.shellOk('-get', '/whole', join(directory, 'whole'))
  t.ok((await readFile(join(directory, 'whole'))).equals(bytes))
  const sum = await java.shell('-checksum', '/file')
  t.not(sum.exit, 0, 'there is no checksum of damaged bytes')
})

await t.test('WebHDFS refuses the range, or ends short; never wrong bytes', async t => {
  const base = `${daemon.ready.http}/webhdfs/v1/file?op=OPEN&user.name=root`
  const at = (offset: number): string => `${base}&offset=${String(offset)}&length=8192`
  const refused = await fetch(at(DAMAGED.offset))
  t.not(refused.status, 200)
  const answer = (await refused.json()) as { RemoteException: { exception: string } }
  t.equal(answer.RemoteException.exception, 'ChecksumException')
  const good = await fetch(at(MEBIBYTE))
  const expected = bytes.subarray(MEBIBYTE, MEBIBYTE + 8192)
  t.ok(Buffer.from(await good.arrayBuffer()).equals(expected))
  const received: Uint8Array[] = []
  const whole = async (): Promise<void> => {
    const response = await fetch(base)
    for await (const chunk of response.body ?? []) received.push(chunk as Uint8Array)
  }
  await t.rejects(whole(), 'the body breaks off')
  const start = Buffer.concat(received)
  t.ok(start.equals(bytes.subarray(0, start.length)), 'and is right up to there')
})

await t.test('the command line names file and range', async t => {
  const failed = await cli('get', '/file', join(directory, 'cli'))
  t.equal(failed.status, 1)
  t.match(failed.stderr, /ERR_LOCKSTEP_CORRUPT.*\/file/)
  t.match(failed.stderr, /bytes \d+ to \d+ of the file/)
})

await t.test('the log has one line for it', t => {
  const lines = daemon.log.split('\n').filter(line => line.includes('ERR_LOCKSTEP_CORRUPT'))
  t.equal(lines.length, 1, lines.join('\n'))
  t.end()
})

await t.test('a scrub through the daemon and a check name it', async t => {
  const range = { offset: DAMAGED.offset, length: DAMAGED.length }
  const expected = [
    { path: '/file', ...range },
    { path: '/.snapshot/before/file', snapshot: '/.snapshot/before', ...range },
  ]
  const scrub = await cli('scrub', '--json')
  t.equal(scrub.status, 1)
  const found = JSON.parse(scrub.stdout) as { complete: boolean; problems: unknown[] }
  t.match(found, { complete: true, problemCount: 1, problems: [{ affected: expected }] })
  t.match(JSON.parse((await cli('scrub', '--status', '--json')).stdout), {
    complete: true,
    problemCount: 1,
  })
  await daemon.stop()
  const check = await runCli(['check', store], { allowFailure: true })
  t.equal(check.status, 1)
  t.match(check.stdout, /\/file: bytes 2621440 to 2637823/)
  t.match(check.stdout, /\.snapshot\/before\/file: bytes 2621440 to 2637823/)
})

await t.test('a repair plans first, mends what it can, and says what stays', async t => {
  const [segment = ''] = (await readdir(join(store, 'segments'))).sort()
  const file = await open(join(store, 'segments', segment), 'r+')
  const { size } = await file.stat()
  await file.write('?', size - 40)
  await file.close()
  const plan = await runCli(['repair', store])
  t.match(plan.stdout, /write the footers of 1 segments? anew/)
  t.match(plan.stdout, /\/file: bytes 2621440 to 2637823/)
  t.match(plan.stdout, /--yes/)
  t.notOk(
    (await readdir(store)).some(name => name.startsWith('repair-')),
    'nothing was done',
  )
  const done = await runCli(['repair', store, '--yes', '--json'])
  t.match(JSON.parse(done.stdout), { remaining: [{ kind: 'bytes' }], kept: /repair-/ })
  const check = await runCli(['check', store, '--json'], { allowFailure: true })
  t.match(JSON.parse(check.stdout), { problemCount: 1, problems: [{ kind: 'bytes' }] })
})
