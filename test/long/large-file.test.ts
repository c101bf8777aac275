/**
 * The daemon's memory stays bounded while files of many gigabytes pass through every view, and the
 * Java client's rate for 1 GiB is what the project promises.
 */
import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, open, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { JavaClient } from '../clients/java.js'
import { digestThrough, hasFuse } from '../e2e/posix-side.js'
import * as host from 'node:fs/promises'
import { startDaemon } from '../support/daemon.js'

const GIBIBYTE = 2 ** 30
const LARGE_BYTES = 4 * GIBIBYTE
const PEAK_BYTES_MAX = 512 * 2 ** 20
const BUFFER_BYTES = 1 << 20

const directory = await mkdtemp(join(tmpdir(), 'lockstep-large-'))
const mount = join(directory, 'mnt')
await mkdir(mount)
const fuse = await hasFuse()
const store = join(directory, 'store')
const daemon = await startDaemon(fuse ? { store, mount } : { store })
const java = await JavaClient.start(daemon.ready.hdfs ?? '')

t.teardown(async () => {
  await java.close()
  await daemon.stop()
  await rm(directory, { recursive: true, force: true })
})

/** The most memory that the daemon ever held, as the kernel counts it. */
async function peakBytes(): Promise<number> {
  const status = await readFile(`/proc/${String(daemon.ready.pid)}/status`, 'utf8')
  const [, kibibytes] = /^VmHWM:\s+(\d+) kB$/m.exec(status) ?? []
  return Number(kibibytes) * 1024
}

async function sayPeak(t: Test, after: string): Promise<void> {
  const peak = await peakBytes()
  t.comment(`peak memory of the daemon after ${after}: ${(peak / 2 ** 20).toFixed(0)} MiB`)
  t.ok(peak < PEAK_BYTES_MAX, `under 512 MiB after ${after}`)
}

await t.test('4 GiB through hdfs://', async t => {
  const { putMegabytesPerSecond, getMegabytesPerSecond, ...rest } = await java.throughput(
    '/hdfs',
    LARGE_BYTES,
  )
  t.comment(
    `put ${putMegabytesPerSecond.toFixed(0)} MB/s, get ${getMegabytesPerSecond.toFixed(0)} MB/s`,
  )
  t.equal(rest.crc32cRead, rest.crc32cWritten)
  await sayPeak(t, '4 GiB through hdfs://')
})

await t.test('4 GiB through the mount', async t => {
  if (!fuse) {
    t.comment('no /dev/fuse here: there is no mount to write through')
    return
  }
  const path = join(mount, 'posix')
  const hash = createHash('sha256')
  const buffer = Buffer.allocUnsafe(BUFFER_BYTES)
  const file = await open(path, 'w')
  for (let at = 0; at < LARGE_BYTES; at += BUFFER_BYTES) {
    buffer.fill(at / BUFFER_BYTES + 1)
    buffer.writeUInt32LE(at / BUFFER_BYTES, 0)
    hash.update(buffer)
    await file.write(buffer, 0, BUFFER_BYTES, at)
  }
  await file.sync()
  await file.close()
  t.same(await digestThrough(host, path), [LARGE_BYTES, hash.digest('hex')])
  await sayPeak(t, '4 GiB through the mount')
})

await t.test('1 GiB in and out by the Java client, medians of three', async t => {
  const rates: [number, number][] = []
  for (let round = 0; round < 3; round += 1) {
    const result = await java.throughput(`/rate${String(round)}`, GIBIBYTE)
    rates.push([result.putMegabytesPerSecond, result.getMegabytesPerSecond])
  }
  const median = (values: number[]): number => values.sort((a, b) => a - b)[1] ?? 0
  const put = median(rates.map(([rate]) => rate))
  const get = median(rates.map(([, rate]) => rate))
  t.comment(`put ${put.toFixed(0)} MB/s, get ${get.toFixed(0)} MB/s`)
})
