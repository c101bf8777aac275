/** Operations that change names and attributes. */
import * as rules from '../../hdfs-rules.js'
import { JavaException } from '../../java-exceptions.js'
import type { AttributeChange } from '../../native.js'
import { EMPTY, json } from '../exchange.js'
import type { Answer, Exchange, OperationTable } from '../exchange.js'
import { absolutePath, parentOf } from '../target.js'

/** Largest replication, a Java short. */
const REPLICATION_MAX = 32767

function mkdirs({ view, path, parameters, user, users }: Exchange): Answer {
  const mode = parameters.permission('permission', 0o755)
  users.creating(user, path, () => rules.makeDirectories(view, path, mode))
  return json({ boolean: true })
}

function rename({ view, path, parameters }: Exchange): Answer {
  const target = absolutePath(parameters.required('destination'))
  const text = parameters.raw('renameoptions')
  if (text === undefined || text === '') return json({ boolean: rules.rename(view, path, target) })
  const names = text.toUpperCase().split(',')
  for (const name of names) {
    if (name !== 'NONE' && name !== 'OVERWRITE' && name !== 'TO_TRASH') {
      throw new JavaException(
        'IllegalArgument',
        `Invalid value for webhdfs parameter "renameoptions": "${name}" is no Options.Rename`,
      )
    }
  }
  rules.renameTo(view, path, target, names.includes('OVERWRITE'))
  return EMPTY
}

function remove({ view, path, parameters }: Exchange): Answer {
  return json({ boolean: rules.deletePath(view, path, parameters.boolean('recursive', false)) })
}

function concat({ view, path, parameters }: Exchange): Answer {
  const sources = parameters.required('sources').split(',').map(absolutePath)
  rules.concat(view, path, sources)
  return EMPTY
}

function truncate({ view, path, parameters }: Exchange): Answer {
  const length = parameters.integer('newlength', 0)
  if (length === undefined) {
    throw new JavaException('IllegalArgument', 'Required param newlength is null or empty')
  }
  return json({ boolean: rules.truncate(view, path, length) })
}

function createSymlink({ view, path, parameters, user, users }: Exchange): Answer {
  const target = parameters.required('destination')
  const createParent = parameters.boolean('createparent', false)
  users.creating(user, path, () => {
    if (createParent) rules.makeDirectories(view, parentOf(path), 0o755)
    view.symlink(target, path)
  })
  return EMPTY
}

function setPermission({ view, path, parameters }: Exchange): Answer {
  view.setAttributes(path, true, { mode: parameters.permission('permission', 0o755) })
  return EMPTY
}

function setOwner({ store, view, path, parameters }: Exchange): Answer {
  const owner = parameters.text('owner')
  const group = parameters.text('group')
  if (owner === undefined && group === undefined) {
    throw new JavaException('IllegalArgument', 'Both owner and group are empty.')
  }
  const change: AttributeChange = {}
  if (owner !== undefined) change.uid = store.uidOf(owner)
  if (group !== undefined) change.gid = store.gidOf(group)
  view.setAttributes(path, true, change)
  return EMPTY
}

function setTimes({ view, path, parameters }: Exchange): Answer {
  const atime = parameters.integer('accesstime', -1)
  const mtime = parameters.integer('modificationtime', -1)
  const change: AttributeChange = {}
  if (atime !== undefined && atime >= 0) change.atimeMs = atime
  if (mtime !== undefined && mtime >= 0) change.mtimeMs = mtime
  view.setAttributes(path, true, change)
  return EMPTY
}

function setReplication({ view, path, options, parameters }: Exchange): Answer {
  const replication =
    parameters.integer('replication', 1, REPLICATION_MAX) ?? options.replication ?? 1
  return json({ boolean: rules.setReplication(view, path, replication) })
}

/** Operations on names and attributes, by method. */
export const NAMESPACE: Readonly<Record<'PUT' | 'POST' | 'DELETE', OperationTable>> = {
  PUT: {
    MKDIRS: { run: mkdirs, changes: true, needs: { parent: 2 } },
    RENAME: { run: rename, changes: true, needs: { parent: 2 }, secondPath: 'destination' },
    CREATESYMLINK: { run: createSymlink, changes: true, needs: { parent: 2 } },
    SETPERMISSION: { run: setPermission, changes: true, needs: { owner: true } },
    SETOWNER: { run: setOwner, changes: true, needs: { owner: true } },
    SETTIMES: { run: setTimes, changes: true, needs: { self: 2 } },
    SETREPLICATION: { run: setReplication, changes: true, needs: { self: 2 } },
  },
  POST: {
    CONCAT: { run: concat, changes: true, needs: { parent: 2, self: 2 }, secondPath: 'sources' },
    TRUNCATE: { run: truncate, changes: true, needs: { self: 2 } },
  },
  DELETE: {
    DELETE: { run: remove, changes: true, needs: { parent: 2 } },
  },
}
