/**
 * A Lockstep daemon as its own process, as users run it.
 *
 * Invariant: the daemon is ended by its process id, and never outlives the bench.
 */
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

/** What the daemon prints when it answers. */
export interface Ready {
  readonly pid: number
  readonly mount: string | null
  readonly hdfs: string | null
  readonly webhdfs: string | null
  readonly http: string | null
}

const START_MS_MAX = 60_000
const STOP_MS_MAX = 30_000
/** Of the times in `/proc/PID/stat`, on every Linux that Node.js runs on. */
const TICKS_PER_SECOND = 100

/** A running daemon. */
export class Daemon implements AsyncDisposable {
  readonly ready: Ready
  readonly #child: ChildProcess

  private constructor(child: ChildProcess, ready: Ready) {
    this.#child = child
    this.ready = ready
  }

  /** Makes a store and serves it, mounted where this machine can. */
  static async start(store: string, mountPoint: string): Promise<Daemon> {
    await runCli(['init', store])
    const mount = existsSync('/dev/fuse') ? ['--mount', mountPoint] : ['--no-mount']
    if (mount.includes(mountPoint)) await mkdir(mountPoint, { recursive: true })
    const ports = ['--hdfs-port', '0', '--data-port', '0', '--http-port', '0']
    const child = spawn(process.execPath, [CLI, 'serve', store, ...mount, ...ports], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    return new Daemon(child, await readyOf(child))
  }

  /** Forgets the peak of resident memory so far. */
  async resetPeakMemory(): Promise<void> {
    await writeFile(`/proc/${String(this.ready.pid)}/clear_refs`, '5')
  }

  /** A field of `/proc/PID/status` such as `VmHWM`, in bytes. */
  async memory(field: string): Promise<number> {
    const status = await readFile(`/proc/${String(this.ready.pid)}/status`, 'utf8')
    const found = new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(status)
    return found === null ? Number.NaN : Number(found[1]) * 1024
  }

  /** Processor time of all its threads so far, ended ones too. */
  async cpuSeconds(): Promise<number> {
    const stat = await readFile(`/proc/${String(this.ready.pid)}/stat`, 'utf8')
    // The name, in parentheses, may hold anything; the state is the first field behind it.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null) return
    const exited = once(this.#child, 'exit')
    this.#child.kill('SIGTERM')
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_MS_MAX)
    await exited
    clearTimeout(timer)
  }
}

const CLI = fileURLToPath(new URL('../../../lib/cli/lockstep.mjs', import.meta.url))

async function runCli(words: string[]): Promise<void> {
  const child = spawn(process.execPath, [CLI, ...words], { stdio: ['ignore', 'ignore', 'inherit'] })
  const [status] = (await once(child, 'exit')) as [number | null]
  if (status !== 0) throw new Error(`lockstep ${words.join(' ')} ended with ${String(status)}`)
}

function readyOf(child: ChildProcess): Promise<Ready> {
  return new Promise((resolve, reject) => {
    let said = ''
    const fail = (why: string): void => {
      child.kill('SIGKILL')
      reject(new Error(`the daemon ${why}\n${said}`))
    }
    const timer = setTimeout(() => {
      fail('did not become ready')
    }, START_MS_MAX)
    child.once('exit', status => {
      clearTimeout(timer)
      fail(`ended with ${String(status)}`)
    })
    child.stderr?.on('data', (text: Buffer) => {
      said = (said + text.toString()).slice(-4000)
    })
    if (child.stdout === null) return
    createInterface({ input: child.stdout }).on('line', line => {
      if (!line.startsWith('ready ')) return
      clearTimeout(timer)
      resolve(JSON.parse(line.slice('ready '.length)) as Ready)
    })
  })
}
