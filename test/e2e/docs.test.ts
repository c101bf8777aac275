/**
 * The documents tell the truth about the tree: each error code has its heading, each statement of
 * SEMANTICS.md names a test that is there, and no link between documents is dead.
 */
import { existsSync } from 'node:fs'
import { readFile, readdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import t from 'tap'
import { projectDirectory } from '../clients/process.js'

const SOURCES = /\.(rs|ts|mjs)$/
const CODE = /\bERR_LOCKSTEP_[A-Z_]*[A-Z]\b/g
const DOCUMENTS = ['README.md', 'docs/ARCHITECTURE.md', 'docs/FORMAT.md', 'docs/SEMANTICS.md']

function read(path: string): Promise<string> {
  return readFile(join(projectDirectory, path), 'utf8')
}

async function sourcesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(join(projectDirectory, folder), { withFileTypes: true })
  const found: string[] = []
  for (const entry of entries) {
    const path = `${folder}/${entry.name}`
    if (SOURCES.test(entry.name)) found.push(path)
    else if (entry.isDirectory() && entry.name !== 'target')
      found.push(...(await sourcesBelow(path)))
  }
  return found
}

await t.test('every error code in the sources has a heading in ERRORS.md', async t => {
  const headings = new Set(
    [...(await read('docs/ERRORS.md')).matchAll(/^## (\S+)$/gm)].map(m => m[1]),
  )
  const used = new Set<string>()
  for (const path of [...(await sourcesBelow('lib')), ...(await sourcesBelow('native'))]) {
    for (const [code] of (await read(path)).matchAll(CODE)) used.add(code)
  }
  for (const [, code] of (await read('native/vfs/src/error.rs')).matchAll(
    /= \d+, "(E[A-Z0-9]+)"/g,
  )) {
    used.add(code ?? '')
  }
  t.same([...used].filter(code => !headings.has(code)).sort(), [], 'codes without a heading')
  const own = [...headings].filter(code => code?.startsWith('ERR_LOCKSTEP_') === true)
  t.same(own.filter(code => !used.has(code ?? '')).sort(), [], 'headings without a code')
})

await t.test('every statement of SEMANTICS.md names tests that are there', async t => {
  const [text = ''] = (await read('docs/SEMANTICS.md')).split('## Not promised yet')
  const statements = text.split('\n').filter(line => /^(\d+\.|-) /.test(line))
  t.ok(statements.length >= 30, 'there are statements')
  const paragraphs = text.split(/\n(?=(?:\d+\.|- |#|\n))/).filter(part => /^(\d+\.|-) /.test(part))
  for (const paragraph of paragraphs) {
    const named = [...paragraph.matchAll(/`((?:test|native)\/[^`]+\.(?:ts|rs))`(?:: "([^"]+)")?/g)]
    t.ok(named.length > 0, `a test for: ${paragraph.slice(0, 60)}`)
    for (const [, path = '', name] of named) {
      const source = await read(path).catch(() => undefined)
      if (source === undefined) t.fail(`${path} is not there`)
      else if (name !== undefined) {
        const flat = name.replace(/\s+/g, ' ')
        t.ok(source.includes(flat), `${path} has "${flat}"`)
      }
    }
  }
})

await t.test('no link between the documents is dead', async t => {
  for (const document of [...DOCUMENTS, 'docs/ERRORS.md', 'CHANGELOG.md']) {
    const text = await read(document)
    for (const [, target = ''] of text.matchAll(/\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)/g)) {
      const path = join(projectDirectory, dirname(document), target)
      t.ok(existsSync(path), `${document} -> ${target}`)
    }
  }
})
