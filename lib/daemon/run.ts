/**
 * Runs a daemon until a signal or a fault ends it.
 *
 * Invariants:
 * - SIGTERM and SIGINT stop it in order; a second one, later, does not wait. After an orderly stop the
 *   exit status is 0.
 * - A stop in which something failed, such as the last commit, has the exit status 1.
 * - A fault that nothing caught stops it too, with exit status 1: a store must not go on being
 *   served by a process in a state nobody foresaw.
 */
import type { Daemon } from './daemon.js'

const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const

/** A further signal this long after the first one asks for an end without order. */
const SECOND_SIGNAL_MS = 2_000
/** How long an orderly stop may take. */
const STOP_MS_MAX = 60_000

/**
 * Starts the daemon, tells `ready`, waits for a signal, stops it. A signal during the start stops
 * it as soon as it has started.
 *
 * @throws what `start` throws.
 */
export async function runUntilSignal(
  start: () => Promise<Daemon>,
  ready: (daemon: Daemon) => void,
): Promise<void> {
  const stopping = new Promise<unknown>(resolve => {
    let first = Infinity
    for (const signal of SIGNALS) {
      process.on(signal, () => {
        // Ctrl-C under npm arrives twice: from the terminal and from npm.
        if (performance.now() - first > SECOND_SIGNAL_MS) process.exit(1)
        first = Math.min(first, performance.now())
        resolve(undefined)
      })
    }
    process.on('uncaughtException', resolve)
    process.on('unhandledRejection', resolve)
  })
  const daemon = await start()
  ready(daemon)
  const fault = await stopping
  if (fault !== undefined)
    daemon.log.fatal({ error: fault }, 'a fault that nothing caught; stopping')
  const timer = setTimeout(() => {
    daemon.log.error('the stop took too long')
    process.exit(1)
  }, STOP_MS_MAX)
  const isClean = await daemon.stop()
  clearTimeout(timer)
  // Sockets of clients that never hang up must not keep the process.
  process.exit(fault === undefined && isClean ? 0 : 1)
}
