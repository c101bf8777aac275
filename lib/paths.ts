/**
 * Paths as callers give them, made absolute in the store's namespace.
 *
 * Invariants:
 * - What leaves `absolutePath` starts with the root it was given, and cannot climb above it by `..`.
 * - The text between stays as it is: `..` after a symbolic link means what the link makes of it.
 */
import { fileURLToPath } from 'node:url'
import { ArgumentError, systemError } from './errors.js'

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/**
 * The text of a path.
 *
 * @param path - A string, UTF-8 bytes or a `file:` URL.
 * @param name - The argument's name, for the message.
 * @throws ArgumentError as node does; bytes that are not UTF-8 are refused too.
 */
export function pathText(path: unknown, name = 'path'): string {
  const text = pathTextOf(path, name)
  if (text.includes('\0')) {
    const message = `The argument '${name}' must be a string without null bytes. Received ${JSON.stringify(text)}`
    throw new ArgumentError('ERR_INVALID_ARG_VALUE', message)
  }
  return text
}

function pathTextOf(path: unknown, name: string): string {
  if (typeof path === 'string') return path
  if (path instanceof URL) return fileURLToPath(path)
  if (!(path instanceof Uint8Array)) {
    const message = `The "${name}" argument must be of type string or an instance of Buffer or URL. Received ${typeof path}`
    throw new ArgumentError('ERR_INVALID_ARG_TYPE', message)
  }
  try {
    return decoder.decode(path)
  } catch (error) {
    const message = `The argument '${name}' must be UTF-8: names of other bytes can be reached through the mount`
    throw Object.assign(new ArgumentError('ERR_INVALID_ARG_VALUE', message), { cause: error })
  }
}

/**
 * The absolute path in the namespace.
 *
 * @param root - Where the caller's `/` is: empty for the namespace's own root, else `/a/b`.
 * @param text - A path; a relative one starts at the root.
 * @throws LockstepError `ENOENT` for an empty path, as POSIX wants.
 */
export function absolutePath(root: string, text: string): string {
  if (text === '') throw systemError('ENOENT')
  if (root === '') return text.startsWith('/') ? text : `/${text}`
  return text.startsWith('/') ? root + clamped(text) : `${root}/${clamped(text)}`
}

/** The path without the `..` that would climb above its own start. */
function clamped(text: string): string {
  let depth = 0
  const kept: string[] = []
  for (const part of text.split('/')) {
    if (part === '..') {
      if (depth === 0) continue
      depth -= 1
    } else if (part !== '' && part !== '.') {
      depth += 1
    }
    kept.push(part)
  }
  return kept.join('/')
}

/** A volume's or directory's path as a root for `absolutePath`. */
export function rootOf(path: string): string {
  const parts = path.split('/').filter(part => part !== '' && part !== '.')
  return parts.length === 0 ? '' : `/${parts.join('/')}`
}

/** `name` below the directory `parent`. */
export function joinPath(parent: string, name: string): string {
  return parent.endsWith('/') ? parent + name : `${parent}/${name}`
}

/** The path of `target` relative to the directory of `from`; both absolute, without `..`. */
export function relativePath(from: string, target: string): string {
  const start = parts(from).slice(0, -1)
  const end = parts(target)
  let shared = 0
  while (shared < start.length && shared < end.length && start[shared] === end[shared]) shared += 1
  const up = start.slice(shared).map(() => '..')
  return [...up, ...end.slice(shared)].join('/') || '.'
}

function parts(path: string): string[] {
  return path.split('/').filter(part => part !== '' && part !== '.')
}
