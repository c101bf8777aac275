/**
 * Where the clients' sources and caches lie, and how a program is run to its end.
 *
 * Invariant: everything that a test fetches or builds for itself lies under `test/.cache`.
 */
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const OUTPUT_BYTES_KEPT = 4 << 20

/** The checkout's top directory, wherever this file was compiled to. */
export const projectDirectory = findProject(dirname(fileURLToPath(import.meta.url)))
/** Sources of the clients in other languages. */
export const clientsDirectory = join(projectDirectory, 'test', 'clients')
/** What tests downloaded or built; ignored by git, kept between runs. */
export const cacheDirectory = join(projectDirectory, 'test', '.cache')

function findProject(start: string): string {
  for (let at = start; at !== dirname(at); at = dirname(at)) {
    if (existsSync(join(at, 'package.json')) && existsSync(join(at, 'native'))) return at
  }
  throw new Error(`${start} lies in no checkout`)
}

/** How a program ended and what it wrote (the last megabytes). */
export interface RunResult {
  status: number | null
  stdout: string
  stderr: string
}

/** Options of {@link run} and {@link tryRun}. */
export interface RunOptions {
  cwd?: string
  env?: NodeJS.ProcessEnv
  input?: string
  timeoutMs?: number
}

/** Runs a program to its end, whatever its exit status. */
export function tryRun(
  command: string,
  words: string[],
  options: RunOptions = {},
): Promise<RunResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, words, {
      cwd: options.cwd ?? projectDirectory,
      env: options.env ?? process.env,
      stdio: ['pipe', 'pipe', 'pipe'],
      timeout: options.timeoutMs ?? 600_000,
      killSignal: 'SIGKILL',
    })
    let stdout = ''
    let stderr = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout = (stdout + text).slice(-OUTPUT_BYTES_KEPT)
    })
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr = (stderr + text).slice(-OUTPUT_BYTES_KEPT)
    })
    // A program may end without reading its input: that is its right, and its status tells.
    child.stdin.on('error', () => undefined)
    child.stdin.end(options.input ?? '')
    child.once('error', reject)
    child.once('close', status => {
      resolve({ status, stdout, stderr })
    })
  })
}

/** Runs a program to its end; throws with its output unless its exit status is 0. */
export async function run(
  command: string,
  words: string[],
  options: RunOptions = {},
): Promise<string> {
  const result = await tryRun(command, words, options)
  if (result.status !== 0) {
    const said = `${result.stdout.slice(-4000)}\n${result.stderr.slice(-4000)}`
    throw new Error(`${command} ${words.join(' ')}: exit status ${String(result.status)}\n${said}`)
  }
  return result.stdout
}

/** Does `work` while no other test process does work of the same name; test files run side by side. */
export async function exclusively<T>(name: string, work: () => Promise<T>): Promise<T> {
  const lock = join(cacheDirectory, `${name}.lock`)
  await mkdir(cacheDirectory, { recursive: true })
  while (!(await take(lock))) await delay(200)
  try {
    return await work()
  } finally {
    await rm(lock, { force: true })
  }
}

/** Makes the lock file, unless its owner lives. */
async function take(lock: string): Promise<boolean> {
  try {
    await writeFile(lock, String(process.pid), { flag: 'wx' })
    return true
  } catch {
    const owner = Number(await readFile(lock, 'utf8').catch(() => ''))
    if (owner > 0 && !isAlive(owner)) await rm(lock, { force: true })
    return false
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
