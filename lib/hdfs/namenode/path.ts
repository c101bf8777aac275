/**
 * Paths as clients send them.
 *
 * Invariants:
 * - What leaves here is absolute, without empty, `.` or `..` components and without a final slash.
 * - `/.reserved/.inodes/ID` and `/.reserved/raw` are resolved here; nothing below knows of them.
 */

import { JavaException } from '../../java-exceptions.js'

const IRREGULAR = /\/(?:\.{0,2})(?:\/|$)/
const INODES = '/.reserved/.inodes/'
const RAW = '/.reserved/raw'
const PATH_BYTES_MAX = 8000

/**
 * Checks a path and resolves reserved ones.
 *
 * @param path - As the client sent it.
 * @param pathOf - Finds the path of a file id.
 * @throws JavaException InvalidPath, FileNotFound.
 */
export function resolvePath(path: string, pathOf: (fileId: bigint) => string): string {
  if (path === '/') return path
  const trimmed = path.endsWith('/') ? path.slice(0, -1) : path
  if (!trimmed.startsWith('/') || IRREGULAR.test(trimmed)) throw invalidPath(path)
  if (trimmed.length > PATH_BYTES_MAX) {
    throw new JavaException('IO', `Path too long, limit ${PATH_BYTES_MAX} characters`)
  }
  return trimmed.startsWith('/.reserved/') ? reserved(trimmed, pathOf) : trimmed
}

function reserved(path: string, pathOf: (fileId: bigint) => string): string {
  if (path === RAW) return '/'
  if (path.startsWith(`${RAW}/`)) return path.slice(RAW.length)
  if (!path.startsWith(INODES)) return path
  const [id = '', ...rest] = path.slice(INODES.length).split('/')
  if (!/^[0-9]{1,19}$/.test(id))
    throw new JavaException('FileNotFound', `File does not exist: ${path}`)
  const base = pathOf(BigInt(id))
  const below = rest.join('/')
  if (below === '') return base
  return base === '/' ? `/${below}` : `${base}/${below}`
}

/** The exception for a path that is none. */
export function invalidPath(path: string): JavaException {
  return new JavaException('InvalidPath', `Invalid path name ${path}`)
}

/** The path of the directory that a path's last name is in; `/` for the root itself. */
export function parentOf(path: string): string {
  const end = path.lastIndexOf('/')
  return end <= 0 ? '/' : path.slice(0, end)
}

/** The last name of a path; empty for the root. */
export function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1)
}

/** The path of `name` in `directory`. */
export function childOf(directory: string, name: string): string {
  return directory === '/' ? `/${name}` : `${directory}/${name}`
}

/** Whether `path` is `ancestor` or lies below it. */
export function isBelowOrSame(path: string, ancestor: string): boolean {
  if (ancestor === '/' || path === ancestor) return true
  return path.startsWith(`${ancestor}/`)
}
