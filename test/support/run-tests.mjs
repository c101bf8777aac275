/**
 * `npm test`: brings the checkout up to date, then runs the native tests and the TypeScript ones.
 *
 *     npm test                         everything but the long tests
 *     npm run test:long                everything
 *     npm test -- test/cli/*.test.ts   these files only, without the native tests
 *
 * Invariants:
 * - Both parts run even if the first one fails; the exit status tells of either.
 * - The compiled tests run (`dist/test`): types were checked once, when they were compiled.
 */
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import process from 'node:process'
import { root, setUpOrExit } from '../../lib/setup.mjs'

const args = process.argv.slice(2)
const long = args.includes('--long')
const chosen = args.filter(arg => !arg.startsWith('--')).map(path => resolve(path))

setUpOrExit()
const statuses = []
if (chosen.length === 0) statuses.push(runNative())
statuses.push(runTap(chosen.length === 0 ? testFiles(join(root, 'test')) : chosen))
process.exit(statuses.every(status => status === 0) ? 0 : 1)

function runNative() {
  const manifest = join(root, 'native', 'Cargo.toml')
  const cargoTest = ['test', '--manifest-path', manifest, '--no-fail-fast']
  const ignored = long ? ['--', '--include-ignored', '--show-output'] : []
  const workspace = ['--workspace', '--exclude', 'lockstep-node']
  // Outside Node.js its symbols are not there to link with: they are looked up when called.
  const addon = ['-p', 'lockstep-node', '--features', 'napi/dyn-symbols']
  const parts = [workspace, addon].map(which => run('cargo', [...cargoTest, ...which, ...ignored]))
  return Math.max(...parts)
}

function runTap(sources) {
  const tap = join(root, 'node_modules', 'tap', 'dist', 'esm', 'run.mjs')
  const reporter = process.stdout.isTTY ? [] : ['--reporter=tap']
  return run(process.execPath, [tap, 'run', ...reporter, ...sources.map(compiled)])
}

/** The test files below `folder`, without what others bring along and, unless asked for, the long ones. */
function testFiles(folder) {
  const skipped = ['.cache', 'clients', 'fixtures', ...(long ? [] : ['long'])]
  return readdirSync(folder, { withFileTypes: true }).flatMap(entry => {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) return skipped.includes(entry.name) ? [] : testFiles(path)
    return entry.name.endsWith('.test.ts') ? [path] : []
  })
}

function compiled(source) {
  if (!source.endsWith('.ts')) return source
  return join('dist', relative(root, source).replace(/\.ts$/, '.js'))
}

function run(command, commandArgs) {
  const result = spawnSync(command, commandArgs, { cwd: root, stdio: 'inherit', env: process.env })
  if (result.error) {
    process.stderr.write(`lockstep: cannot run ${command}: ${result.error.message}\n`)
    return 1
  }
  return result.status ?? 1
}
