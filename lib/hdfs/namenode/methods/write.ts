/**
 * Writing files: create, append, blocks, close; and leases. What the calls do is in `writer.ts`.
 *
 * Invariants:
 * - `complete` answers true at once: what the DataNode acknowledged is stored, and is durable with the
 *   flush that the answer waits for.
 */

import { JavaException } from '../../../java-exceptions.js'
import { noDatanode } from '../exceptions.js'
import type { Namespace } from '../namespace.js'
import { Writer } from '../writer.js'
import type { NewFile } from '../writer.js'
import type { ClientHandlers } from './service.js'

const CREATE = { create: 0x01, overwrite: 0x02, newBlock: 0x20 } as const

/** The methods. */
export function writeMethods(ns: Namespace): ClientHandlers {
  const files = new Writer(ns)
  return {
    create: (request, call) => {
      const path = ns.changed(request.src, 'Cannot create file')
      const mode = (request.masked?.perm ?? 0o644) & 0o777
      const file: NewFile = {
        path,
        mode,
        client: request.clientName,
        create: (request.createFlag & CREATE.create) !== 0,
        overwrite: (request.createFlag & CREATE.overwrite) !== 0,
        createParent: request.createParent,
        replication: request.replication,
        blockSize: Number(request.blockSize),
      }
      return ns.durable({ fs: files.create(ns.user(call), file, call) })
    },
    append: (request, call) => {
      const path = ns.changed(request.src, 'Cannot append to file')
      const isNewBlock = (request.flag & CREATE.newBlock) !== 0
      return files.append(ns.user(call), path, request.clientName, isNewBlock, call)
    },
    addBlock: (request, call) => {
      const file = files.written(request.src, request.fileId, request.clientName, call)
      const isExcluded = request.excludeNodes.some(
        node => node.id?.datanodeUuid === ns.config.datanodeUuid,
      )
      if (isExcluded) throw noDatanode(request.src, 1)
      if (ns.store.health().full) throw noDatanode(request.src, 'no')
      return { block: files.addBlock(file, request.previous) }
    },
    abandonBlock: (request, call) => {
      const file = files.written(request.src, request.fileId, request.holder, call)
      files.abandon(file, request.b)
      return ns.durable({})
    },
    complete: (request, call) =>
      ns.durable({
        result: files.complete(request.src, request.fileId, request.clientName, request.last, call),
      }),
    fsync: (request, call) => {
      files.written(request.src, request.fileId, request.client, call)
      return ns.durable({})
    },
    updateBlockForPipeline: (request, call) => {
      const { file, block } = files.writtenBlock(request.block, request.clientName, call)
      block.generation++
      const located = ns.blocks.located(file, block, Number(request.block?.numBytes ?? 0n))
      return { block: { ...located, locs: [], isCached: [], storageTypes: [], storageIDs: [] } }
    },
    updatePipeline: (request, call) => {
      files.writtenBlock(request.oldBlock, request.clientName, call)
      return ns.durable({})
    },
    getAdditionalDatanode: request => {
      throw new JavaException(
        'IO',
        `Failed to find ${request.numAdditionalNodes} additional datanodes for ${request.src}: ` +
          'this cluster has one.',
      )
    },
    renewLease: request => {
      ns.leases.renew(request.clientName)
      return {}
    },
    recoverLease: (request, call) => {
      const path = ns.path(request.src)
      const user = ns.user(call)
      const facts = ns.requireFile(user, path)
      ns.checkAccess(user, path, 2)
      const open = ns.leases.find(facts.view, facts.inode)
      if (open !== undefined) ns.leases.close(open)
      return ns.durable({ result: true })
    },
    isFileClosed: (request, call) => {
      const facts = ns.requireFile(ns.user(call), ns.path(request.src))
      return { result: ns.leases.find(facts.view, facts.inode) === undefined }
    },
    truncate: (request, call) => {
      const path = ns.changed(request.src, 'Cannot truncate for')
      const length = Number(BigInt.asIntN(64, request.newLength))
      files.truncate(ns.user(call), path, length, request.clientName, call)
      return ns.durable({ result: true })
    },
    concat: (request, call) => {
      const target = ns.changed(request.trg, 'Cannot concat')
      files.concat(
        ns.user(call),
        target,
        request.srcs.map(source => ns.path(source)),
      )
      return ns.durable({})
    },
    listOpenFiles: (request, call) => {
      ns.superuser(call)
      const files = ns.leases.list(Number(request.id), ns.config.listingLimit + 1)
      const page = files.slice(0, ns.config.listingLimit)
      const prefix = request.path === '' ? '/' : request.path
      return {
        entries: page
          .filter(file => file.path.startsWith(prefix))
          .map(file => ({
            id: BigInt(file.number),
            path: file.path,
            clientName: file.client,
            clientMachine: file.address,
          })),
        hasMore: files.length > page.length,
        types: request.types,
      }
    },
  }
}
