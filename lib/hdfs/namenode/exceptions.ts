/**
 * Refusals of the NameNode that are not errors of the store, with the words that clients look for.
 * Errors of the store become Java exceptions in `lib/java-exceptions.ts`.
 */

import { JavaException } from '../../java-exceptions.js'

/** No such file, in the words of every operation that needs one. */
export function fileNotFound(path: string): JavaException {
  return new JavaException('FileNotFound', `File does not exist: ${path}`)
}

/** Somebody else (or the same client) writes the file. */
export function alreadyBeingCreated(
  operation: 'CREATE_FILE' | 'APPEND_FILE' | 'TRUNCATE_FILE',
  path: string,
  client: string,
  address: string,
  holder: string,
  holderAddress: string,
): JavaException {
  const why =
    holder === client
      ? `${client} is already the current lease holder.`
      : `this file lease is currently owned by ${holder} on ${holderAddress}`
  return new JavaException(
    'AlreadyBeingCreated',
    `Failed to ${operation} ${path} for ${client} on ${address} because ${why}`,
  )
}

/** The client does not, or no longer, write this file. */
export function leaseExpired(
  path: string,
  fileId: bigint,
  client: string,
  holder?: string,
): JavaException {
  const file = `${path} (inode ${fileId.toString()})`
  const message =
    holder === undefined
      ? `File is not open for writing: ${file} Holder ${client} does not have any open files.`
      : `Client (=${client}) is not the lease owner (=${holder}: ${file}`
  return new JavaException('LeaseExpired', message)
}

/** The file that was being written is gone. */
export function writtenFileNotFound(path: string, fileId: bigint, client: string): JavaException {
  return new JavaException(
    'FileNotFound',
    `File does not exist: ${path} (inode ${fileId.toString()}) ` +
      `Holder ${client} does not have any open files.`,
  )
}

/** Changes are refused while the NameNode is in safe mode. */
export function safeMode(what: string): JavaException {
  return new JavaException(
    'SafeMode',
    `${what}. Name node is in safe mode.\nIt was turned on manually. ` +
      'Use "hdfs dfsadmin -safemode leave" to turn safe mode off.',
  )
}

/** No DataNode takes another block: the only one is full, or the client cannot use it. */
export function noDatanode(path: string, excluded: 'no' | 1): JavaException {
  return new JavaException(
    'IO',
    `File ${path} could only be written to 0 of the 1 minReplication nodes. ` +
      `There are 1 datanode(s) running and ${excluded} node(s) are excluded in this operation.`,
  )
}

/** HDFS with ACLs turned off. */
export function aclsDisabled(): JavaException {
  return new JavaException(
    'Acl',
    'The ACL operation has been rejected.  Support for ACLs has been disabled by setting ' +
      'dfs.namenode.acls.enabled to false.',
  )
}

/** A call that this server does not offer; clients fall back. */
export function unsupported(what: string): JavaException {
  return new JavaException('UnsupportedOperation', `${what} is not supported`)
}
