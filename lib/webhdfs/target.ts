/**
 * Request targets: `/webhdfs/v1/<path>?<parameters>`.
 *
 * Invariants:
 * - A path is decoded once and strictly; `.`, `..` and NUL never get past this file.
 * - Decoding and encoding are inverse: the Location of a redirect names the same path.
 */
import { JavaException } from '../java-exceptions.js'
import { Parameters, decodeStrict } from './parameters.js'

/** What every WebHDFS path begins with. */
export const PREFIX = '/webhdfs/v1'

/** Longest path in the namespace, in bytes, as in Linux and HDFS alike. */
const PATH_BYTES_MAX = 8000

/** A parsed request target. */
export interface Target {
  /** Absolute path in the namespace. */
  readonly path: string
  readonly parameters: Parameters
}

/**
 * Splits and decodes a request target.
 *
 * @returns undefined if the target is not WebHDFS's.
 * @throws JavaException for a path or parameter that is not valid.
 */
export function parseTarget(url: string): Target | undefined {
  const mark = url.indexOf('?')
  const rawPath = mark < 0 ? url : url.slice(0, mark)
  if (rawPath !== PREFIX && !rawPath.startsWith(`${PREFIX}/`)) return undefined
  const parameters = new Parameters(mark < 0 ? '' : url.slice(mark + 1))
  return { path: absolutePath(decodeStrict(rawPath.slice(PREFIX.length), 'The path')), parameters }
}

/**
 * A path in its one form: absolute, no empty names, no trailing slash.
 *
 * @throws JavaException `InvalidPath` for `.`, `..`, NUL, a relative or a too long path.
 */
export function absolutePath(path: string): string {
  if (path === '' || path === '/') return '/'
  if (!path.startsWith('/') || path.includes('\0')) throw invalidPath(path)
  if (Buffer.byteLength(path) > PATH_BYTES_MAX) throw invalidPath(`${path.slice(0, 100)}...`)
  const names = path.split('/').filter(name => name !== '')
  if (names.some(name => name === '.' || name === '..')) throw invalidPath(path)
  return `/${names.join('/')}`
}

function invalidPath(path: string): JavaException {
  return new JavaException('InvalidPath', `Invalid path name ${path}`)
}

/** A path for a URL. */
export function encodePath(path: string): string {
  return path.split('/').map(encodeURIComponent).join('/')
}

/** The parent of a path; of the root the root itself. */
export function parentOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/')) || '/'
}

/** The last name of a path; of the root the empty text. */
export function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1)
}

/** The path of `name` in `directory`. */
export function joinPath(directory: string, name: string): string {
  return directory === '/' ? `/${name}` : `${directory}/${name}`
}
