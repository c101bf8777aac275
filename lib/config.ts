/** How a store is opened: the options, checked once. */
import { ArgumentError, OutOfRangeError } from './errors.js'
import type { NativeStoreOptions } from './native.js'

/** Options of `Store.open`. */
export interface StoreOptions {
  /** Make an empty store if the directory is missing or empty. */
  create?: boolean
  /** Refuse all changes; nothing on disk is touched. */
  readOnly?: boolean
  /** Bytes of metadata kept in memory, 128 MiB unless given. */
  cacheBytes?: number
}

/** Less than this makes every operation read from disk. */
const CACHE_BYTES_MIN = 1024 * 1024

/**
 * The options for the native core.
 *
 * @throws ArgumentError, OutOfRangeError
 */
export function nativeOptions(options: StoreOptions): NativeStoreOptions {
  const native: NativeStoreOptions = {}
  const { cacheBytes, readOnly } = options
  if (cacheBytes !== undefined) {
    if (!Number.isSafeInteger(cacheBytes) || cacheBytes < CACHE_BYTES_MIN) {
      throw new OutOfRangeError('cacheBytes', `>= ${String(CACHE_BYTES_MIN)}`, cacheBytes)
    }
    native.cacheBytes = cacheBytes
  }
  if (readOnly !== undefined) native.readOnly = readOnly
  return native
}

/**
 * The text of a name argument.
 *
 * @throws ArgumentError if it is no string.
 */
export function nameText(value: unknown, name: string): string {
  if (typeof value === 'string') return value
  const message = `The "${name}" argument must be of type string. Received ${typeof value}`
  throw new ArgumentError('ERR_INVALID_ARG_TYPE', message)
}
