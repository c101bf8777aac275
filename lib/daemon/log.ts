/**
 * The daemon's log: JSON lines on standard error.
 *
 * Invariant: no secrets. Errors are logged by code and message; stacks only at level `debug`.
 */
import { pino } from 'pino'
import type { Logger } from 'pino'
import { codeOf } from '../errors.js'

export type { Logger } from 'pino'

/** Makes the log. */
export function makeLog(level: string): Logger {
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: label => ({ level: label }) },
      serializers: { error: errorFields },
    },
    // Synchronous: what is said last before the end is what one wants to read.
    pino.destination({ dest: 2, sync: true }),
  )

  function errorFields(error: unknown): Record<string, unknown> {
    if (!(error instanceof Error)) return { message: String(error) }
    const fields: Record<string, unknown> = { code: codeOf(error), message: error.message }
    if (level === 'debug' || level === 'trace') fields['stack'] = error.stack
    return fields
  }
}
