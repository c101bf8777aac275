/** Runs the `lockstep` command as a user does: in a process of its own. */
import { spawn } from 'node:child_process'
import { cliPath } from './paths.js'

const TIMEOUT_MS = 300_000

/** What a command did. */
export interface CliResult {
  /** Exit status; null if it was killed. */
  status: number | null
  stdout: string
  stderr: string
}

/** How a command runs. */
export interface CliOptions {
  /** Becomes `LOCKSTEP_STORE`. */
  store?: string
  /** Standard input. */
  input?: string | Uint8Array
  cwd?: string
  env?: NodeJS.ProcessEnv
  /** An exit status other than 0 is a result, not an exception. */
  allowFailure?: boolean
  /** It is killed after that long. */
  timeoutMs?: number
}

/** The words that start the command line. */
export function cliCommand(): string[] {
  return [process.execPath, cliPath]
}

/** Runs `lockstep ARGS` to its end; throws unless it succeeds or `allowFailure` was given. */
export async function runCli(args: string[], options: CliOptions = {}): Promise<CliResult> {
  const result = await start(args, options)
  if (result.status === 0 || options.allowFailure === true) return result
  throw new Error(`lockstep ${args.join(' ')}: status ${String(result.status)}: ${result.stderr}`)
}

/** As `runCli`, with `--json`; resolves to what was printed. */
export async function cliJson(args: string[], options: CliOptions = {}): Promise<unknown> {
  return JSON.parse((await runCli([...args, '--json'], options)).stdout) as unknown
}

function start(args: string[], options: CliOptions): Promise<CliResult> {
  // Undefined takes the variable away: a test never works on the store of who runs it.
  const env = { ...process.env, ...options.env, LOCKSTEP_STORE: options.store }
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [cliPath, ...args], {
      env,
      cwd: options.cwd,
      stdio: 'pipe',
      timeout: options.timeoutMs ?? TIMEOUT_MS,
      killSignal: 'SIGKILL',
    })
    const stdout: Buffer[] = []
    const stderr: Buffer[] = []
    child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk))
    child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk))
    // A command that fails early does not read its input: that is not this test's failure.
    child.stdin.on('error', () => undefined)
    child.stdin.end(options.input ?? '')
    child.on('error', reject)
    child.on('close', status => {
      resolve({
        status,
        stdout: Buffer.concat(stdout).toString(),
        stderr: Buffer.concat(stderr).toString(),
      })
    })
  })
}
