/**
 * Changing the tree: directories, renames, deletes, symbolic links.
 *
 * Invariants:
 * - `rename` answers false where `rename2` throws; both leave everything as it was then.
 * - The rules of HDFS that differ from POSIX (into an existing directory, onto itself) are here; what
 *   may replace what, and who may, is the store's decision.
 */

import * as rules from '../../../hdfs-rules.js'
import { JavaException, errorCode } from '../../../java-exceptions.js'
import { KIND } from '../../../native.js'
import { unsupported } from '../exceptions.js'
import type { Namespace } from '../namespace.js'
import { parentOf } from '../path.js'
import type { HdfsUser } from '../../../hdfs-users.js'
import type { ClientHandlers } from './service.js'

/** The methods. */
export function treeMethods(ns: Namespace): ClientHandlers {
  return {
    mkdirs: (request, call) => {
      const path = ns.changed(request.src, 'Cannot create directory')
      const mode = (request.masked?.perm ?? 0o755) & 0o1777
      const isNew = makeDirectories(ns, ns.user(call), path, mode, request.createParent)
      return isNew ? ns.durable({ result: true }) : { result: true }
    },
    delete: (request, call) => {
      const path = ns.changed(request.src, 'Cannot delete')
      const isGone = remove(ns, ns.user(call), path, request.recursive)
      return isGone ? ns.durable({ result: true }) : { result: false }
    },
    rename: (request, call) => {
      const source = ns.changed(request.src, 'Cannot rename')
      const target = renameTarget(ns, request.dst)
      const user = ns.user(call)
      const rename = () => rules.rename(user.view, source, target)
      const isDone = moving(ns, user, source, target, rename)
      return isDone ? ns.durable({ result: true }) : { result: false }
    },
    rename2: (request, call) => {
      const source = ns.changed(request.src, 'Cannot rename')
      const target = renameTarget(ns, request.dst)
      const user = ns.user(call)
      const replaced = request.overwriteDest ? openFileAt(ns, target) : undefined
      moving(ns, user, source, target, () => {
        rules.renameTo(user.view, source, target, request.overwriteDest)
      })
      if (replaced !== undefined) ns.leases.close(replaced)
      return ns.durable({})
    },
    createSymlink: request => {
      // As HDFS answers by default; links made on the mount are there and are followed.
      throw unsupported(`createSymlink of ${request.link}: Symlinks`)
    },
  }
}

function makeDirectories(
  ns: Namespace,
  user: HdfsUser,
  path: string,
  mode: number,
  createParent: boolean,
): boolean {
  if (!createParent && !ns.stat(user, parentOf(path))) {
    throw new JavaException('FileNotFound', `Parent directory doesn't exist: ${parentOf(path)}`)
  }
  const make = () => rules.makeDirectories(user.view, path, mode)
  const needed = { parent: 2 }
  return ns.attempt(path, () => ns.users.creating(user, path, make), { needed }, user)
}

function remove(ns: Namespace, user: HdfsUser, path: string, recursive: boolean): boolean {
  const open = openFileAt(ns, path)
  const needed = { parent: 2 }
  const isGone = ns.attempt(
    path,
    () => rules.deletePath(user.view, path, recursive),
    { needed },
    user,
  )
  if (isGone && open !== undefined) ns.leases.close(open)
  return isGone
}

/** Who writes the file of that name; costs nothing while nobody writes any. */
function openFileAt(ns: Namespace, path: string) {
  if (ns.leases.count === 0) return undefined
  const record = rules.statOrNull(ns.rootView, path, false)
  if (record === null) return undefined
  ns.record.set(record)
  const { view, inode, kind } = ns.facts()
  return kind === KIND.file ? ns.leases.find(view, inode) : undefined
}

function renameTarget(ns: Namespace, target: string): string {
  try {
    return ns.changed(target, 'Cannot rename to')
  } catch (error) {
    if (!(error instanceof JavaException && error.type === 'InvalidPath')) throw error
    throw new JavaException('IO', `Invalid name: ${target}`, error)
  }
}

/** A refusal names the directory that may not be written: where the name is, or where it goes. */
function moving<T>(
  ns: Namespace,
  user: HdfsUser,
  source: string,
  target: string,
  move: () => T,
): T {
  try {
    return move()
  } catch (error) {
    const mayLeave = errorCode(error) === 'EACCES' && mayWrite(user, parentOf(source))
    throw ns.refusal(error, mayLeave ? target : source, user, { needed: { parent: 2 } })
  }
}

function mayWrite(user: HdfsUser, directory: string): boolean {
  try {
    user.view.access(directory, 3)
    return true
  } catch {
    return false
  }
}
