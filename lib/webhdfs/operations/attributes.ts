/** Operations that look at one path: status, sums, access, xattrs, ACL, links. */
import * as rules from '../../hdfs-rules.js'
import { JavaException, errorCode, permissionMessage } from '../../java-exceptions.js'
import { ATTRIBUTE, KIND, XATTR } from '../../native.js'
import { EMPTY, json } from '../exchange.js'
import type { Answer, Exchange, OperationTable } from '../exchange.js'
import type { Json } from '../json.js'

/** Namespaces of extended attributes that HDFS knows; POSIX names pass through unchanged. */
const XATTR_NAME = /^(user|trusted|system|security|raw)\../i

/** The record of a path that must exist. */
export function existing({ view, path }: Exchange): Float64Array {
  const record = rules.statOrNull(view, path)
  if (record === null) throw new JavaException('FileNotFound', `File does not exist: ${path}`)
  return record
}

function getFileStatus(exchange: Exchange): Answer {
  return json({ FileStatus: exchange.status.write(found(exchange, true), 0, '') })
}

/** As {@link existing}; what a superuser looks for below a file is, to HDFS, just not there. */
function found({ view, path, user }: Exchange, follow: boolean): Float64Array {
  let record: Float64Array | null = null
  try {
    record = rules.statOrNull(view, path, follow)
  } catch (error) {
    if (!user.isSuperuser || errorCode(error) !== 'ENOTDIR') throw error
  }
  if (record === null) throw new JavaException('FileNotFound', `File does not exist: ${path}`)
  return record
}

function getFileLinkStatus(exchange: Exchange): Answer {
  const { view, path, status } = exchange
  const record = found(exchange, false)
  const link = record[ATTRIBUTE.kind] === KIND.symlink
  const target = link ? view.readLink(path) : undefined
  return json({ FileStatus: status.write(record, 0, '', target) })
}

function getLinkTarget(exchange: Exchange): Answer {
  const { view, path } = exchange
  const record = rules.statOrNull(view, path, false)
  if (record === null) throw new JavaException('FileNotFound', `File does not exist: ${path}`)
  if (record[ATTRIBUTE.kind] !== KIND.symlink) {
    throw new JavaException('IO', `Path ${path} is not a symbolic link`)
  }
  return json({ Path: view.readLink(path) })
}

async function getContentSummary(exchange: Exchange): Promise<Answer> {
  const record = existing(exchange)
  const sums = await exchange.view.contentSummary(exchange.path)
  const directories = rules.isDirectory(record) ? sums.directories : 0
  return json({
    ContentSummary: {
      directoryCount: directories,
      ecPolicy: rules.isDirectory(record) ? '' : 'Replicated',
      fileCount: sums.files,
      length: sums.length,
      quota: -1,
      snapshotDirectoryCount: 0,
      snapshotFileCount: 0,
      snapshotLength: 0,
      snapshotSpaceConsumed: 0,
      spaceConsumed: sums.spaceConsumed,
      spaceQuota: -1,
      typeQuota: {},
    },
  })
}

async function getQuotaUsage(exchange: Exchange): Promise<Answer> {
  existing(exchange)
  const sums = await exchange.view.contentSummary(exchange.path)
  return json({
    QuotaUsage: {
      fileAndDirectoryCount: sums.files + sums.directories,
      quota: -1,
      spaceConsumed: sums.spaceConsumed,
      spaceQuota: -1,
      typeQuota: {},
    },
  })
}

function checkAccess(exchange: Exchange): Answer {
  const action = exchange.parameters.matching('fsaction', /^[r-][w-][x-]$/)
  if (action === undefined) {
    throw new JavaException('IllegalArgument', 'Required param fsaction is null or empty')
  }
  existing(exchange)
  const { view, path, user } = exchange
  const mask = accessMask(action)
  try {
    view.access(path, mask)
  } catch (error) {
    if (errorCode(error) !== 'EACCES') throw error
    throw new JavaException(
      'AccessControl',
      permissionMessage(user.source, path, { self: mask }),
      error,
    )
  }
  return EMPTY
}

/** The bits 4, 2, 1 of `rwx`, `r--` and so on. */
export function accessMask(action: string): number {
  return (action[0] === 'r' ? 4 : 0) | (action[1] === 'w' ? 2 : 0) | (action[2] === 'x' ? 1 : 0)
}

function encodeXattr(value: Buffer, encoding: 'TEXT' | 'HEX' | 'BASE64'): string {
  if (encoding === 'HEX') return `0x${value.toString('hex')}`
  if (encoding === 'BASE64') return `0s${value.toString('base64')}`
  return `"${value.toString('utf8')}"`
}

/** A value as clients send it: `0x` hex, `0s` base64, or text that may stand in quotes. */
export function decodeXattr(text: string): Buffer {
  if (/^0x/i.test(text)) {
    const hex = text.slice(2)
    if (hex.length % 2 !== 0 || !/^[0-9a-f]*$/i.test(hex)) {
      throw new JavaException('IO', `${text} is not a hexadecimal value`)
    }
    return Buffer.from(hex, 'hex')
  }
  if (/^0s/i.test(text)) return Buffer.from(text.slice(2), 'base64')
  const quoted = text.length >= 2 && text.startsWith('"') && text.endsWith('"')
  return Buffer.from(quoted ? text.slice(1, -1) : text, 'utf8')
}

/** The name that the store knows an attribute by: its namespace in lower case. */
export function xattrName(name: string): string {
  if (!XATTR_NAME.test(name)) {
    throw new JavaException(
      'HadoopIllegalArgument',
      "An XAttr name must be prefixed with user/trusted/security/system/raw, followed by a '.'",
    )
  }
  const dot = name.indexOf('.')
  return name.slice(0, dot).toLowerCase() + name.slice(dot)
}

function visible(exchange: Exchange): string[] {
  const names = exchange.view.listXattrs(exchange.path, true)
  if (exchange.user.isSuperuser) return names.filter(name => !name.startsWith('system.'))
  return names.filter(name => name.startsWith('user.'))
}

function getXattrs(exchange: Exchange): Answer {
  existing(exchange)
  const { view, path, parameters } = exchange
  const encoding = parameters.choice('encoding', ['TEXT', 'HEX', 'BASE64']) ?? 'TEXT'
  const asked = parameters.all('xattr.name').filter(name => name !== '')
  const names = asked.length > 0 ? asked.map(xattrName) : visible(exchange)
  const list: Json[] = []
  for (const name of names) {
    list.push({ name, value: encodeXattr(readXattr(exchange, path, name, view), encoding) })
  }
  return json({ XAttrs: list })
}

function readXattr(exchange: Exchange, path: string, name: string, view: Exchange['view']): Buffer {
  if (name.startsWith('trusted.') && !exchange.user.isSuperuser) {
    throw new JavaException('AccessControl', `User doesn't have permission for xattr: ${name}`)
  }
  try {
    return view.getXattr(path, name, true)
  } catch (error) {
    if (errorCode(error) !== 'ENODATA') throw error
    throw new JavaException(
      'XAttrNotFound',
      'At least one of the attributes provided was not found.',
      error,
    )
  }
}

function listXattrs(exchange: Exchange): Answer {
  existing(exchange)
  // Hadoop writes this list as a text that holds JSON.
  return json({ XAttrNames: JSON.stringify(visible(exchange)) })
}

function setXattr({ view, path, parameters }: Exchange): Answer {
  const name = xattrName(parameters.required('xattr.name'))
  const value = decodeXattr(parameters.raw('xattr.value') ?? '')
  const flags = parameters.required('flag').toUpperCase().split(',')
  const create = flags.includes('CREATE')
  const replace = flags.includes('REPLACE')
  if ((!create && !replace) || flags.some(flag => flag !== 'CREATE' && flag !== 'REPLACE')) {
    throw new JavaException(
      'IllegalArgument',
      `Invalid value for webhdfs parameter "flag": "${flags.join(',')}" is no XAttrSetFlag`,
    )
  }
  const mode = create && replace ? XATTR.set : create ? XATTR.create : XATTR.replace
  try {
    view.setXattr(path, name, value, mode, true)
  } catch (error) {
    throw setXattrError(error, name)
  }
  return EMPTY
}

function setXattrError(error: unknown, name: string): unknown {
  const code = errorCode(error)
  if (code === 'EEXIST') {
    return new JavaException(
      'IO',
      `XAttr: ${name} already exists. The REPLACE flag must be specified.`,
      error,
    )
  }
  if (code === 'ENODATA') {
    return new JavaException(
      'IO',
      `XAttr: ${name} does not exist. The CREATE flag must be specified.`,
      error,
    )
  }
  return error
}

function removeXattr({ view, path, parameters }: Exchange): Answer {
  const name = xattrName(parameters.required('xattr.name'))
  try {
    view.removeXattr(path, name, true)
  } catch (error) {
    if (errorCode(error) !== 'ENODATA') throw error
    throw new JavaException(
      'XAttrNotFound',
      'No matching attributes found for remove operation',
      error,
    )
  }
  return EMPTY
}

function getAclStatus(exchange: Exchange): Answer {
  return json({ AclStatus: exchange.status.writeAcl(existing(exchange)) })
}

function refuseAcl(): Answer {
  throw new JavaException(
    'Acl',
    'The ACL operation has been rejected.  Support for ACLs has been disabled by setting ' +
      'dfs.namenode.acls.enabled to false.',
  )
}

function getHomeDirectory({ user }: Exchange): Answer {
  return json({ Path: `/user/${user.name}` })
}

function getTrashRoot({ user }: Exchange): Answer {
  return json({ Path: `/user/${user.name}/.Trash` })
}

function getTrashRoots(exchange: Exchange): Answer {
  const { view, user, status, parameters } = exchange
  const all = parameters.boolean('allusers', false)
  const users = all ? namesBelow(exchange, '/user') : [user.name]
  const roots: Json[] = []
  for (const name of users) {
    const path = `/user/${name}/.Trash`
    const record = rules.statOrNull(view, path)
    if (record !== null) roots.push({ ...status.write(record, 0, ''), path })
  }
  return json({ Paths: roots })
}

function namesBelow({ view }: Exchange, path: string): string[] {
  if (rules.statOrNull(view, path) === null) return []
  return view.list(path, null, 10_000, false).names
}

const READ: OperationTable = {
  GETFILESTATUS: { run: getFileStatus, needs: {} },
  GETFILELINKSTATUS: { run: getFileLinkStatus, needs: {} },
  GETLINKTARGET: { run: getLinkTarget, needs: {} },
  GETCONTENTSUMMARY: { run: getContentSummary, needs: { self: 5 } },
  GETQUOTAUSAGE: { run: getQuotaUsage, needs: { self: 5 } },
  GETXATTRS: { run: getXattrs, about: 'xattr', needs: { self: 4 } },
  LISTXATTRS: { run: listXattrs, about: 'xattr', needs: { self: 4 } },
  GETACLSTATUS: { run: getAclStatus, needs: {} },
  CHECKACCESS: { run: checkAccess, needs: {} },
  GETHOMEDIRECTORY: { run: getHomeDirectory },
  GETTRASHROOT: { run: getTrashRoot },
  GETTRASHROOTS: { run: getTrashRoots, needs: {} },
}

const WRITE: OperationTable = {
  SETXATTR: { run: setXattr, changes: true, about: 'xattr', needs: { self: 2 } },
  REMOVEXATTR: { run: removeXattr, changes: true, about: 'xattr', needs: { self: 2 } },
  MODIFYACLENTRIES: { run: refuseAcl },
  REMOVEACLENTRIES: { run: refuseAcl },
  REMOVEDEFAULTACL: { run: refuseAcl },
  REMOVEACL: { run: refuseAcl },
  SETACL: { run: refuseAcl },
}

/** Operations on one path's attributes, by method. */
export const ATTRIBUTES: Readonly<Record<'GET' | 'PUT', OperationTable>> = {
  GET: READ,
  PUT: WRITE,
}
