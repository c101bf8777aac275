/**
 * Hadoop's FileSystem API against a running daemon: every call of a scripted scenario finds what it
 * finds on a real HDFS, exceptions by class and message included.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { JavaClient, type ScenarioLine } from '../clients/java.js'
import { python } from '../clients/python.js'
import { startDaemon } from '../support/daemon.js'
import { DIFFERENT_HERE, EXPECTED } from './scenario-expected.js'

const MEBIBYTE = 1 << 20

const directory = await mkdtemp(join(tmpdir(), 'lockstep-scenario-'))
const daemon = await startDaemon({ store: join(directory, 'store') })
const java = await JavaClient.start(daemon.ready.hdfs ?? '')

t.teardown(async () => {
  await java.close()
  await daemon.stop()
  await rm(directory, { recursive: true, force: true })
})

function check(t: Test, line: ScenarioLine): void {
  const expected = EXPECTED[line.step]
  if (expected === undefined) {
    t.fail(`${line.step} has no expectation`)
  } else if ('value' in expected) {
    const detail = `${line.error ?? ''} ${line.message ?? ''}\n${line.stack ?? ''}`
    t.same(line.value, expected.value, line.step, { detail })
  } else {
    const detail = `${JSON.stringify(line.value ?? null)} ${line.message ?? ''}`
    t.equal(line.error, expected.error, line.step, { detail })
    if (expected.message !== undefined) t.match(line.message, expected.message, line.step)
  }
}

await t.test('every step finds what it finds on a real HDFS', async t => {
  const lines = await java.scenario('/scenario')
  for (const line of lines) check(t, line)
  t.same(lines.map(line => line.step).sort(), Object.keys(EXPECTED).sort(), 'every step ran')
  for (const [step, { reason }] of Object.entries(DIFFERENT_HERE)) t.comment(`${step}: ${reason}`)
})

await t.test('a file of 256 MiB goes in and out with the right checksum', async t => {
  const result = await java.throughput('/large', 256 * MEBIBYTE)
  const { putMegabytesPerSecond: put, getMegabytesPerSecond: get } = result
  t.comment(
    `put ${put.toFixed(0)} MB/s, get ${get.toFixed(0)} MB/s (client and server on one machine)`,
  )
  t.equal(result.bytes, 256 * MEBIBYTE)
  t.equal(result.crc32cRead, result.crc32cWritten)
})

await t.test('hdfs-native makes, lists, renames, stats and removes', async t => {
  t.same(await python('hdfs-native', daemon.ready.hdfs ?? '', 'exercise', '/rust'), {
    length: 5,
    permission: '0o600',
    modified: 1_111_111_111_000,
    names: ['/rust/one/two'],
    summary: [5, 1, 3],
    missing: 'FileNotFoundError',
    deleted: true,
  })
})

await t.test('fsspec webhdfs makes, lists, renames, stats and removes', async t => {
  t.same(await python('webhdfs', daemon.ready.webhdfs, 'exercise', '/web'), {
    length: 5,
    permission: '600',
    type: 'file',
    names: ['/web/one/two'],
    summary: [5, 1, 3],
    missing: 'FileNotFoundError',
    left: false,
  })
})
