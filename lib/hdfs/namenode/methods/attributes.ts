/**
 * Permissions, owners, times, replication, ACL probes, extended attributes.
 *
 * Invariants:
 * - Extended attributes keep their full names in the store (`user.x`), so that the mount shows them.
 * - ACLs: what a file has is its mode bits; changing entries answers as an HDFS whose ACLs are off.
 */

import { JavaException } from '../../../java-exceptions.js'
import { ATTRIBUTE, KIND, XATTR } from '../../../native.js'
import type { AttributeChange } from '../../../native.js'
import type { XAttrProto } from '../../proto/gen/xattr_pb.js'
import { XAttrProto_XAttrNamespaceProto as Space } from '../../proto/gen/xattr_pb.js'
import { aclsDisabled, fileNotFound } from '../exceptions.js'
import type { Namespace } from '../namespace.js'
import type { HdfsUser } from '../../../hdfs-users.js'
import type { ClientHandlers } from './service.js'

/** The methods. */
export function attributeMethods(ns: Namespace): ClientHandlers {
  return {
    setPermission: (request, call) => {
      const path = ns.changed(request.src, 'Cannot set permission for')
      const mode = (request.permission?.perm ?? 0) & 0o1777
      change(ns, ns.user(call), path, { mode })
      return ns.durable({})
    },
    setOwner: (request, call) => {
      const path = ns.changed(request.src, 'Cannot set owner for')
      setOwner(ns, ns.user(call), path, request.username, request.groupname)
      return ns.durable({})
    },
    setTimes: (request, call) => {
      const path = ns.changed(request.src, 'Cannot set times')
      const mtimeMs = Number(BigInt.asIntN(64, request.mtime))
      const atimeMs = Number(BigInt.asIntN(64, request.atime))
      const user = ns.user(call)
      ns.require(user, path)
      ns.checkAccess(user, path, 2)
      // Who may write may set times in HDFS; the store lets only the owner set any time.
      const times: AttributeChange = {}
      if (mtimeMs !== -1) times.mtimeMs = mtimeMs
      if (atimeMs !== -1) times.atimeMs = atimeMs
      ns.attempt(
        path,
        () => {
          ns.rootView.setAttributes(path, true, times)
        },
        {},
        user,
      )
      return ns.durable({})
    },
    setReplication: (request, call) => {
      const path = ns.changed(request.src, 'Cannot set replication for')
      const user = ns.user(call)
      if (!ns.stat(user, path) || ns.facts().kind !== KIND.file) return { result: false }
      checkReplication(path, request.replication)
      ns.checkAccess(user, path, 2)
      change(ns, user, path, { replication: request.replication })
      return ns.durable({ result: true })
    },
    getAclStatus: (request, call) => {
      const path = ns.path(request.src)
      const { mode } = ns.require(ns.user(call), path)
      return {
        result: {
          owner: ns.users.ownerName(ns.record[ATTRIBUTE.uid] ?? 0),
          group: ns.users.groupName(ns.record[ATTRIBUTE.gid] ?? 0),
          sticky: (mode & 0o1000) !== 0,
          entries: [],
          permission: { perm: mode & 0o1777 },
        },
      }
    },
    modifyAclEntries: refuseAcl,
    removeAclEntries: refuseAcl,
    removeDefaultAcl: refuseAcl,
    removeAcl: refuseAcl,
    setAcl: refuseAcl,
    setXAttr: (request, call) => {
      const path = ns.changed(request.src, 'Cannot set XAttr on')
      setXattr(ns, ns.user(call), path, request.xAttr, request.flag)
      return ns.durable({})
    },
    removeXAttr: (request, call) => {
      const path = ns.changed(request.src, 'Cannot remove XAttr entry on')
      const user = ns.user(call)
      ns.require(user, path)
      const name = fullName(request.xAttr, user)
      const refused = { about: 'xattr', needed: { self: 2 } } as const
      ns.attempt(
        path,
        () => {
          user.view.removeXattr(path, name, true)
        },
        refused,
        user,
      )
      return ns.durable({})
    },
    getXAttrs: (request, call) => {
      const path = ns.path(request.src)
      const user = ns.user(call)
      ns.require(user, path)
      const asked = request.xAttrs.map(attribute => fullName(attribute, user))
      const names = asked.length > 0 ? asked : listXattrs(ns, user, path)
      return { xAttrs: names.map(name => getXattr(ns, user, path, name)) }
    },
    listXAttrs: (request, call) => {
      const path = ns.path(request.src)
      const user = ns.user(call)
      ns.require(user, path)
      return { xAttrs: listXattrs(ns, user, path).map(splitName) }
    },
  }
}

function refuseAcl(): never {
  throw aclsDisabled()
}

function change(ns: Namespace, user: HdfsUser, path: string, attributes: AttributeChange): void {
  const needed = { owner: true }
  ns.attempt(
    path,
    () => {
      user.view.setAttributes(path, true, attributes)
    },
    { needed },
    user,
  )
}

function setOwner(ns: Namespace, user: HdfsUser, path: string, owner: string, group: string): void {
  ns.require(user, path)
  if (!user.isSuperuser) checkOwnership(ns, user, path, owner, group)
  const attributes: AttributeChange = {}
  if (owner !== '') attributes.uid = ns.store.uidOf(owner)
  if (group !== '') attributes.gid = ns.store.gidOf(group)
  change(ns, user, path, attributes)
}

/** HDFS's words for what the store would refuse; `ns.record` describes the path. */
function checkOwnership(
  ns: Namespace,
  user: HdfsUser,
  path: string,
  owner: string,
  group: string,
): void {
  const present = ns.users.ownerName(ns.record[ATTRIBUTE.uid] ?? 0)
  if (present !== user.name) {
    throw new JavaException(
      'AccessControl',
      `Permission denied. user=${user.name} is not the owner of inode=${path}`,
    )
  }
  if (owner !== '' && owner !== user.name) {
    throw new JavaException(
      'AccessControl',
      `User ${user.name} is not a super user (non-super user cannot change owner).`,
    )
  }
  if (group !== '' && !user.groups.includes(group)) {
    throw new JavaException('AccessControl', `User ${user.name} does not belong to ${group}`)
  }
}

function checkReplication(path: string, replication: number): void {
  if (replication >= 1 && replication <= 512) return
  throw new JavaException(
    'IO',
    `Requested replication factor of ${replication} is out of range for ${path}: 1 to 512`,
  )
}

const PREFIX: Readonly<Record<Space, string>> = {
  [Space.USER]: 'user.',
  [Space.TRUSTED]: 'trusted.',
  [Space.SECURITY]: 'security.',
  [Space.SYSTEM]: 'system.',
  [Space.RAW]: 'raw.',
}

/** The name in the store; namespaces that the caller may not use are refused. */
function fullName(attribute: XAttrProto | undefined, user: HdfsUser): string {
  if (attribute === undefined || attribute.name === '') {
    throw new JavaException('HadoopIllegalArgument', 'XAttr name cannot be null or empty.')
  }
  const { namespace, name } = attribute
  if (namespace !== Space.USER && !(namespace === Space.TRUSTED && user.isSuperuser)) {
    const prefix = PREFIX[namespace]
    throw new JavaException(
      'AccessControl',
      `User doesn't have permission for xattr: ${prefix}${name}`,
    )
  }
  return PREFIX[namespace] + name
}

function splitName(full: string): { namespace: Space; name: string } {
  const namespace = full.startsWith(PREFIX[Space.TRUSTED]) ? Space.TRUSTED : Space.USER
  return { namespace, name: full.slice(PREFIX[namespace].length) }
}

/** What the caller may see: `user.*`, and `trusted.*` for superusers. */
function listXattrs(ns: Namespace, user: HdfsUser, path: string): string[] {
  const refused = { about: 'xattr', needed: { self: 4 } } as const
  const names = ns.attempt(path, () => user.view.listXattrs(path, true), refused, user)
  return names.filter(
    name =>
      name.startsWith(PREFIX[Space.USER]) ||
      (user.isSuperuser && name.startsWith(PREFIX[Space.TRUSTED])),
  )
}

function getXattr(ns: Namespace, user: HdfsUser, path: string, name: string) {
  const refused = { about: 'xattr', needed: { self: 4 } } as const
  const value = ns.attempt(path, () => user.view.getXattr(path, name, true), refused, user)
  return { ...splitName(name), value }
}

const CREATE_FLAG = 1
const REPLACE_FLAG = 2

function setXattr(
  ns: Namespace,
  user: HdfsUser,
  path: string,
  attribute: XAttrProto | undefined,
  flag: number,
): void {
  if (!ns.stat(user, path)) throw fileNotFound(path)
  const name = fullName(attribute, user)
  const mayCreate = (flag & CREATE_FLAG) !== 0
  const mayReplace = (flag & REPLACE_FLAG) !== 0
  if (!mayCreate && !mayReplace) {
    throw new JavaException('HadoopIllegalArgument', 'A valid XAttrSetFlag must be specified.')
  }
  const mode = mayCreate && mayReplace ? XATTR.set : mayCreate ? XATTR.create : XATTR.replace
  const value = attribute?.value ?? new Uint8Array(0)
  try {
    user.view.setXattr(path, name, value, mode, true)
  } catch (error) {
    throw xattrRefusal(ns, user, path, name, error)
  }
}

function xattrRefusal(
  ns: Namespace,
  user: HdfsUser,
  path: string,
  name: string,
  error: unknown,
): JavaException {
  const refusal = ns.refusal(error, path, user, { about: 'xattr', needed: { self: 2 } })
  if (refusal.type === 'FileAlreadyExists') {
    return new JavaException(
      'IO',
      `XAttr: ${name} already exists. The REPLACE flag must be specified.`,
      error,
    )
  }
  if (refusal.type !== 'XAttrNotFound') return refusal
  return new JavaException(
    'IO',
    `XAttr: ${name} does not exist. The CREATE flag must be specified.`,
    error,
  )
}
