/**
 * Hadoop's own client, unmodified, as a child process: one JVM that runs many commands.
 *
 * Invariants:
 * - Maven runs only when its inputs changed or a jar is missing; what it made stays in `test/.cache`.
 * - Requests of one JVM run one after the other, in the order of the calls.
 * - The child is ended by its own process id, and never outlives `close`.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { access, mkdir, readFile, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { cacheDirectory, clientsDirectory, exclusively, run } from './process.js'

const PROJECT = join(clientsDirectory, 'java')
const CACHE = join(cacheDirectory, 'java')
const CLASSES = join(CACHE, 'target', 'classes')
const CLASSPATH_FILE = join(CACHE, 'classpath.txt')
const STAMP_FILE = join(CACHE, 'stamp')
const STDERR_LINES_KEPT = 200

/** What one run of FsShell did. `stdout` holds the first megabyte, the digest is over all of it. */
export interface ShellResult {
  exit: number
  stdoutBytes: number
  stdoutSha256: string
  stdout: string
  stderr: string
}

/** One line of the scripted scenario: what a step found, or the exception it ended with. */
export interface ScenarioLine {
  step: string
  value?: unknown
  error?: string
  message?: string
  stack?: string
  milliseconds: number
}

/** Times of one large file written and read by the Java client, checksums on. */
export interface ThroughputResult {
  bytes: number
  putSeconds: number
  getSeconds: number
  putMegabytesPerSecond: number
  getMegabytesPerSecond: number
  crc32cWritten: string
  crc32cRead: string
}

type Answer = Record<string, unknown>

interface Pending {
  lines: Answer[]
  resolve: (lines: Answer[]) => void
  reject: (error: Error) => void
}

/** A running JVM with Hadoop's client in it. */
export class JavaClient implements AsyncDisposable {
  readonly #child: ChildProcess
  readonly #pending: Pending[] = []
  readonly #stderr: string[] = []
  readonly #exited: Promise<void>

  private constructor(child: ChildProcess) {
    this.#child = child
    this.#exited = new Promise(resolve => {
      child.once('exit', (code, signal) => {
        this.#fail(new Error(`the JVM ended (${signal ?? String(code)})\n${this.log()}`))
        resolve()
      })
    })
    if (child.stdout === null || child.stderr === null) throw new Error('the JVM has no pipes')
    createInterface({ input: child.stdout }).on('line', line => {
      this.#answer(line)
    })
    createInterface({ input: child.stderr }).on('line', line => {
      this.#stderr.push(line)
      if (this.#stderr.length > STDERR_LINES_KEPT) this.#stderr.shift()
    })
  }

  /**
   * Starts a JVM whose default file system is `uri`.
   *
   * @param properties - Hadoop configuration to set beside Hadoop's own defaults.
   * @param user - The user name that the client announces; by default the one who runs the test.
   */
  static async start(
    uri: string,
    properties: Record<string, string> = {},
    user?: string,
  ): Promise<JavaClient> {
    const classpath = await javaClasspath()
    const settings = Object.entries(properties).map(([key, value]) => `${key}=${value}`)
    const flags = ['-Xmx768m', '-XX:+UseParallelGC', '-Dfile.encoding=UTF-8']
    const env = { ...process.env, LC_ALL: 'C.UTF-8' }
    const child = spawn(
      'java',
      [...flags, '-cp', classpath, 'io.lockstep.test.Main', uri, ...settings],
      {
        stdio: ['pipe', 'pipe', 'pipe'],
        env: user === undefined ? env : { ...env, HADOOP_USER_NAME: user },
      },
    )
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve)
      child.once('error', reject)
    })
    return new JavaClient(child)
  }

  /** Runs `hdfs dfs` with these arguments. */
  async shell(...words: string[]): Promise<ShellResult> {
    const last = lastOf(await this.#request(['shell', ...words]))
    if (typeof last['exit'] !== 'number') throw failure(last)
    return last as unknown as ShellResult
  }

  /** Like {@link shell}, but an exit status other than 0 throws with what the shell printed. */
  async shellOk(...words: string[]): Promise<ShellResult> {
    const result = await this.shell(...words)
    if (result.exit !== 0) {
      const said = `${result.stdout.slice(0, 2000)}\n${result.stderr}\n${this.log()}`
      throw new Error(`hdfs dfs ${words.join(' ')}: exit status ${String(result.exit)}\n${said}`)
    }
    return result
  }

  /** `hdfs dfsadmin -allowSnapshot`. */
  async allowSnapshot(path: string): Promise<void> {
    const last = lastOf(await this.#request(['allow-snapshot', path]))
    if (last['error'] !== undefined) throw failure(last)
  }

  /** `hdfs snapshotDiff`: lines such as `M ./a` and `R ./a -> ./b`. An empty name is the present. */
  async snapshotDiff(path: string, from: string, to: string): Promise<string[]> {
    const last = lastOf(await this.#request(['snapshot-diff', path, from, to]))
    if (last['error'] !== undefined) throw failure(last)
    return last['entries'] as string[]
  }

  /** Runs the scripted scenario in `directory`: all steps, or only those named. */
  async scenario(directory: string, ...steps: string[]): Promise<ScenarioLine[]> {
    const lines = await this.#request(['scenario', directory, ...steps])
    const last = lastOf(lines)
    if (last['error'] !== undefined) throw failure(last)
    return lines.slice(0, -1) as unknown as ScenarioLine[]
  }

  /** Writes a file of `bytes` random bytes and reads it back. */
  async throughput(path: string, bytes: number): Promise<ThroughputResult> {
    const last = lastOf(await this.#request(['throughput', path, String(bytes)]))
    if (last['error'] !== undefined) throw failure(last)
    return last as unknown as ThroughputResult
  }

  /** The newest lines that the JVM wrote to its standard error. */
  log(): string {
    return this.#stderr.join('\n')
  }

  /** Ends the JVM; requests that still run are rejected. */
  async close(): Promise<void> {
    this.#child.stdin?.end()
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 5000)
    await this.#exited
    clearTimeout(timer)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #request(words: string[]): Promise<Answer[]> {
    return new Promise((resolve, reject) => {
      if (this.#child.exitCode !== null || this.#child.signalCode !== null) {
        reject(new Error(`the JVM has ended\n${this.log()}`))
        return
      }
      this.#pending.push({ lines: [], resolve, reject })
      this.#child.stdin?.write(words.map(word => encodeURIComponent(word)).join(' ') + '\n')
    })
  }

  #answer(line: string): void {
    const [current] = this.#pending
    if (current === undefined || !line.startsWith('{')) {
      this.#stderr.push(line)
      return
    }
    const answer = JSON.parse(line) as Answer
    current.lines.push(answer)
    if (answer['done'] === true) {
      this.#pending.shift()
      current.resolve(current.lines)
    }
  }

  #fail(error: Error): void {
    for (const pending of this.#pending.splice(0)) pending.reject(error)
  }
}

function lastOf(lines: Answer[]): Answer {
  return lines.at(-1) ?? {}
}

function failure(answer: Answer): Error {
  return new Error(
    `${String(answer['error'])}: ${String(answer['message'])}\n${String(answer['stack'])}`,
  )
}

let classpath: Promise<string> | undefined

/**
 * The class path with Hadoop's client and our programs, made by Maven at first need.
 * Costs a download once, a compilation when a source changed, and nothing otherwise.
 */
export function javaClasspath(): Promise<string> {
  classpath ??= exclusively('java', prepare)
  return classpath
}

async function prepare(): Promise<string> {
  const stamp = await digestOf(PROJECT)
  const known = await readFile(STAMP_FILE, 'utf8').catch(() => '')
  if (known !== stamp || !(await jarsExist())) {
    await mkdir(CACHE, { recursive: true })
    await run('mvn', ['-q', '-B', 'compile', 'dependency:build-classpath',
      `-Dmdep.outputFile=${CLASSPATH_FILE}`], { cwd: PROJECT }) // prettier-ignore
    await writeFile(STAMP_FILE, stamp)
  }
  return `${CLASSES}:${await readFile(CLASSPATH_FILE, 'utf8')}`
}

async function jarsExist(): Promise<boolean> {
  const jars = (await readFile(CLASSPATH_FILE, 'utf8').catch(() => '')).split(':')
  const missing = await Promise.all(
    [CLASSES, ...jars].map(jar => access(jar).then(() => false, () => true)), // prettier-ignore
  )
  return !missing.includes(true)
}

async function digestOf(directory: string): Promise<string> {
  const hash = createHash('sha256')
  const entries = await readdir(directory, { recursive: true, withFileTypes: true })
  const files = entries.filter(entry => entry.isFile()).map(e => join(e.parentPath, e.name))
  for (const file of files.sort()) {
    hash.update(`${file}\0`).update(await readFile(file))
  }
  return hash.digest('hex')
}
