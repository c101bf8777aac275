/** Paths without symbolic links. */
import { systemError } from './errors.js'
import type { NativeView } from './native.js'
import { ATTRIBUTE, KIND } from './native.js'
import { scratch } from './stats.js'

/** Symbolic links followed on one path, as on Linux. */
const LINK_COUNT_MAX = 40

/**
 * Resolves every symbolic link, `.` and `..` of a path.
 *
 * @param view - Who looks.
 * @param path - Absolute in the namespace.
 * @throws What the core answers, and `ELOOP`.
 */
export function realPath(view: NativeView, path: string): string {
  const waiting = path.split('/').reverse()
  let done: string[] = []
  let links = 0
  for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
    if (name === '' || name === '.' || name === '..') {
      // What stands before it must be a directory.
      if (done.length > 0) view.access(`/${done.join('/')}/.`, 0)
      if (name === '..') done.pop()
      continue
    }
    const here = `/${[...done, name].join('/')}`
    view.stat(here, false, scratch)
    if (scratch[ATTRIBUTE.kind] !== KIND.symlink) {
      done.push(name)
      continue
    }
    links += 1
    if (links > LINK_COUNT_MAX) throw systemError('ELOOP')
    const target = view.readLink(here)
    if (target.startsWith('/')) done = []
    waiting.push(...target.split('/').reverse())
  }
  return `/${done.join('/')}`
}
