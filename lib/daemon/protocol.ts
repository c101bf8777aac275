/**
 * The protocol between command line and daemon: HTTP and JSON over a Unix socket.
 *
 * `POST /v1/OPERATION` with a JSON object answers a JSON object `{"value": ...}`, or lines of JSON:
 * `{"item": ...}` each and `{"end": true}` last. `GET /v1/read` answers a file's bytes, with its
 * attributes in a header; `PUT /v1/write` takes them. A failure is `{"error": {...}}`: as the body,
 * as the last line, or, once bytes have been sent, in the trailer.
 *
 * Invariants:
 * - What arrives is data of strangers: every field is checked here, every size against a limit.
 * - A stream without its last line or its whole body is a failure, never a short success.
 */
import { codeOf, errorFor, LockstepError, systemError } from '../errors.js'
import type { ErrorContext } from '../errors.js'
import type { Control } from './control.js'

/** Longest JSON body of a request, in bytes. */
export const REQUEST_BYTES_MAX = 64 * 1024
/** Longest line of an answer, in bytes. */
export const LINE_BYTES_MAX = 1024 * 1024
/** Longest path, in bytes; what is longer is `ENAMETOOLONG` everywhere. */
export const PATH_BYTES_MAX = 4096
/** Header that carries a file's attributes as base64 of JSON. */
export const ENTRY_HEADER = 'lockstep-entry'
/** Trailer that carries a failure after the first byte as base64 of JSON. */
export const ERROR_TRAILER = 'lockstep-error'

/** A failure on its way to the other side. */
export interface WireError {
  code: string
  message: string
  syscall?: string
  path?: string
  dest?: string
}

/** What goes over the socket for `error`: its code and message, never a stack. */
export function toWire(error: unknown): WireError {
  if (!(error instanceof Error)) return { code: 'EIO', message: 'EIO: unknown failure' }
  const wire: WireError = { code: codeOf(error) ?? 'EIO', message: error.message }
  if (error instanceof LockstepError) {
    if (error.syscall !== undefined) wire.syscall = error.syscall
    if (error.path !== undefined) wire.path = error.path
    if (error.dest !== undefined) wire.dest = error.dest
  }
  return wire
}

/** The error that the other side sent. */
export function fromWire(wire: unknown): LockstepError {
  if (!isRecord(wire) || typeof wire['code'] !== 'string' || typeof wire['message'] !== 'string') {
    return errorFor('ERR_LOCKSTEP_PROTOCOL', 'the daemon answered in a way that is not understood')
  }
  const context: ErrorContext = {}
  for (const name of ['syscall', 'path', 'dest'] as const) {
    const value = wire[name]
    if (typeof value === 'string') context[name] = value
  }
  return errorFor(wire['code'], wire['message'], context)
}

/** Whether `value` is an object with named fields. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** The fields of a request, each checked when it is read. */
export class Fields {
  readonly #values: Record<string, unknown>

  /** @param values - What arrived. */
  constructor(values: Record<string, unknown>) {
    this.#values = values
  }

  /**
   * An absolute path of the namespace.
   *
   * @throws InvalidError `EINVAL` for anything else, `ENAMETOOLONG` past the limit.
   */
  path(name: string): string {
    const value = this.text(name)
    if (!value.startsWith('/') || value.includes('\0')) throw refused(name, 'an absolute path')
    if (Buffer.byteLength(value) > PATH_BYTES_MAX) throw systemError('ENAMETOOLONG')
    return value
  }

  /** Any text; what it may say is the store's to decide. */
  text(name: string): string {
    const value = this.#values[name]
    if (typeof value !== 'string') throw refused(name, 'a string')
    return value
  }

  /** True or false. */
  boolean(name: string): boolean {
    const value = this.#values[name]
    if (typeof value !== 'boolean') throw refused(name, 'true or false')
    return value
  }

  /** A number of things: 0 or more. */
  count(name: string): number {
    const value = this.#values[name]
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) {
      throw refused(name, 'a whole number, 0 or more')
    }
    return value
  }

  /** Permission bits. */
  mode(name: string): number {
    const value = this.#values[name]
    const number = typeof value === 'string' && /^\d{1,4}$/.test(value) ? Number(value) : value
    if (typeof number !== 'number' || !Number.isInteger(number) || number < 0 || number > 0o7777) {
      throw refused(name, 'permission bits')
    }
    return number
  }
}

function refused(name: string, wanted: string): LockstepError {
  return errorFor('EINVAL', `EINVAL: the field "${name}" must be ${wanted}`)
}

/** Operations that answer with one value. */
export const VALUE_OPERATIONS: ReadonlyMap<
  string,
  (control: Control, fields: Fields) => Promise<unknown>
> = new Map<string, (control: Control, fields: Fields) => Promise<unknown>>([
  ['about', control => control.about()],
  ['stat', (control, f) => control.stat({ path: f.path('path'), follow: f.boolean('follow') })],
  [
    'makeDirectory',
    (control, f) =>
      control.makeDirectory({
        path: f.path('path'),
        mode: f.mode('mode'),
        parents: f.boolean('parents'),
      }),
  ],
  [
    'makeLink',
    (control, f) => control.makeLink({ path: f.path('path'), target: f.text('target') }),
  ],
  [
    'remove',
    (control, f) => control.remove({ path: f.path('path'), recursive: f.boolean('recursive') }),
  ],
  [
    'createSnapshot',
    (control, f) => control.createSnapshot({ path: f.path('path'), name: f.text('name') }),
  ],
  ['listSnapshots', (control, f) => control.listSnapshots({ path: f.path('path') })],
  [
    'deleteSnapshot',
    (control, f) => control.deleteSnapshot({ path: f.path('path'), name: f.text('name') }),
  ],
  [
    'renameSnapshot',
    (control, f) =>
      control.renameSnapshot({ path: f.path('path'), name: f.text('name'), to: f.text('to') }),
  ],
  [
    'createClone',
    (control, f) =>
      control.createClone({
        path: f.path('path'),
        snapshot: f.text('snapshot'),
        newPath: f.path('newPath'),
      }),
  ],
  ['createVolume', (control, f) => control.createVolume({ path: f.path('path') })],
  ['listVolumes', control => control.listVolumes()],
  ['deleteVolume', (control, f) => control.deleteVolume({ path: f.path('path') })],
  ['space', (control, f) => control.space({ path: f.path('path') })],
  [
    'startScrub',
    (control, f) =>
      control.startScrub({ rateBytes: f.count('rateBytes'), resume: f.boolean('resume') }),
  ],
  ['scrubStatus', control => control.scrubStatus()],
  ['stopScrub', control => control.stopScrub()],
  ['sync', control => control.sync()],
])

/** Operations that answer with a stream of items. */
export const ITEM_OPERATIONS: ReadonlyMap<
  string,
  (control: Control, fields: Fields) => AsyncIterable<unknown>
> = new Map<string, (control: Control, fields: Fields) => AsyncIterable<unknown>>([
  ['list', (control, f) => control.list({ path: f.path('path') })],
  [
    'diff',
    (control, f) => control.diff({ path: f.path('path'), from: f.text('from'), to: f.text('to') }),
  ],
])

/** JSON as a header value, whatever its characters. */
export function encodeHeader(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64')
}

/** What `encodeHeader` made; nothing if it is not that. */
export function decodeHeader(text: string | string[] | undefined): unknown {
  if (typeof text !== 'string') return undefined
  return parseJson(Buffer.from(text, 'base64').toString())
}

/** The value of JSON text; nothing if it is not JSON. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch {
    // Not JSON is an answer like any other here; the caller says what it means.
    return undefined
  }
}
