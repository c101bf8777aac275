/**
 * The one table from store errors to the Java exceptions that Hadoop clients test for.
 *
 * Invariants:
 * - Every error that leaves through HDFS RPC or WebHDFS is a {@link JavaException}; clients match
 *   its class by name and read its message up to the first newline.
 * - A code without a row becomes `java.io.IOException`, never a crash and never a success.
 * - Message texts that real HDFS clients and tests search for are composed here and nowhere else.
 */

/** Java class names, by the short name used in this project. */
export const JAVA_CLASS = {
  AccessControl: 'org.apache.hadoop.security.AccessControlException',
  Acl: 'org.apache.hadoop.hdfs.protocol.AclException',
  AlreadyBeingCreated: 'org.apache.hadoop.hdfs.protocol.AlreadyBeingCreatedException',
  Authorization: 'org.apache.hadoop.security.authorize.AuthorizationException',
  Checksum: 'org.apache.hadoop.fs.ChecksumException',
  DSQuotaExceeded: 'org.apache.hadoop.hdfs.protocol.DSQuotaExceededException',
  FileAlreadyExists: 'org.apache.hadoop.fs.FileAlreadyExistsException',
  FileNotFound: 'java.io.FileNotFoundException',
  HadoopIllegalArgument: 'org.apache.hadoop.HadoopIllegalArgumentException',
  IllegalArgument: 'java.lang.IllegalArgumentException',
  InvalidPath: 'org.apache.hadoop.fs.InvalidPathException',
  IO: 'java.io.IOException',
  LeaseExpired: 'org.apache.hadoop.hdfs.server.namenode.LeaseExpiredException',
  NotReplicatedYet: 'org.apache.hadoop.hdfs.server.namenode.NotReplicatedYetException',
  NSQuotaExceeded: 'org.apache.hadoop.hdfs.protocol.NSQuotaExceededException',
  ParentNotDirectory: 'org.apache.hadoop.fs.ParentNotDirectoryException',
  PathComponentTooLong:
    'org.apache.hadoop.hdfs.protocol.FSLimitException$PathComponentTooLongException',
  PathIsNotDirectory: 'org.apache.hadoop.fs.PathIsNotDirectoryException',
  PathIsNotEmptyDirectory: 'org.apache.hadoop.fs.PathIsNotEmptyDirectoryException',
  RecoveryInProgress: 'org.apache.hadoop.hdfs.protocol.RecoveryInProgressException',
  Retriable: 'org.apache.hadoop.ipc.RetriableException',
  RpcNoSuchMethod: 'org.apache.hadoop.ipc.RpcNoSuchMethodException',
  RpcNoSuchProtocol: 'org.apache.hadoop.ipc.RpcNoSuchProtocolException',
  RpcServer: 'org.apache.hadoop.ipc.RpcServerException',
  Runtime: 'java.lang.RuntimeException',
  SafeMode: 'org.apache.hadoop.hdfs.server.namenode.SafeModeException',
  Security: 'java.lang.SecurityException',
  Snapshot: 'org.apache.hadoop.hdfs.protocol.SnapshotException',
  SnapshotAccessControl: 'org.apache.hadoop.hdfs.protocol.SnapshotAccessControlException',
  UnresolvedPath: 'org.apache.hadoop.hdfs.protocol.UnresolvedPathException',
  UnsupportedOperation: 'java.lang.UnsupportedOperationException',
  XAttrNotFound: 'org.apache.hadoop.hdfs.protocol.XAttrNotFoundException',
} as const

/** A short name in {@link JAVA_CLASS}. */
export type JavaClass = keyof typeof JAVA_CLASS

/** An error as a Hadoop client sees it: a Java class name and a message. */
export class JavaException extends Error {
  /** Short name of the class, for comparing. */
  readonly type: JavaClass

  /**
   * @param type - Short name of the class.
   * @param message - What the client shows; its first line is what clients search.
   * @param cause - The store's error, if that is where it comes from.
   */
  constructor(type: JavaClass, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.name = 'JavaException'
    this.type = type
  }

  /** Full Java class name; inner classes keep their `$`. */
  get javaClassName(): string {
    return JAVA_CLASS[this.type]
  }

  /** Class name without its package, as WebHDFS's `exception` field has it. */
  get simpleName(): string {
    const full = JAVA_CLASS[this.type]
    return full.slice(Math.max(full.lastIndexOf('.'), full.lastIndexOf('$')) + 1)
  }
}

/** What a failed operation was about; it decides between the classes that one code can mean. */
export interface ErrorContext {
  /** The path the caller named. */
  path: string
  /** Kind of operation; `snapshot` turns name conflicts into SnapshotException. */
  about?: 'path' | 'snapshot' | 'xattr'
  /** Snapshot name, when `about` is `snapshot`. */
  snapshot?: string
  /** Composes the message of a refused permission; see {@link permissionMessage}. */
  denied?: () => string
}

interface Row {
  type: JavaClass
  message: (context: ErrorContext, original: string) => string
}

const TABLE: Readonly<Record<string, Row>> = {
  ENOENT: { type: 'FileNotFound', message: c => `File does not exist: ${c.path}` },
  ESTALE: { type: 'FileNotFound', message: c => `File does not exist: ${c.path}` },
  EACCES: { type: 'AccessControl', message: c => c.denied?.() ?? `Permission denied: ${c.path}` },
  EPERM: { type: 'AccessControl', message: c => c.denied?.() ?? `Permission denied: ${c.path}` },
  EEXIST: { type: 'FileAlreadyExists', message: c => `${c.path} already exists` },
  ENOTDIR: { type: 'ParentNotDirectory', message: c => notDirectoryMessage(c.path) },
  EISDIR: { type: 'FileNotFound', message: c => `Path is not a file: ${c.path}` },
  ENOTEMPTY: {
    type: 'PathIsNotEmptyDirectory',
    message: c => `\`${c.path} is non empty': Directory is not empty`,
  },
  EROFS: {
    type: 'SnapshotAccessControl',
    message: () => 'Modification on a read-only snapshot is disallowed',
  },
  ENAMETOOLONG: { type: 'PathComponentTooLong', message: c => nameTooLongMessage(c.path) },
  EINVAL: { type: 'InvalidPath', message: c => `Invalid path name ${c.path}` },
  ENODATA: {
    type: 'XAttrNotFound',
    message: () => 'At least one of the attributes provided was not found.',
  },
  EDQUOT: { type: 'DSQuotaExceeded', message: (c, text) => `${text}: ${c.path}` },
  ENOSPC: { type: 'IO', message: c => `File ${c.path} could not be written: no space is left` },
  EXDEV: {
    type: 'IO',
    message: c => `${c.path} can't be moved: source and target lie in different volumes`,
  },
  EOPNOTSUPP: { type: 'UnsupportedOperation', message: (c, text) => `${text}: ${c.path}` },
  // A NameNode that only reads: clients know it, and do not try another DataNode.
  ERR_LOCKSTEP_CLOSED: {
    type: 'SafeMode',
    message: (c, text) => `Cannot change ${c.path}. Name node is in safe mode.\n${text}`,
  },
  ERR_LOCKSTEP_CORRUPT: { type: 'Checksum', message: (c, text) => `${c.path}: ${text}` },
}

const SNAPSHOT_TABLE: Readonly<Record<string, Row>> = {
  EEXIST: {
    type: 'Snapshot',
    message: c =>
      `Failed to add snapshot: there is already a snapshot with the same name "${c.snapshot ?? ''}".`,
  },
  ENOENT: {
    type: 'Snapshot',
    message: c =>
      `Cannot find the snapshot "${c.snapshot ?? ''}" of ${c.path}: there is no such snapshot.`,
  },
  EINVAL: {
    type: 'HadoopIllegalArgument',
    message: c => `Snapshot name "${c.snapshot ?? ''}" is not valid: 1 to 255 bytes, no "/".`,
  },
  ENAMETOOLONG: {
    type: 'HadoopIllegalArgument',
    message: c => `Snapshot name "${c.snapshot ?? ''}" is not valid: 1 to 255 bytes, no "/".`,
  },
  ENOTDIR: {
    type: 'PathIsNotDirectory',
    message: c => `\`${c.path}': Is not a directory`,
  },
}

/**
 * Turns whatever an operation threw into what the client is told. A {@link JavaException} passes
 * unchanged; an error without a known code becomes `java.io.IOException` with its first line.
 */
export function toJavaException(error: unknown, context: ErrorContext): JavaException {
  if (error instanceof JavaException) return error
  const text = error instanceof Error ? firstLine(error.message) : 'unknown failure'
  const code = errorCode(error)
  const special = context.about === 'snapshot' ? SNAPSHOT_TABLE[code] : undefined
  const row = special ?? TABLE[code]
  if (row === undefined) return new JavaException('IO', `${context.path}: ${text}`, error)
  return new JavaException(row.type, row.message(context, text), error)
}

/** The stable code of an error, or the empty string. */
export function errorCode(error: unknown): string {
  if (typeof error !== 'object' || error === null || !('code' in error)) return ''
  return typeof error.code === 'string' ? error.code : ''
}

function firstLine(text: string): string {
  const end = text.indexOf('\n')
  return end < 0 ? text : text.slice(0, end)
}

/** HDFS's text for a path that goes through a file. */
export function notDirectoryMessage(path: string): string {
  return `${path} (is not a directory)`
}

/** HDFS's text for a path component over 255 bytes. */
export function nameTooLongMessage(path: string): string {
  const names = path.split('/')
  const index = names.findIndex(name => Buffer.byteLength(name) > 255)
  const name = names[index] ?? ''
  const directory = names.slice(0, Math.max(index, 0)).join('/') || '/'
  return (
    `The maximum path component name limit of ${name} in directory ${directory} is exceeded: ` +
    `limit=255 length=${String(Buffer.byteLength(name))}`
  )
}

/** Hadoop's FsAction names by the bits 4 read, 2 write, 1 execute. */
const ACTION = [
  'NONE',
  'EXECUTE',
  'WRITE',
  'WRITE_EXECUTE',
  'READ',
  'READ_EXECUTE',
  'READ_WRITE',
  'ALL',
] as const

/** Hadoop's name of a sum of 4 read, 2 write and 1 execute, such as `READ_EXECUTE`. */
export function actionName(mask: number): string {
  return ACTION[mask & 7] ?? 'NONE'
}

/** Mode bits as `rwxr-xr-t`, the way Hadoop prints an FsPermission. */
export function permissionText(mode: number): string {
  let text = ''
  for (let shift = 6; shift >= 0; shift -= 3) {
    const bits = (mode >> shift) & 7
    text += (bits & 4 ? 'r' : '-') + (bits & 2 ? 'w' : '-') + (bits & 1 ? 'x' : '-')
  }
  if ((mode & 0o1000) === 0) return text
  return text.slice(0, 8) + ((mode & 1) !== 0 ? 't' : 'T')
}

/** What {@link permissionMessage} needs to know of an inode. */
export interface InodeFacts {
  owner: string
  group: string
  /** Permission bits, sticky included. */
  mode: number
  isDirectory: boolean
}

/** How {@link permissionMessage} looks at the tree. */
export interface PermissionSource {
  /** The user who was refused. */
  user: string
  /** Facts read with the superuser's eyes; null if there is no such inode. */
  facts(path: string): InodeFacts | null
  /** Whether the user has that access (4 read, 2 write, 1 execute) to the path. */
  may(path: string, mask: number): boolean
}

/** What the refused operation needed, in HDFS's order of checking. */
export interface NeededAccess {
  /** On the parent, or on the deepest ancestor that exists. */
  parent?: number
  /** On the path itself. */
  self?: number
  /** The operation is for the owner alone. */
  owner?: boolean
  /** The operation is for the superuser alone. */
  superuser?: boolean
}

/**
 * HDFS's text of a refused permission: it names the first component, from the root down, at which
 * the user was stopped. Costs one access check per component; only failed operations pay it.
 */
export function permissionMessage(
  source: PermissionSource,
  path: string,
  needed: NeededAccess,
): string {
  const found = findDenied(source, path, needed)
  if (found !== null) return found
  const parent = path.slice(0, path.lastIndexOf('/')) || '/'
  return stickyText(source.user, path, source.facts(path), parent, source.facts(parent))
}

/**
 * As {@link permissionMessage}, or null if nothing on this path refuses the user. An operation on
 * two paths asks for the one, then for the other.
 */
export function findDenied(
  source: PermissionSource,
  path: string,
  needed: NeededAccess,
): string | null {
  if (needed.superuser === true) {
    return `Access denied for user ${source.user}. Superuser privilege is required`
  }
  let deepest = '/'
  for (const ancestor of ancestorsOf(path)) {
    const facts = source.facts(ancestor)
    if (facts === null) break
    if (!facts.isDirectory) return notDirectoryMessage(ancestor)
    if (!source.may(ancestor, 1)) return deniedText(source.user, 1, ancestor, facts)
    deepest = ancestor
  }
  if (needed.parent !== undefined && !source.may(deepest, needed.parent)) {
    return deniedText(source.user, needed.parent, deepest, source.facts(deepest))
  }
  const self = source.facts(path)
  if (self === null) return null
  if (needed.self !== undefined && !source.may(path, needed.self)) {
    return deniedText(source.user, needed.self, path, self)
  }
  if (needed.owner === true && self.owner !== source.user) {
    return `Permission denied. user=${source.user} is not the owner of inode=${path}`
  }
  return null
}

function ancestorsOf(path: string): string[] {
  const names = path.split('/').filter(name => name !== '')
  const ancestors = ['/']
  for (let count = 1; count < names.length; count++) {
    ancestors.push('/' + names.slice(0, count).join('/'))
  }
  return ancestors
}

function inodeText(path: string, facts: InodeFacts | null): string {
  if (facts === null) return `"${path}"`
  const kind = facts.isDirectory ? 'd' : '-'
  return `"${path}":${facts.owner}:${facts.group}:${kind}${permissionText(facts.mode)}`
}

function deniedText(user: string, mask: number, path: string, facts: InodeFacts | null): string {
  return `Permission denied: user=${user}, access=${actionName(mask)}, inode=${inodeText(path, facts)}`
}

function stickyText(
  user: string,
  path: string,
  facts: InodeFacts | null,
  parent: string,
  parentFacts: InodeFacts | null,
): string {
  return (
    `Permission denied by sticky bit: user=${user}, path=${inodeText(path, facts)}, ` +
    `parent=${inodeText(parent, parentFacts)}`
  )
}
