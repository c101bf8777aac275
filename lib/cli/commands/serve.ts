/** `lockstep serve`: the daemon. */
import { resolve } from 'node:path'
import { InvalidArgumentError, Option } from 'commander'
import type { Command } from 'commander'
import { checkLoopback } from '../../daemon/address.js'
import type { Daemon, DaemonOptions } from '../../daemon/daemon.js'
import { LOG_LEVELS } from '../../daemon/log-levels.js'

/** The options of `serve`, as commander gives them. */
export interface ServeOptions {
  mount?: string | boolean
  mountHolder: boolean
  mountTimeout: number
  host: string
  hdfsPort: number
  dataPort: number
  httpPort: number
  hdfs: boolean
  logLevel: string
}

/** Adds the command. */
export function addServe(program: Command): void {
  const command = program
    .command('serve')
    .description(
      'serve the store in DIR until SIGTERM; prints one line `ready {...}` when it answers',
    )
    .argument('<dir>', 'directory of the store')
    .option('--mount <path>', 'mount it here')
  addServeOptions(command, 'info').action(async (dir: string, options: ServeOptions) => {
    const mount = typeof options.mount === 'string' ? options.mount : undefined
    await serve(dir, options, mount === undefined ? {} : { path: mount, required: true })
  })
}

/** The options that `serve` and `start` share; `level` is what is logged unless said otherwise. */
export function addServeOptions(command: Command, level: string): Command {
  return command
    .option('--no-mount', 'mount nowhere')
    .option('--no-mount-holder', 'let the mount die with the daemon, however it dies')
    .option(
      '--mount-timeout <seconds>',
      'how long users of the mount wait for the next daemon',
      parseSeconds,
      600,
    )
    .option('--host <address>', 'address to listen on', '127.0.0.1')
    .option('--hdfs-port <port>', 'port of hdfs:// (0 = any)', parsePort, 8020)
    .option('--data-port <port>', 'port of the HDFS data transfer (0 = any)', parsePort, 9866)
    .option('--http-port <port>', 'port of WebHDFS (0 = any)', parsePort, 9870)
    .option('--no-hdfs', 'do not serve hdfs://')
    .addOption(
      new Option('--log-level <level>', 'what to log on standard error')
        .choices([...LOG_LEVELS])
        .default(level),
    )
}

/** Where to mount, and whether a failure to do so is the end. */
export interface MountWish {
  path?: string
  required?: boolean
}

/** Runs the daemon until it is told to stop; `whenReady` runs once everything answers. */
export async function serve(
  dir: string,
  options: ServeOptions,
  mount: MountWish,
  whenReady?: (daemon: Daemon) => void,
): Promise<void> {
  checkLoopback(options.host)
  // Loaded here and not above: the other commands start much faster without all the services.
  const [{ Daemon }, { makeLog }, { runUntilSignal }] = await Promise.all([
    import('../../daemon/daemon.js'),
    import('../../daemon/log.js'),
    import('../../daemon/run.js'),
  ])
  const daemonOptions: DaemonOptions = {
    store: resolve(dir),
    host: options.host,
    hdfsPort: options.hdfsPort,
    dataPort: options.dataPort,
    httpPort: options.httpPort,
    hdfs: options.hdfs,
    log: makeLog(options.logLevel),
  }
  if (mount.path !== undefined) {
    daemonOptions.mount = { path: resolve(mount.path), required: mount.required === true }
    if (options.mountHolder) daemonOptions.mount.holdSeconds = options.mountTimeout
  }
  await runUntilSignal(
    () => Daemon.start(daemonOptions),
    daemon => {
      process.stdout.write(`ready ${JSON.stringify(daemon.ready)}\n`)
      whenReady?.(daemon)
    },
  )
}

function parsePort(text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : NaN
  if (Number.isInteger(port) && port <= 65535) return port
  throw new InvalidArgumentError('a port is a number from 0 to 65535.')
}

function parseSeconds(text: string): number {
  const seconds = /^\d{1,7}$/.test(text) ? Number(text) : 0
  if (seconds > 0) return seconds
  throw new InvalidArgumentError('a number of seconds from 1 to 9999999.')
}
