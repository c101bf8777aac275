/**
 * Where the daemon listens.
 *
 * Invariant: without authentication nobody but this machine is served. Every client is who it says
 * it is, so another machine must not be able to say anything.
 */
import { isIP, isIPv6 } from 'node:net'
import { codeOf, errorFor } from '../errors.js'

/**
 * Refuses a host that is not this machine's loopback.
 *
 * @throws `ERR_LOCKSTEP_LOOPBACK_ONLY`.
 */
export function checkLoopback(host: string): void {
  if (isLoopback(host)) return
  throw errorFor(
    'ERR_LOCKSTEP_LOOPBACK_ONLY',
    `--host ${host} would serve other machines, and no authentication is configured; ` +
      'use a loopback address such as 127.0.0.1',
  )
}

/** Whether only this machine can reach `host`. */
export function isLoopback(host: string): boolean {
  if (host === 'localhost' || host === '::1') return true
  return isIP(host) === 4 && host.startsWith('127.')
}

/** The URI of a service, with brackets around an IPv6 address. */
export function serviceUri(scheme: string, host: string, port: number): string {
  return `${scheme}://${isIPv6(host) ? `[${host}]` : host}:${port}`
}

/** Makes of a failure to listen on a port one line that says what to do. */
export function portError(error: unknown, port: number, option: string): unknown {
  const code = codeOf(error)
  const cause = { cause: error }
  if (code === 'EADDRINUSE') {
    const what = `port ${port} is taken; stop what uses it or choose another with ${option} (0 = any)`
    return errorFor('EADDRINUSE', what, cause)
  }
  if (code === 'EACCES') {
    const what = `port ${port} is not for this user; choose another with ${option} (0 = any)`
    return errorFor('EACCES', what, cause)
  }
  return error
}
