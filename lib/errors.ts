/**
 * The errors that Lockstep throws, and the one place where the native core's errors become them.
 *
 * Invariants:
 * - `code` is stable: an errno name where one fits, else `ERR_LOCKSTEP_*` (`docs/ERRORS.md`).
 * - `errno`, `syscall`, `path` and `dest` are shaped as in `node:fs`, so that code which handles
 *   its errors handles these; `errno` is negative.
 * - The error of the native core stays reachable as `cause`.
 */
import { constants } from 'node:os'
import { getSystemErrorMap } from 'node:util'

/** Where an error happened: the operation, by the name `node:fs` gives it, and its paths. */
export interface ErrorContext {
  /** The operation: `open`, `rename`, `snapshot`, ... */
  syscall?: string
  /** The path it was about. */
  path?: string
  /** The second path of an operation with two. */
  dest?: string
  /** The errno, where it does not follow from the code. */
  errno?: number
  /** What caused it. */
  cause?: unknown
}

/** Any error that Lockstep throws. Match on `code`; the message is not API. */
export class LockstepError extends Error {
  /** The stable code: an errno name or `ERR_LOCKSTEP_*`. */
  readonly code: string
  /** The negative errno, where the code is the name of one. */
  declare readonly errno?: number
  /** The operation that failed. */
  declare readonly syscall?: string
  /** The path it was about. */
  declare readonly path?: string
  /** The second path of a `rename`, `link`, `symlink` or copy. */
  declare readonly dest?: string

  /**
   * @param code - The stable code.
   * @param message - What a person reads.
   * @param context - Where it happened.
   */
  constructor(code: string, message: string, context: ErrorContext = {}) {
    super(message, 'cause' in context ? { cause: context.cause } : undefined)
    this.name = new.target.name
    this.code = code
    const errno = context.errno ?? errnoOf(code)
    if (errno !== undefined) this.errno = errno
    if (context.syscall !== undefined) this.syscall = context.syscall
    if (context.path !== undefined) this.path = context.path
    if (context.dest !== undefined) this.dest = context.dest
  }
}

/** The request can never succeed as it is: change it. */
export class InvalidError extends LockstepError {}
/** What was named is not there. */
export class NotFoundError extends LockstepError {}
/** The state of the store forbids it: something exists already, is not empty, is busy. */
export class ConflictError extends LockstepError {}
/** This machine, build or configuration cannot do it now; it may work elsewhere or later. */
export class UnavailableError extends LockstepError {}
/** Bytes on disk are not what was written. Run `lockstep check`. */
export class CorruptError extends LockstepError {}
/** The store, file or directory was closed; open it again. */
export class ClosedError extends LockstepError {}

/** An operation was ended by its `AbortSignal`; shaped as node's. */
export class AbortError extends Error {
  /** As in node: `ABORT_ERR`. */
  readonly code = 'ABORT_ERR'

  /** @param reason - The signal's reason. */
  constructor(reason?: unknown) {
    super('The operation was aborted', { cause: reason })
    this.name = 'AbortError'
  }
}

/** An argument has the wrong type or value; the codes are node's. */
export class ArgumentError extends TypeError {
  /** `ERR_INVALID_ARG_TYPE` or `ERR_INVALID_ARG_VALUE`. */
  readonly code: 'ERR_INVALID_ARG_TYPE' | 'ERR_INVALID_ARG_VALUE'

  /**
   * @param code - Which of node's codes.
   * @param message - What a person reads.
   */
  constructor(code: 'ERR_INVALID_ARG_TYPE' | 'ERR_INVALID_ARG_VALUE', message: string) {
    super(message)
    this.name = 'TypeError'
    this.code = code
  }
}

/** A number lies outside what the operation takes; shaped as node's. */
export class OutOfRangeError extends RangeError {
  /** As in node: `ERR_OUT_OF_RANGE`. */
  readonly code = 'ERR_OUT_OF_RANGE'

  /**
   * @param name - The argument.
   * @param range - What it must be.
   * @param received - What it was.
   */
  constructor(name: string, range: string, received: unknown) {
    super(
      `The value of "${name}" is out of range. It must be ${range}. Received ${String(received)}`,
    )
    this.name = 'RangeError'
  }
}

type ErrorClass = typeof LockstepError

const CLASS_OF_CODE: ReadonlyMap<string, ErrorClass> = new Map<string, ErrorClass>([
  ['ENOENT', NotFoundError],
  ['ENODATA', NotFoundError],
  ['ESTALE', NotFoundError],
  ['EINVAL', InvalidError],
  ['ENAMETOOLONG', InvalidError],
  ['E2BIG', InvalidError],
  ['EISDIR', InvalidError],
  ['ENOTDIR', InvalidError],
  ['EXDEV', InvalidError],
  ['ELOOP', InvalidError],
  ['EFBIG', InvalidError],
  ['ERANGE', InvalidError],
  ['EEXIST', ConflictError],
  ['ENOTEMPTY', ConflictError],
  ['EBUSY', ConflictError],
  ['EMLINK', ConflictError],
  ['EOPNOTSUPP', UnavailableError],
  ['ENOTSUP', UnavailableError],
  ['ENOSYS', UnavailableError],
  ['ENOSPC', UnavailableError],
  ['EDQUOT', UnavailableError],
  ['EBADF', ClosedError],
  ['ERR_LOCKSTEP_CLOSED', ClosedError],
  ['ERR_LOCKSTEP_CORRUPT', CorruptError],
  ['ERR_LOCKSTEP_SUPERBLOCK', CorruptError],
  ['ERR_LOCKSTEP_LOCKED', ConflictError],
  ['ERR_LOCKSTEP_NOT_EMPTY', ConflictError],
  ['ERR_LOCKSTEP_NOT_A_STORE', NotFoundError],
  ['ERR_LOCKSTEP_NEWER_FORMAT', UnavailableError],
  ['ERR_LOCKSTEP_UNKNOWN_FEATURE', UnavailableError],
  ['ERR_LOCKSTEP_NO_BINDING', UnavailableError],
  ['ERR_LOCKSTEP_NO_FUSE', UnavailableError],
  ['ERR_LOCKSTEP_MOUNT_DENIED', UnavailableError],
  ['ERR_LOCKSTEP_MOUNT_BUSY', ConflictError],
  ['ERR_LOCKSTEP_MOUNT_POINT', InvalidError],
  ['ERR_LOCKSTEP_MOUNT_STALE', ConflictError],
])

const ERRNO_OF_NAME: ReadonlyMap<string, number> = new Map(Object.entries(constants.errno))

/** The negative errno behind a code, or nothing for a code that is no errno name. */
export function errnoOf(code: string): number | undefined {
  const number = ERRNO_OF_NAME.get(code)
  return number === undefined ? undefined : -number
}

/** Makes the error class that fits `code`. */
export function errorFor(code: string, message: string, context: ErrorContext = {}): LockstepError {
  const kind = CLASS_OF_CODE.get(code) ?? LockstepError
  return new kind(code, message, context)
}

/**
 * A file-system error with node's message: `ENOENT: no such file or directory, open '/x'`.
 *
 * @param code - An errno name.
 * @param context - The operation and its paths.
 */
export function systemError(code: string, context: ErrorContext = {}): LockstepError {
  return errorFor(code, systemMessage(code, context, undefined), context)
}

function systemMessage(code: string, context: ErrorContext, detail: string | undefined): string {
  const errno = errnoOf(code)
  const text = (errno === undefined ? undefined : getSystemErrorMap().get(errno)?.[1]) ?? detail
  return (text === undefined ? code : `${code}: ${text}`) + whereText(context)
}

function whereText(context: ErrorContext): string {
  let message = ''
  if (context.syscall !== undefined) message += `, ${context.syscall}`
  if (context.path !== undefined) message += ` '${context.path}'`
  if (context.dest !== undefined) message += ` -> '${context.dest}'`
  return message
}

/** The stable code of anything thrown, or nothing if it has none. */
export function codeOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined
  return typeof error.code === 'string' ? error.code : undefined
}

/**
 * Turns what the native core threw into a `LockstepError`. One that says where it happened already,
 * and what has no code (a bug), come back as they are.
 *
 * @param error - What was caught.
 * @param context - The operation and its paths, for the message and the fields.
 */
export function translate(error: unknown, context: ErrorContext = {}): unknown {
  if (!(error instanceof Error)) return error
  if (error instanceof LockstepError) {
    const isPlain = error.errno !== undefined && error.syscall === undefined
    return isPlain && context.syscall !== undefined ? systemError(error.code, context) : error
  }
  const code = codeOf(error)
  if (code === undefined) return error
  const where = { ...context, cause: error }
  if (code === 'ERR_LOCKSTEP_CORRUPT') {
    return errorFor(code, error.message + whereText(context), where)
  }
  if (code.startsWith('ERR_LOCKSTEP_')) return errorFor(code, error.message, where)
  if (errnoOf(code) === undefined) return error
  if (context.syscall === undefined) return errorFor(code, `${code}: ${error.message}`, where)
  return errorFor(code, systemMessage(code, context, error.message), where)
}

/**
 * Throws what `translate` makes of `error`.
 *
 * @param error - What was caught.
 * @param context - The operation and its paths.
 * @throws LockstepError always, unless `error` carries no code.
 */
export function rethrow(error: unknown, context: ErrorContext = {}): never {
  throw translate(error, context)
}

/** Runs `call`, which talks to the native core, and translates what it throws. */
export function guard<T>(context: ErrorContext, call: () => T): T {
  try {
    return call()
  } catch (error) {
    rethrow(error, context)
  }
}

/** As `guard`, for a call that answers with a promise. */
export async function guardAsync<T>(context: ErrorContext, call: () => Promise<T>): Promise<T> {
  try {
    return await call()
  } catch (error) {
    rethrow(error, context)
  }
}
