#!/usr/bin/env node
/**
 * Makes a checkout ready to run: dependencies, native core, compiled TypeScript.
 *
 * Invariants:
 * - Needs nothing but Node.js: it runs before any dependency is there.
 * - Each step is skipped when its inputs are those of its last success, so that a second run takes
 *   milliseconds; a step that failed leaves no stamp and runs again.
 * - Only `node_modules/`, `lib/binding/`, `native/target/` and `dist/` are written.
 * - Standard output stays untouched: it belongs to the program that is started afterwards.
 */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { homedir } from 'node:os'
import { delimiter, dirname, join, relative } from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'

/** The top directory of the checkout. */
export const root = dirname(dirname(fileURLToPath(import.meta.url)))

/** A step that could not be done; the message is one line for a person. */
export class SetupError extends Error {}

const bindingDir = join(root, 'lib', 'binding')
const distDir = join(root, 'dist')
const HOLDER = 'lockstep-holder'
const nativeStamp = join(bindingDir, '.sources')
const distStamp = join(distDir, '.sources')

/**
 * Does what is missing.
 *
 * @param {{ dependencies?: boolean, native?: boolean, library?: boolean, holder?: boolean }} steps -
 *   Which steps; all unless said otherwise. `holder` is a part of `native`, which asks for it.
 * @throws {SetupError} With one line that says what is missing and what to do.
 */
export function setUp({ dependencies = true, native = true, library = true, holder } = {}) {
  addCargoToPath()
  if (holder) buildHolder()
  if (dependencies) installDependencies()
  if (native) buildNative()
  if (library) buildLibrary()
}

/** Runs a program with its output on standard error; throws unless it ends well. */
function run(what, command, args) {
  process.stderr.write(`lockstep: ${what}\n`)
  const result = spawnSync(command, args, {
    cwd: root,
    stdio: ['ignore', process.stderr.fd, process.stderr.fd],
    env: process.env,
  })
  if (result.error) throw new SetupError(`${what}: cannot run ${command} (${result.error.message})`)
  if (result.signal) throw new SetupError(`${what}: ${command} was ended by ${result.signal}`)
  if (result.status !== 0) throw new SetupError(`${what} failed; its messages are above`)
}

function installDependencies() {
  if (dependenciesMatch()) return
  // Scripts are left out: no dependency needs its own, and ours is the native build below, which
  // this way asks for neither Python nor make nor Node.js headers.
  const quiet = ['--ignore-scripts', '--no-audit', '--no-fund']
  if (existsSync(join(root, 'node_modules'))) {
    run('updating dependencies', npm(), ['install', '--no-save', ...quiet])
  } else {
    run('installing dependencies', npm(), ['ci', ...quiet])
  }
}

function npm() {
  return process.platform === 'win32' ? 'npm.cmd' : 'npm'
}

/** Whether every package that the lock file wants on this machine is installed in that version. */
function dependenciesMatch() {
  const installedLock = join(root, 'node_modules', '.package-lock.json')
  if (!existsSync(installedLock)) return false
  const wanted = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages
  const installed = JSON.parse(readFileSync(installedLock, 'utf8')).packages
  for (const [path, entry] of Object.entries(wanted)) {
    if (path === '' || entry.optional || entry.devOptional || entry.peer) continue
    if (installed[path]?.version !== entry.version) return false
  }
  return true
}

function buildNative() {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const sources = fingerprint(
    ['native'],
    name => /\.(rs|toml|lock|c|h)$/.test(name),
    [],
    scripts['build:native'] + process.arch,
  )
  const built = findBinding() !== undefined
  if (built && readStamp(nativeStamp) === sources) return
  if (!hasCargo()) {
    if (built) {
      process.stderr.write('lockstep: cargo was not found; going on with the core built before\n')
      return
    }
    throw new SetupError(
      'the native core needs Rust 1.90 or later and cargo was not found; install Rust (rustup, or ' +
        "your system's cargo package) and run this again",
    )
  }
  run('building the native core (minutes the first time)', npm(), [
    'run',
    '--silent',
    'build:native',
  ])
  if (findBinding() === undefined) throw new SetupError(`the build left no core in ${bindingDir}`)
  writeStamp(nativeStamp, sources)
}

/** Builds the program that keeps mounts, and puts it beside the core. */
function buildHolder() {
  if (process.platform !== 'linux') return
  const manifest = ['--manifest-path', join(root, 'native', 'Cargo.toml')]
  const args = ['build', '--quiet', '--release', '-p', 'lockstep-holder', ...manifest]
  run('building the holder of mounts', 'cargo', args)
  const asked = ['metadata', '--no-deps', '--offline', '--format-version', '1', ...manifest]
  const { stdout } = spawnSync('cargo', asked, { encoding: 'utf8' })
  const { target_directory: target } = JSON.parse(stdout)
  // Another file under the same name: the one before may be running.
  const [built, program] = [join(target, 'release'), bindingDir].map(dir => join(dir, HOLDER))
  copyFileSync(built, `${program}.new`)
  renameSync(`${program}.new`, program)
}

function findBinding() {
  if (!existsSync(join(bindingDir, 'index.cjs'))) return undefined
  return readdirSync(bindingDir).find(name => name.endsWith('.node'))
}

function addCargoToPath() {
  const home = process.env.CARGO_HOME ?? join(homedir(), '.cargo')
  const path = process.env.PATH ?? ''
  const bin = join(home, 'bin')
  if (!path.split(delimiter).includes(bin)) process.env.PATH = `${path}${delimiter}${bin}`
}

function hasCargo() {
  return spawnSync('cargo', ['--version'], { stdio: 'ignore' }).status === 0
}

function buildLibrary() {
  const folders = ['lib', 'test', 'bench'].filter(name => existsSync(join(root, name)))
  const sources = fingerprint(
    folders,
    name => name.endsWith('.ts'),
    ['tsconfig.json', 'package-lock.json'],
    '',
  )
  if (readStamp(distStamp) === sources) return
  removeOrphans()
  const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
  const state = join(distDir, '.tsbuildinfo')
  run('compiling TypeScript', process.execPath, [
    ...[compiler, '-p', join(root, 'tsconfig.json')],
    ...['--incremental', '--tsBuildInfoFile', state],
  ])
  writeStamp(distStamp, sources)
}

/** Removes compiled files whose source is gone, so that a deleted test does not run on. */
function removeOrphans() {
  if (!existsSync(distDir)) return
  for (const path of filesBelow(distDir, name => /\.(js|d\.ts)$/.test(name))) {
    const source = join(root, relative(distDir, path).replace(/\.(js|d\.ts)$/, '.ts'))
    if (existsSync(source)) continue
    rmSync(path, { force: true })
    rmSync(`${path}.map`, { force: true })
    // What was compiled from it is recorded in the compiler's state, which must forget it too.
    rmSync(join(distDir, '.tsbuildinfo'), { force: true })
  }
}

/** One string for names, sizes and times of the files that a step reads. */
function fingerprint(folders, wanted, files, extra) {
  const hash = createHash('sha256').update(extra)
  const paths = folders.flatMap(folder => filesBelow(join(root, folder), wanted))
  for (const path of [...paths, ...files.map(file => join(root, file))].sort()) {
    const { size, mtimeMs } = statSync(path, { throwIfNoEntry: false }) ?? { size: -1, mtimeMs: 0 }
    hash.update(`${relative(root, path)}\0${String(size)}\0${String(mtimeMs)}\n`)
  }
  return hash.digest('hex')
}

const SKIPPED = new Set(['node_modules', 'target', 'binding', '.cache', 'fixtures'])

function filesBelow(folder, wanted) {
  const found = []
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) {
      if (!SKIPPED.has(entry.name)) found.push(...filesBelow(join(folder, entry.name), wanted))
    } else if (wanted(entry.name)) {
      found.push(join(folder, entry.name))
    }
  }
  return found
}

function readStamp(path) {
  return existsSync(path) ? readFileSync(path, 'utf8') : undefined
}

function writeStamp(path, value) {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, value)
}

/**
 * Runs `setUp` for a command: a failure is one line on standard error and exit status 1.
 *
 * @param {{ dependencies?: boolean, native?: boolean, library?: boolean, holder?: boolean }} [steps] -
 *   As `setUp`.
 */
export function setUpOrExit(steps) {
  try {
    setUp(steps)
  } catch (error) {
    if (!(error instanceof SetupError)) throw error
    process.stderr.write(`lockstep: ERR_LOCKSTEP_SETUP: ${error.message}\n`)
    process.exit(1)
  }
}

if (process.argv[1] !== undefined && fileURLToPath(import.meta.url) === process.argv[1]) {
  const only = process.argv.slice(2).map(option => option.replace(/^--/, ''))
  const all = only.length === 0
  setUpOrExit({
    dependencies: all || only.includes('dependencies'),
    native: all || only.includes('native'),
    library: all || only.includes('library'),
    holder: only.includes('holder'),
  })
}
