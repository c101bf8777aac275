import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const MAIN = fileURLToPath(new URL('../bench/main.js', import.meta.url))

interface Row {
  question: string
  work: string
  subject: string
  value: number
  durability: string
  checksum: string
}

async function bench(...words: string[]): Promise<{ status: number | null; output: string }> {
  const child = spawn(process.execPath, [MAIN, ...words], { stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (bytes: Buffer) => {
      output += bytes.toString()
    })
  }
  const [status] = (await once(child, 'close')) as [number | null]
  return { status, output }
}

void t.test('a tiny run of every benchmark gives figures, durability and checksums', async t => {
  const directory = t.testdir()
  const { status, output } = await bench('--tiny', '--results', directory)
  t.equal(status, 0, output)
  const [file = ''] = await readdir(directory)
  const result = JSON.parse(await readFile(join(directory, file), 'utf8')) as { figures: Row[] }
  const { figures } = result
  t.same(
    [...new Set(figures.map(row => row.question))],
    ['sequential', 'creation', 'snapshots', 'memory', 'durability'],
  )
  for (const row of figures) {
    t.ok(Number.isFinite(row.value), `${row.subject}: ${row.work}`)
    t.match(row.checksum, /^[0-9a-f]{64}$/)
    t.match(row.durability, /^(acknowledged|synced|read only)$/)
  }
  for (const question of ['sequential', 'creation', 'durability']) {
    const works = new Map<string, Set<string>>()
    for (const row of figures.filter(row => row.question === question)) {
      works.set(row.work, (works.get(row.work) ?? new Set()).add(row.checksum))
    }
    for (const [work, checksums] of works) {
      t.equal(checksums.size, 1, `every subject left the same bytes: ${work}`)
    }
  }
})

void t.test('a question that does not exist is a usage error', async t => {
  const { status, output } = await bench('--only', 'nonsense')
  t.equal(status, 2)
  t.match(output, /no question is called nonsense/)
})
