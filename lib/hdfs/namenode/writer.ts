/**
 * Files that are being written: who may begin, which block comes next, when a file is complete.
 *
 * Invariants:
 * - Blocks of an open file are found by its file id: the file may be renamed while it is written.
 * - Create and append replies say replication 1: clients hold their pipeline to what they are told
 *   there, and one DataNode is all there is. Status calls report what was asked for.
 * - A block's final length is what its writer commits, and never more than what is stored.
 */

import * as rules from '../../hdfs-rules.js'
import { JavaException, errorCode } from '../../java-exceptions.js'
import { ATTRIBUTE, KIND, OPEN } from '../../native.js'
import { blockIdOf } from '../datanode/block-id.js'
import type { ExtendedBlockProto } from '../proto/gen/hdfs_pb.js'
import type { RpcCall } from '../rpc/protocol.js'
import type { LocatedBlockInit } from './block-map.js'
import {
  alreadyBeingCreated,
  fileNotFound,
  leaseExpired,
  writtenFileNotFound,
} from './exceptions.js'
import { fileIdOf, parseFileId } from './file-id.js'
import type { OpenBlock, OpenFile } from './leases.js'
import type { Namespace } from './namespace.js'
import { parentOf } from './path.js'
import type { Facts, StatusInit } from './status.js'
import { NO_PATH, factsAt, statusOf } from './status.js'
import type { HdfsUser } from '../../hdfs-users.js'

const REPLICATION_MAX = 512
const COMPLETED_MAX = 10_000

/** What a client asks of a new file. */
export interface NewFile {
  readonly path: string
  readonly mode: number
  readonly client: string
  /** Whether it may be made if it is not there. */
  readonly create: boolean
  readonly overwrite: boolean
  readonly createParent: boolean
  readonly replication: number
  readonly blockSize: number
}

/** See the head of this file. */
export class Writer {
  readonly #ns: Namespace
  /** Client, file and last block of files that were closed lately. */
  readonly #completed = new Set<string>()

  constructor(ns: Namespace) {
    this.#ns = ns
  }

  /** Makes a file that the client writes; its status for the writer. */
  create(user: HdfsUser, file: NewFile, call: RpcCall): StatusInit {
    const ns = this.#ns
    this.#checkNewFile(file)
    if (ns.stat(user, file.path)) this.#replace(user, file, call)
    else if (!file.create) {
      throw new JavaException(
        'FileNotFound',
        `Can't overwrite non-existent ${file.path} for client ${call.address}`,
      )
    } else if (!file.createParent) this.#requireParent(user, file.path)
    const make = () => {
      this.#makeFile(user, file)
    }
    ns.users.creating(user, file.path, make)
    const { blockSize, replication } = file
    if (blockSize !== ns.config.blockSize || replication !== ns.config.replication) {
      ns.attempt(file.path, () => {
        ns.rootView.setAttributes(file.path, true, { blockSize, replication })
      })
    }
    ns.rootView.stat(file.path, true, ns.record)
    const facts = ns.facts()
    ns.leases.open({
      view: facts.view,
      inode: facts.inode,
      path: file.path,
      client: file.client,
      address: call.address,
      blockSize: facts.blockSize,
      base: 0,
      blocks: [],
    })
    return this.#writtenStatus()
  }

  #checkNewFile({ path, blockSize, replication }: NewFile): void {
    const { blockSizeMin } = this.#ns.config
    if (path === '/')
      throw new JavaException('FileAlreadyExists', '/ already exists as a directory')
    if (blockSize < blockSizeMin || !Number.isSafeInteger(blockSize)) {
      throw new JavaException(
        'IO',
        'Specified block size is less than configured minimum value ' +
          `(dfs.namenode.fs-limits.min-block-size): ${blockSize} < ${blockSizeMin}`,
      )
    }
    if (replication < 1 || replication > REPLICATION_MAX) {
      throw new JavaException(
        'IO',
        `Requested replication factor of ${replication} is out of range for ${path}: ` +
          `1 to ${REPLICATION_MAX}`,
      )
    }
  }

  /** What `ns.record` describes stands where the new file shall be. */
  #replace(user: HdfsUser, file: NewFile, call: RpcCall): void {
    const ns = this.#ns
    const facts = ns.facts()
    const { path } = file
    if (facts.kind === KIND.directory) {
      throw new JavaException('FileAlreadyExists', `${path} already exists as a directory`)
    }
    const open = ns.leases.find(facts.view, facts.inode)
    if (!file.overwrite) {
      if (open !== undefined) this.#takeOver(open, 'CREATE_FILE', path, file.client, call)
      throw new JavaException(
        'FileAlreadyExists',
        `${path} for client ${call.address} already exists`,
      )
    }
    ns.checkAccess(user, path, 2)
    // A new inode, as in HDFS: whoever reads the old file goes on reading the old bytes.
    ns.attempt(
      path,
      () => {
        user.view.unlink(path)
      },
      { needed: { parent: 2 } },
      user,
    )
    if (open !== undefined) ns.leases.close(open)
  }

  #requireParent(user: HdfsUser, path: string): void {
    const parent = parentOf(path)
    if (!this.#ns.stat(user, parent)) {
      throw new JavaException('FileNotFound', `Parent directory doesn't exist: ${parent}`)
    }
    if (this.#ns.facts().kind !== KIND.directory) {
      throw new JavaException('ParentNotDirectory', `Parent path is not a directory: ${parent}`)
    }
  }

  #makeFile(user: HdfsUser, { path, mode }: NewFile): void {
    const flags = OPEN.write | OPEN.create | OPEN.exclusive
    try {
      user.view.open(path, flags, mode).close()
    } catch (error) {
      if (errorCode(error) !== 'ENOENT') {
        throw this.#ns.refusal(error, path, user, { needed: { parent: 2 } })
      }
      this.#makeParents(user, path)
      const needed = { parent: 2 }
      this.#ns.attempt(
        path,
        () => {
          user.view.open(path, flags, mode).close()
        },
        { needed },
        user,
      )
    }
  }

  /** Missing parents of a file get the mode of the deepest directory there is. */
  #makeParents(user: HdfsUser, path: string): void {
    const ns = this.#ns
    let ancestor = parentOf(path)
    while (ancestor !== '/' && !ns.stat(user, ancestor)) ancestor = parentOf(ancestor)
    ns.require(user, ancestor)
    const mode = (ns.facts().mode & 0o777) | 0o300
    const parent = parentOf(path)
    const needed = { parent: 2 }
    ns.attempt(path, () => user.view.makeDirectories(parent, mode), { needed }, user)
  }

  /** Status of `ns.record` for the one who writes it. */
  #writtenStatus(): StatusInit {
    const { record, users, config } = this.#ns
    return { ...statusOf(record, 0, NO_PATH, users, config), blockReplication: 1 }
  }

  /** Opens a file for writing on; the block to write on, if the last one is not full. */
  append(
    user: HdfsUser,
    path: string,
    client: string,
    isNewBlock: boolean,
    call: RpcCall,
  ): { block?: LocatedBlockInit; stat: StatusInit } {
    const ns = this.#ns
    if (!ns.stat(user, path)) {
      throw new JavaException(
        'FileNotFound',
        `Failed to append to non-existent file ${path} for client ${call.address}`,
      )
    }
    const facts = ns.facts()
    if (facts.kind === KIND.directory) {
      throw new JavaException(
        'FileAlreadyExists',
        `Cannot append to directory ${path}; already exists as a directory.`,
      )
    }
    // Opening checks both the permission and that this is no snapshot.
    const needed = { self: 2 }
    ns.attempt(
      path,
      () => {
        user.view.open(path, OPEN.write, 0).close()
      },
      { needed },
      user,
    )
    const open = ns.leases.find(facts.view, facts.inode)
    if (open !== undefined) this.#takeOver(open, 'APPEND_FILE', path, client, call)
    const file = this.#openForAppend(facts, path, client, call.address, isNewBlock)
    const [block] = file.blocks
    const stat = this.#writtenStatus()
    if (block === undefined) return { stat }
    return { stat, block: ns.blocks.located(file, block, facts.size - block.fileOffset) }
  }

  /** A partial last block is written on, unless the client wants a new one. */
  #openForAppend(
    facts: Facts,
    path: string,
    client: string,
    address: string,
    isNewBlock: boolean,
  ): OpenFile {
    const { view, inode, size, blockSize } = facts
    const partial = isNewBlock ? 0 : size % blockSize
    const base = size - partial
    const file = { view, inode, path, client, address, blockSize, base, blocks: [] }
    const opened = this.#ns.leases.open(file)
    if (partial > 0) opened.blocks.push(this.#ns.blocks.allocate(opened, base))
    return opened
  }

  /** Closes another client's file if its lease is old enough. */
  #takeOver(
    open: OpenFile,
    operation: 'CREATE_FILE' | 'APPEND_FILE' | 'TRUNCATE_FILE',
    path: string,
    client: string,
    call: RpcCall,
  ): void {
    if (open.client !== client && this.#ns.leases.isSoftExpired(open)) {
      this.#ns.leases.close(open)
      return
    }
    const { client: holder, address } = open
    throw alreadyBeingCreated(operation, path, client, call.address, holder, address)
  }

  /** The open file of a writer, whose lease this call renews. */
  written(src: string, fileId: bigint, client: string, call: RpcCall): OpenFile {
    const ns = this.#ns
    const node = fileId === 0n ? this.#nodeOf(src, call) : parseFileId(fileId)
    const open = node === undefined ? undefined : ns.leases.find(node.view, node.inode)
    const id = node === undefined ? fileId : fileIdOf(node.view, node.inode)
    if (node === undefined || !this.#exists(node.view, node.inode)) {
      if (open !== undefined) ns.leases.close(open)
      throw writtenFileNotFound(src, id, client)
    }
    if (open === undefined) throw leaseExpired(src, id, client)
    if (open.client !== client) throw leaseExpired(src, id, client, open.client)
    ns.leases.renew(client)
    return open
  }

  #isOpen(src: string, fileId: bigint, call: RpcCall): boolean {
    const node = fileId === 0n ? this.#nodeOf(src, call) : parseFileId(fileId)
    return node !== undefined && this.#ns.leases.find(node.view, node.inode) !== undefined
  }

  #nodeOf(src: string, call: RpcCall): { view: number; inode: number } | undefined {
    const ns = this.#ns
    return ns.stat(ns.user(call), ns.path(src)) ? ns.facts() : undefined
  }

  /** Whether the node has a name; fills `ns.record`. */
  #exists(view: number, inode: number): boolean {
    try {
      this.#ns.rootView.statNode(view, inode, this.#ns.record)
      return (this.#ns.record[ATTRIBUTE.nlink] ?? 0) > 0
    } catch (error) {
      if (errorCode(error) === 'ENOENT' || errorCode(error) === 'ESTALE') return false
      throw error
    }
  }

  /** Commits the block before and gives the next one. */
  addBlock(file: OpenFile, previous: ExtendedBlockProto | undefined): LocatedBlockInit {
    const ns = this.#ns
    const last = file.blocks.at(-1)
    if (last !== undefined && !this.#commit(file, last, previous)) {
      return this.#retried(file, last, previous)
    }
    const end = last === undefined ? file.base : last.fileOffset + last.length
    const block = ns.blocks.allocate(file, end)
    file.blocks.push(block)
    return ns.blocks.located(file, block, 0)
  }

  /** Notes the final length of the last block; false if `previous` does not name it. */
  #commit(file: OpenFile, last: OpenBlock, previous: ExtendedBlockProto | undefined): boolean {
    if (previous?.blockId !== blockIdOf(file.inode, last.index)) return false
    const length = Number(previous.numBytes)
    if (length > last.limit) {
      throw new JavaException('IO', `Block of ${length} bytes is over the limit of ${last.limit}`)
    }
    this.#ns.rootView.statNode(file.view, file.inode, this.#ns.record)
    const { size } = factsAt(this.#ns.record, 0, this.#ns.config)
    if (last.fileOffset + length > size) {
      throw new JavaException(
        'IO',
        `Commit block of ${length} bytes, but ${Math.max(0, size - last.fileOffset)} are stored`,
      )
    }
    last.length = length
    return true
  }

  /** The client did not get our last answer: it gets it again, if nothing was written since. */
  #retried(
    file: OpenFile,
    last: OpenBlock,
    previous: ExtendedBlockProto | undefined,
  ): LocatedBlockInit {
    const before = file.blocks.at(-2)
    const known = before === undefined ? undefined : blockIdOf(file.inode, before.index)
    const isRetry = previous?.blockId === known && last.fileOffset >= file.base
    this.#ns.rootView.statNode(file.view, file.inode, this.#ns.record)
    const { size } = factsAt(this.#ns.record, 0, this.#ns.config)
    if (!isRetry || size > last.fileOffset) {
      throw new JavaException(
        'IO',
        `Cannot allocate block in ${file.path}: passed 'previous' block does not match ` +
          'the actual last block in the file',
      )
    }
    return this.#ns.blocks.located(file, last, 0)
  }

  /** The last block goes, with what was written of it. */
  abandon(file: OpenFile, block: ExtendedBlockProto | undefined): void {
    const last = file.blocks.at(-1)
    if (last === undefined || block?.blockId !== blockIdOf(file.inode, last.index)) return
    file.blocks.pop()
    const handle = this.#ns.rootView.openNode(file.view, file.inode, OPEN.write)
    try {
      handle.stat(this.#ns.record)
      if ((this.#ns.record[ATTRIBUTE.size] ?? 0) > last.fileOffset) handle.truncate(last.fileOffset)
    } finally {
      handle.close()
    }
  }

  /** Closes the file; true also for a client that asks again. */
  complete(
    src: string,
    fileId: bigint,
    client: string,
    last: ExtendedBlockProto | undefined,
    call: RpcCall,
  ): boolean {
    // A client that lost our answer asks again.
    const key = `${client} ${String(fileId)} ${String(last?.blockId)}`
    if (this.#completed.has(key) && !this.#isOpen(src, fileId, call)) return true
    const file = this.written(src, fileId, client, call)
    const block = file.blocks.at(-1)
    if (block !== undefined && last !== undefined && !this.#commit(file, block, last)) {
      throw new JavaException('IO', `${src}: the last block is not the one that was allocated`)
    }
    this.#ns.leases.close(file)
    if (this.#completed.size >= COMPLETED_MAX) this.#completed.clear()
    this.#completed.add(key)
    return true
  }

  /** An open file and its block, by what a client names it with. */
  writtenBlock(
    block: ExtendedBlockProto | undefined,
    client: string,
    call: RpcCall,
  ): { file: OpenFile; block: OpenBlock } {
    const id = block?.blockId ?? 0n
    const view = Number((block?.generationStamp ?? 0n) >> 32n)
    const inode = Number(id >> 24n)
    const file = this.written(`block ${id.toString()}`, fileIdOf(view, inode), client, call)
    const own = file.blocks.find(candidate => blockIdOf(inode, candidate.index) === id)
    if (own === undefined) throw fileNotFound(`block ${id.toString()} of ${file.path}`)
    return { file, block: own }
  }

  /** Cuts a file that nobody writes. */
  truncate(user: HdfsUser, path: string, length: number, client: string, call: RpcCall): void {
    const ns = this.#ns
    if (length < 0) {
      throw new JavaException(
        'HadoopIllegalArgument',
        `Cannot truncate to a negative file size: ${length}.`,
      )
    }
    const facts = ns.requireFile(user, path)
    ns.checkAccess(user, path, 2)
    const open = ns.leases.find(facts.view, facts.inode)
    if (open !== undefined) this.#takeOver(open, 'TRUNCATE_FILE', path, client, call)
    ns.attempt(path, () => rules.truncate(user.view, path, length), { needed: { self: 2 } }, user)
  }

  /** Appends whole files to another one of the same directory; they go. */
  concat(user: HdfsUser, target: string, sources: readonly string[]): void {
    const ns = this.#ns
    for (const path of [target, ...sources]) {
      const { view, inode } = ns.requireFile(user, path)
      if (ns.leases.find(view, inode) === undefined) continue
      throw new JavaException('HadoopIllegalArgument', `concat: ${path} is being written`)
    }
    const refused = { needed: { self: 2, parent: 2 } }
    const concat = () => {
      rules.concat(user.view, target, sources)
    }
    ns.attempt(target, concat, refused, user)
  }
}
