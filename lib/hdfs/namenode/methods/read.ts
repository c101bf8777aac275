/**
 * Looking: status, listings, block locations, sums.
 *
 * Invariants:
 * - Names are listed in the store's order (signed bytes), which is HDFS's; pages go on after a name.
 * - A symbolic link shows itself in a listing; every other call follows it.
 */

import type { MessageInitShape } from '@bufbuild/protobuf'
import { JavaException } from '../../../java-exceptions.js'
import { ATTRIBUTE, ATTRIBUTE_COUNT, KIND } from '../../../native.js'
import type { BatchedDirectoryListingProtoSchema } from '../../proto/gen/hdfs_pb.js'
import type { AclEntryProto_FsActionProto } from '../../proto/gen/acl_pb.js'
import { fileNotFound } from '../exceptions.js'
import type { Namespace } from '../namespace.js'
import { childOf } from '../path.js'
import type { StatusInit } from '../status.js'
import { NO_PATH, factsAt, statusOf } from '../status.js'
import type { HdfsUser } from '../../../hdfs-users.js'
import type { ClientHandlers } from './service.js'

/** Most paths of one batched listing. */
const BATCH_PATHS_MAX = 100

/** All quotas are unset: -1, as Java reads it. */
const UNSET = 0xffff_ffff_ffff_ffffn

/** The methods. */
export function readMethods(ns: Namespace): ClientHandlers {
  return {
    getFileInfo: (request, call) => {
      const fs = fileInfo(ns, ns.user(call), ns.path(request.src), true)
      return fs === null ? {} : { fs }
    },
    getFileLinkInfo: (request, call) => {
      const fs = fileInfo(ns, ns.user(call), ns.path(request.src), false)
      return fs === null ? {} : { fs }
    },
    getLocatedFileInfo: (request, call) => {
      const path = ns.path(request.src)
      const fs = fileInfo(ns, ns.user(call), path, true)
      if (fs === null) return {}
      if (ns.record[ATTRIBUTE.kind] === KIND.file) {
        fs.locations = ns.blocks.locate(ns.facts(), 0, Infinity)
      }
      return { fs }
    },
    getBlockLocations: (request, call) => {
      const path = ns.path(request.src)
      const user = ns.user(call)
      const offset = Number(BigInt.asIntN(64, request.offset))
      const length = Number(BigInt.asIntN(64, request.length))
      if (offset < 0) throw illegal(`Negative offset is not supported. File: ${path}`)
      if (length < 0) throw illegal(`Negative length is not supported. File: ${path}`)
      const facts = ns.requireFile(user, path)
      ns.checkAccess(user, path, 4)
      return { locations: ns.blocks.locate(facts, offset, length) }
    },
    getListing: (request, call) => {
      const dirList = listing(
        ns,
        ns.user(call),
        ns.path(request.src),
        Buffer.from(request.startAfter).toString(),
        request.needLocation,
      )
      return dirList === null ? {} : { dirList }
    },
    getBatchedListing: (request, call) =>
      batchedListing(ns, ns.user(call), request.paths, request.startAfter, request.needLocation),
    getPreferredBlockSize: (request, call) => {
      const facts = ns.requireFile(ns.user(call), ns.path(request.filename))
      return { bsize: BigInt(facts.blockSize) }
    },
    getContentSummary: async (request, call) => {
      const { length, files, directories, spaceConsumed } = await sums(ns, request.path, call.user)
      return {
        summary: {
          length: BigInt(length),
          fileCount: BigInt(files),
          directoryCount: BigInt(directories),
          quota: UNSET,
          spaceConsumed: BigInt(spaceConsumed),
          spaceQuota: UNSET,
          snapshotLength: 0n,
          snapshotFileCount: 0n,
          snapshotDirectoryCount: 0n,
          snapshotSpaceConsumed: 0n,
          erasureCodingPolicy: '',
        },
      }
    },
    getQuotaUsage: async (request, call) => {
      const { files, directories, spaceConsumed } = await sums(ns, request.path, call.user)
      return {
        usage: {
          fileAndDirectoryCount: BigInt(files + directories),
          quota: UNSET,
          spaceConsumed: BigInt(spaceConsumed),
          spaceQuota: UNSET,
        },
      }
    },
    checkAccess: (request, call) => {
      const path = ns.path(request.path)
      const user = ns.user(call)
      ns.require(user, path)
      const mask: AclEntryProto_FsActionProto = request.mode
      ns.checkAccess(user, path, mask)
      return {}
    },
    getLinkTarget: (request, call) => {
      const path = ns.path(request.path)
      const user = ns.user(call)
      if (!ns.stat(user, path, false)) throw fileNotFound(path)
      if (ns.record[ATTRIBUTE.kind] !== KIND.symlink) {
        throw new JavaException('IO', `Path ${path} is not a symbolic link`)
      }
      return { targetPath: ns.attempt(path, () => user.view.readLink(path), {}, user) }
    },
    getEnclosingRoot: () => ({ enclosingRootPath: '/' }),
  }
}

function illegal(message: string): JavaException {
  return new JavaException('HadoopIllegalArgument', message)
}

/** Status of one path; null if there is nothing, also where the path goes through a file. */
function fileInfo(ns: Namespace, user: HdfsUser, path: string, follow: boolean): StatusInit | null {
  if (!statOrThroughFile(ns, user, path, follow)) return null
  const isSymlink = ns.record[ATTRIBUTE.kind] === KIND.symlink
  const symlink = isSymlink ? user.view.readLink(path) : undefined
  return statusOf(ns.record, 0, NO_PATH, ns.users, ns.config, symlink)
}

function statOrThroughFile(ns: Namespace, user: HdfsUser, path: string, follow: boolean): boolean {
  try {
    return ns.stat(user, path, follow)
  } catch (error) {
    if (error instanceof JavaException && error.type === 'ParentNotDirectory') return false
    throw error
  }
}

interface Listed {
  partialListing: StatusInit[]
  remainingEntries: number
}

function listing(
  ns: Namespace,
  user: HdfsUser,
  path: string,
  after: string,
  needLocation: boolean,
): Listed | null {
  if (!statOrThroughFile(ns, user, path, true)) return null
  if (ns.record[ATTRIBUTE.kind] !== KIND.directory) {
    const status = statusOf(ns.record, 0, NO_PATH, ns.users, ns.config)
    if (needLocation) status.locations = ns.blocks.locate(ns.facts(), 0, Infinity)
    return { partialListing: [status], remainingEntries: 0 }
  }
  const entryCount = ns.record[ATTRIBUTE.size] ?? 0
  const { listingLimit } = ns.config
  const needed = { self: 5 }
  // Listing needs the right to read and to search, where POSIX needs the first alone.
  ns.checkAccess(user, path, needed.self)
  const start = after === '' ? null : after
  const page = ns.attempt(
    path,
    () => user.view.list(path, start, listingLimit, true),
    { needed },
    user,
  )
  const partialListing = page.names.map((name, index) =>
    listedStatus(ns, user, path, name, page.attributes, index * ATTRIBUTE_COUNT, needLocation),
  )
  // Clients only ask whether it is 0, and take the number as a hint of what to expect.
  const rest = Math.max(1, entryCount - page.names.length)
  return { partialListing, remainingEntries: page.more ? Math.min(rest, 0x7fff_ffff) : 0 }
}

function listedStatus(
  ns: Namespace,
  user: HdfsUser,
  directory: string,
  name: string,
  record: Float64Array,
  at: number,
  needLocation: boolean,
): StatusInit {
  const kind = record[at + ATTRIBUTE.kind]
  const symlink = kind === KIND.symlink ? user.view.readLink(childOf(directory, name)) : undefined
  const status = statusOf(record, at, Buffer.from(name), ns.users, ns.config, symlink)
  if (needLocation && kind === KIND.file) {
    status.locations = ns.blocks.locate(factsAt(record, at, ns.config), 0, Infinity)
  }
  return status
}

type BatchPart = MessageInitShape<typeof BatchedDirectoryListingProtoSchema>

/** Where a batched listing goes on: after a name of the path with that index. */
function parseStart(startAfter: Uint8Array): { index: number; after: string } {
  const text = Buffer.from(startAfter).toString()
  const end = text.indexOf('/')
  if (text === '') return { index: 0, after: '' }
  const index = Number(text.slice(0, end))
  if (end < 1 || !Number.isSafeInteger(index) || index < 0) throw illegal('Invalid startAfter')
  return { index, after: text.slice(end + 1) }
}

/** Lists several paths in one reply, as many entries as one listing has. */
function batchedListing(
  ns: Namespace,
  user: HdfsUser,
  paths: readonly string[],
  startAfter: Uint8Array,
  needLocation: boolean,
) {
  if (paths.length > BATCH_PATHS_MAX) {
    throw illegal(`Too many source paths (${paths.length} > ${BATCH_PATHS_MAX})`)
  }
  const listings: BatchPart[] = []
  let { index, after } = parseStart(startAfter)
  let count = 0
  for (; index < paths.length && count < ns.config.listingLimit; index++, after = '') {
    const page = listedOrRefused(ns, user, paths[index] ?? '', after, needLocation)
    listings.push({ parentIdx: index, ...page.listing })
    count += page.listing.partialListing.length
    if (page.last === undefined) continue
    return { listings, hasMore: true, startAfter: Buffer.from(`${index}/${page.last}`) }
  }
  const hasMore = index < paths.length
  return { listings, hasMore, startAfter: Buffer.from(hasMore ? `${index}/` : '') }
}

/** One path's part; `last` is the name after which more follow. */
function listedOrRefused(
  ns: Namespace,
  user: HdfsUser,
  src: string,
  after: string,
  needLocation: boolean,
) {
  try {
    const path = ns.path(src)
    const page = listing(ns, user, path, after, needLocation)
    if (page === null) throw fileNotFound(path)
    const { partialListing, remainingEntries } = page
    const name = Buffer.from(partialListing.at(-1)?.path ?? []).toString()
    return { listing: { partialListing }, last: remainingEntries > 0 ? name : undefined }
  } catch (error) {
    const { javaClassName, message } = ns.refusal(error, src, user)
    const exception = { className: javaClassName, message }
    return { listing: { partialListing: [], exception }, last: undefined }
  }
}

async function sums(ns: Namespace, src: string, userName: string) {
  const path = ns.path(src)
  const user = ns.users.of(userName)
  ns.require(user, path)
  try {
    return await user.view.contentSummary(path)
  } catch (error) {
    throw ns.refusal(error, path, user, { needed: { self: 5 } })
  }
}
