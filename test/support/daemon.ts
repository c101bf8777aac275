/**
 * Starts `lockstep serve` for a test and always ends it.
 *
 * Invariants:
 * - Every daemon has ports of its own (0 = any unless a test asks for one) and is ended by its
 *   process id: by `stop` or `kill`, at the latest when the test process ends.
 * - A daemon that does not become ready fails the test with all it wrote to standard error.
 */
import { spawn } from 'node:child_process'
import type { ChildProcessByStdio } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import type { Readable } from 'node:stream'
import { cliCommand, runCli } from './cli.js'

const READY_MS_MAX = 60_000
const STOP_MS_MAX = 60_000

type Child = ChildProcessByStdio<null, Readable, Readable>

/** The `ready` line. */
export interface Ready {
  pid: number
  mount: string | null
  hdfs: string | null
  webhdfs: string
  http: string
  recovered: number
}

/** How a daemon is started. */
export interface DaemonOptions {
  /** The store; made first if the directory is empty or missing. */
  store: string
  /** Mount point, which must be there; without it nothing is mounted. */
  mount?: string
  /** Ports; 0 = any. */
  hdfsPort?: number
  dataPort?: number
  httpPort?: number
  /** More arguments of `serve`. */
  args?: string[]
  env?: NodeJS.ProcessEnv
}

/** A running daemon. */
export class Daemon {
  readonly ready: Ready
  readonly #child: Child
  readonly #exit: Promise<number | null>
  readonly #log: string[]

  /** Use `startDaemon`. */
  constructor(ready: Ready, child: Child, exit: Promise<number | null>, log: string[]) {
    this.ready = ready
    this.#child = child
    this.#exit = exit
    this.#log = log
  }

  /** The daemon's process. */
  get pid(): number {
    return this.ready.pid
  }

  /** What it wrote to standard error so far. */
  get log(): string {
    return this.#log.join('')
  }

  /** Ends it in order; resolves to its exit status (null if it had to be killed). */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) this.#child.kill(signal)
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_MS_MAX)
    const status = await this.#exit
    clearTimeout(timer)
    return status
  }

  /** Kills it, as a power cut of the process would. */
  async kill(): Promise<void> {
    await this.stop('SIGKILL')
  }
}

/** Starts a daemon on free ports. Stop it; what a test leaves running is killed at its end. */
export async function startDaemon(options: DaemonOptions): Promise<Daemon> {
  const { store, mount } = options
  if (!existsSync(store) || readdirSync(store).length === 0) await runCli(['init', store])
  const port = (number?: number): string => String(number ?? 0)
  const [command = '', ...words] = cliCommand()
  const args = [
    ...[...words, 'serve', store],
    ...['--hdfs-port', port(options.hdfsPort), '--data-port', port(options.dataPort)],
    ...['--http-port', port(options.httpPort)],
    ...(mount === undefined ? ['--no-mount'] : ['--mount', mount]),
    ...(options.args ?? []),
  ]
  const child = spawn(command, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...options.env },
  })
  const killAtExit = (): void => {
    child.kill('SIGKILL')
  }
  process.once('exit', killAtExit)
  const log: string[] = []
  child.stderr.on('data', (chunk: Buffer) => log.push(chunk.toString()))
  const exit = new Promise<number | null>(resolve => {
    child.on('close', status => {
      process.off('exit', killAtExit)
      resolve(status)
    })
  })
  try {
    return new Daemon(await readyLine(child, exit, log), child, exit, log)
  } catch (error) {
    child.kill('SIGKILL')
    throw error
  }
}

function readyLine(child: Child, exit: Promise<number | null>, log: string[]): Promise<Ready> {
  return new Promise((resolve, reject) => {
    let text = ''
    const timer = setTimeout(() => {
      reject(new Error(`not ready after ${READY_MS_MAX} ms; its log:\n${log.join('')}`))
    }, READY_MS_MAX)
    void exit.then(status => {
      clearTimeout(timer)
      reject(new Error(`ended with status ${String(status)}; its log:\n${log.join('')}`))
    })
    child.on('error', reject)
    child.stdout.on('data', (chunk: Buffer) => {
      text += chunk.toString()
      const line = /^ready (\{.*\})$/m.exec(text)?.[1]
      if (line === undefined) return
      clearTimeout(timer)
      resolve(JSON.parse(line) as Ready)
    })
  })
}
