import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { HdfsService } from '../../../lib/hdfs/index.js'
import type { HdfsConfigInput } from '../../../lib/hdfs/config.js'
import {
  ClientNamenodeProtocol,
  DatanodeReportTypeProto,
  SafeModeActionProto,
} from '../../../lib/hdfs/proto/gen/client_namenode_pb.js'
import type { ExtendedBlockProto } from '../../../lib/hdfs/proto/gen/hdfs_pb.js'
import { HdfsFileStatusProto_FileType as FileType } from '../../../lib/hdfs/proto/gen/hdfs_pb.js'
import { XAttrProto_XAttrNamespaceProto as Space } from '../../../lib/hdfs/proto/gen/xattr_pb.js'
import { parseBlock } from '../../../lib/hdfs/datanode/block-id.js'
import { NativeStore, OPEN } from '../../../lib/native.js'
import { RemoteError, RpcClient } from '../rpc-client.js'

const M = ClientNamenodeProtocol.method
const BLOCK = 1024 * 1024
const JAVA = {
  fileNotFound: 'java.io.FileNotFoundException',
  accessControl: 'org.apache.hadoop.security.AccessControlException',
  exists: 'org.apache.hadoop.fs.FileAlreadyExistsException',
  beingCreated: 'org.apache.hadoop.hdfs.protocol.AlreadyBeingCreatedException',
  leaseExpired: 'org.apache.hadoop.hdfs.server.namenode.LeaseExpiredException',
  notEmpty: 'org.apache.hadoop.fs.PathIsNotEmptyDirectoryException',
  parentNotDirectory: 'org.apache.hadoop.fs.ParentNotDirectoryException',
  snapshot: 'org.apache.hadoop.hdfs.protocol.SnapshotException',
  io: 'java.io.IOException',
}

interface Fixture {
  store: NativeStore
  hdfs: HdfsService
  root: RpcClient
  as(user: string): Promise<RpcClient>
}

async function fixture(test: Test, input: Partial<HdfsConfigInput> = {}): Promise<Fixture> {
  const dir = join(test.testdir(), 'store')
  NativeStore.create(dir)
  const store = await NativeStore.open(dir)
  const hdfs = await HdfsService.start(store, {
    clusterId: 'CID-test',
    blockPoolId: 'BP-1-127.0.0.1-1',
    datanodeUuid: '11111111-2222-3333-4444-555555555555',
    serviceUser: 'root',
    rpcPort: 0,
    dataPort: 0,
    ...input,
  })
  const clients: RpcClient[] = []
  const as = async (user: string) => {
    const client = await RpcClient.connect(hdfs.rpcPort, user)
    clients.push(client)
    return client
  }
  test.teardown(async () => {
    for (const client of clients) client.close()
    await hdfs.stop()
    await store.close()
  })
  return { store, hdfs, root: await as('root'), as }
}

/** The Java class and first line of what a call throws. */
async function thrown(call: Promise<unknown>): Promise<[string, string]> {
  try {
    await call
  } catch (error) {
    if (error instanceof RemoteError) return [error.javaClass, error.message]
    throw error
  }
  return ['nothing', '']
}

function create(client: RpcClient, src: string, options: Partial<NewFile> = {}) {
  const { clientName = 'C1', flag = 1, createParent = true, mode = 0o644 } = options
  return client.call(M.create, {
    src,
    masked: { perm: mode },
    clientName,
    createFlag: flag,
    createParent,
    replication: 3,
    blockSize: BigInt(BLOCK),
  })
}

interface NewFile {
  clientName: string
  flag: number
  createParent: boolean
  mode: number
}

/** Stores a block's bytes as the DataNode would. */
function storeBlock(
  store: NativeStore,
  block: ExtendedBlockProto | undefined,
  bytes: Uint8Array,
  at: number,
) {
  const name = parseBlock(block?.blockId ?? 0n, block?.generationStamp ?? 0n)
  if (name === undefined) throw new Error('no block')
  const view = store.view({ uid: 0, gid: 0, groups: [], umask: 0 })
  const file = view.openNode(name.view, name.inode, OPEN.write)
  file.writeSync(bytes, at)
  file.close()
}

/** Writes a whole file the way a client does. */
async function put(f: Fixture, src: string, bytes: Uint8Array, client = f.root): Promise<bigint> {
  const { fs } = await create(client, src)
  const fileId = fs?.fileId ?? 0n
  let last: ExtendedBlockProto | undefined
  for (let at = 0; at < bytes.length; at += BLOCK) {
    const part = bytes.subarray(at, at + BLOCK)
    const previous = last === undefined ? {} : { previous: last }
    const { block } = await client.call(M.addBlock, { src, clientName: 'C1', fileId, ...previous })
    storeBlock(f.store, block?.b, part, at)
    if (block?.b === undefined) throw new Error('no block')
    last = { ...block.b, numBytes: BigInt(part.length) }
  }
  const end = last === undefined ? {} : { last }
  const { result } = await client.call(M.complete, { src, clientName: 'C1', fileId, ...end })
  if (!result) throw new Error('not complete')
  return fileId
}

async function names(client: RpcClient, src: string): Promise<string[]> {
  const { dirList } = await client.call(M.getListing, {
    src,
    startAfter: new Uint8Array(0),
    needLocation: false,
  })
  return (dirList?.partialListing ?? []).map(entry => Buffer.from(entry.path).toString())
}

void t.test('a file of several blocks: written, located, listed', async test => {
  const f = await fixture(test)
  const fileId = await put(f, '/d/e/file', Buffer.alloc(2 * BLOCK + 10, 7))
  const { fs } = await f.root.call(M.getFileInfo, { src: '/d/e/file' })
  test.equal(fs?.length, BigInt(2 * BLOCK + 10))
  test.equal(fs?.fileType, FileType.IS_FILE)
  test.equal(fs?.blockReplication, 3, 'replication is reported as asked')
  test.equal(fs?.blocksize, BigInt(BLOCK))
  test.equal(fs?.fileId, fileId)
  test.equal(fs?.path.length, 0)
  test.equal(fs?.permission?.perm, 0o644)
  const { locations } = await f.root.call(M.getBlockLocations, {
    src: '/d/e/file',
    offset: 0n,
    length: BigInt(10 * BLOCK),
  })
  test.equal(locations?.fileLength, BigInt(2 * BLOCK + 10))
  test.equal(locations?.underConstruction, false)
  test.equal(locations?.isLastBlockComplete, true)
  test.same(
    locations?.blocks.map(block => [block.offset, block.b?.numBytes]),
    [
      [0n, BigInt(BLOCK)],
      [BigInt(BLOCK), BigInt(BLOCK)],
      [BigInt(2 * BLOCK), 10n],
    ],
  )
  const [located] = locations?.blocks ?? []
  test.equal(located?.locs[0]?.id?.xferPort, f.hdfs.dataPort)
  test.equal(located?.locs[0]?.id?.ipAddr, '127.0.0.1')
  test.equal(located?.b?.poolId, 'BP-1-127.0.0.1-1')
  const middle = await f.root.call(M.getBlockLocations, {
    src: `/.reserved/.inodes/${fileId.toString()}`,
    offset: BigInt(BLOCK + 5),
    length: 1n,
  })
  test.same(
    middle.locations?.blocks.map(block => block.offset),
    [BigInt(BLOCK)],
  )
  test.same(await names(f.root, '/d'), ['e'])
  test.same(
    await f.root.call(M.getFileInfo, { src: '/nothing' }).then(reply => reply.fs),
    undefined,
  )
})

void t.test(
  'while a file is written others see its stored length and may not write',
  async test => {
    const f = await fixture(test)
    const { fs } = await create(f.root, '/w')
    test.equal(fs?.blockReplication, 1, 'the writer is told of one replica')
    const fileId = fs?.fileId ?? 0n
    const { block } = await f.root.call(M.addBlock, { src: '/w', clientName: 'C1', fileId })
    storeBlock(f.store, block?.b, Buffer.alloc(1000), 0)
    const open = await f.root.call(M.getBlockLocations, { src: '/w', offset: 0n, length: 1n })
    test.equal(open.locations?.underConstruction, true)
    test.equal(open.locations?.fileLength, 1000n)
    test.equal(open.locations?.lastBlock?.b?.numBytes, 1000n)
    test.equal((await f.root.call(M.isFileClosed, { src: '/w' })).result, false)
    const again = await thrown(create(f.root, '/w', { clientName: 'C2' }))
    test.equal(again[0], JAVA.beingCreated)
    test.match(again[1], /this file lease is currently owned by C1 on 127\.0\.0\.1/)
    const append = await thrown(f.root.call(M.append, { src: '/w', clientName: 'C1' }))
    test.match(append[1], /C1 is already the current lease holder/)
    const other = await thrown(f.root.call(M.addBlock, { src: '/w', clientName: 'C2', fileId }))
    test.equal(other[0], JAVA.leaseExpired)
    // Asked again without anything written since, a lost answer is given again.
    const last = { ...block!.b!, numBytes: 1000n }
    const second = await f.root.call(M.addBlock, {
      src: '/w',
      clientName: 'C1',
      fileId,
      previous: last,
    })
    const retry = await f.root.call(M.addBlock, {
      src: '/w',
      clientName: 'C1',
      fileId,
      previous: last,
    })
    test.equal(second.block?.b?.blockId, retry.block?.b?.blockId)
    test.equal(second.block?.offset, 1000n, 'a block that ended early is followed where it ended')
    await f.root.call(M.abandonBlock, { src: '/w', holder: 'C1', fileId, b: second.block!.b! })
    test.equal(
      (await f.root.call(M.complete, { src: '/w', clientName: 'C1', fileId, last })).result,
      true,
    )
    test.equal(
      (await f.root.call(M.complete, { src: '/w', clientName: 'C1', fileId, last })).result,
      true,
      'and once more',
    )
    test.equal((await f.root.call(M.isFileClosed, { src: '/w' })).result, true)
  },
)

void t.test('a renamed file is written on, a deleted one is not', async test => {
  const f = await fixture(test)
  const { fs } = await create(f.root, '/a')
  const fileId = fs?.fileId ?? 0n
  test.equal((await f.root.call(M.rename, { src: '/a', dst: '/b' })).result, true)
  const { block } = await f.root.call(M.addBlock, { src: '/a', clientName: 'C1', fileId })
  test.ok(block)
  test.equal((await f.root.call(M.delete, { src: '/b', recursive: false })).result, true)
  const gone = await thrown(f.root.call(M.addBlock, { src: '/a', clientName: 'C1', fileId }))
  test.equal(gone[0], JAVA.fileNotFound)
  test.match(gone[1], /File does not exist: \/a \(inode \d+\) Holder C1/)
})

void t.test('append goes on in the last block, or begins one', async test => {
  const f = await fixture(test)
  await put(f, '/p', Buffer.alloc(BLOCK + 5))
  const partial = await f.root.call(M.append, { src: '/p', clientName: 'C9' })
  test.equal(partial.block?.offset, BigInt(BLOCK))
  test.equal(partial.block?.b?.numBytes, 5n)
  const b = partial.block!.b!
  const renewed = await f.root.call(M.updateBlockForPipeline, { block: b, clientName: 'C9' })
  test.equal(renewed.block?.b?.generationStamp, b.generationStamp + 1n)
  await f.root.call(M.updatePipeline, {
    clientName: 'C9',
    oldBlock: b,
    newBlock: renewed.block!.b!,
  })
  storeBlock(f.store, b, Buffer.alloc(3), BLOCK + 5)
  const last = { ...renewed.block!.b!, numBytes: 8n }
  await f.root.call(M.complete, { src: '/p', clientName: 'C9', last, fileId: partial.stat!.fileId })
  test.equal((await f.root.call(M.getFileInfo, { src: '/p' })).fs?.length, BigInt(BLOCK + 8))

  for (const more of [9, 10]) {
    const { block, stat } = await f.root.call(M.append, { src: '/p', clientName: 'C9' })
    storeBlock(f.store, block?.b, Buffer.alloc(1), BLOCK + more - 1)
    const end = { ...block!.b!, numBytes: BigInt(more) }
    await f.root.call(M.complete, {
      src: '/p',
      clientName: 'C9',
      last: end,
      fileId: stat!.fileId,
    })
    test.equal((await f.root.call(M.isFileClosed, { src: '/p' })).result, true, 'closed each time')
  }

  await put(f, '/full', Buffer.alloc(BLOCK))
  const full = await f.root.call(M.append, { src: '/full', clientName: 'C9' })
  test.equal(full.block, undefined)
  test.equal(full.stat?.length, BigInt(BLOCK))
  const next = await f.root.call(M.addBlock, {
    src: '/full',
    clientName: 'C9',
    fileId: full.stat!.fileId,
  })
  test.equal(next.block?.offset, BigInt(BLOCK))
  test.equal((await f.root.call(M.recoverLease, { src: '/full', clientName: 'x' })).result, true)
  test.equal((await f.root.call(M.isFileClosed, { src: '/full' })).result, true)
  const missing = await thrown(f.root.call(M.append, { src: '/none', clientName: 'C9' }))
  test.same(missing, [
    JAVA.fileNotFound,
    'Failed to append to non-existent file /none for client 127.0.0.1',
  ])
})

void t.test('create refuses what HDFS refuses', async test => {
  const f = await fixture(test)
  await put(f, '/file', Buffer.from('x'))
  await f.root.call(M.mkdirs, { src: '/dir', masked: { perm: 0o755 }, createParent: true })
  test.same(await thrown(create(f.root, '/file')), [
    JAVA.exists,
    '/file for client 127.0.0.1 already exists',
  ])
  test.same(await thrown(create(f.root, '/dir', { flag: 3 })), [
    JAVA.exists,
    '/dir already exists as a directory',
  ])
  test.same(await thrown(create(f.root, '/none/x', { createParent: false })), [
    JAVA.fileNotFound,
    "Parent directory doesn't exist: /none",
  ])
  test.equal((await thrown(create(f.root, '/file/x')))[0], JAVA.parentNotDirectory)
  test.match(
    (await thrown(create(f.root, '/none', { flag: 2 })))[1],
    /Can't overwrite non-existent/,
  )
  const before = (await f.root.call(M.getFileInfo, { src: '/file' })).fs?.fileId
  await create(f.root, '/file', { flag: 3 })
  const after = (await f.root.call(M.getFileInfo, { src: '/file' })).fs
  test.not(after?.fileId, before, 'an overwritten file is a new one')
  test.equal(after?.length, 0n)
})

void t.test('the two renames', async test => {
  const f = await fixture(test)
  await put(f, '/a', Buffer.from('a'))
  await put(f, '/b', Buffer.from('b'))
  await put(f, '/d/x', Buffer.from('x'))
  const rename = async (src: string, dst: string) =>
    (await f.root.call(M.rename, { src, dst })).result
  const rename2 = (src: string, dst: string, overwriteDest: boolean) =>
    thrown(f.root.call(M.rename2, { src, dst, overwriteDest }))
  test.equal(await rename('/none', '/z'), false)
  test.equal(await rename('/a', '/b'), false, 'never over a file')
  test.equal(await rename('/a', '/a'), true)
  test.equal(await rename('/d', '/d/below'), false)
  test.equal(await rename('/a', '/no/parent'), false)
  test.equal(await rename('/a', '/d'), true, 'into a directory')
  test.same(await names(f.root, '/d'), ['a', 'x'])
  test.same(await rename2('/none', '/z', false), [
    JAVA.fileNotFound,
    'rename source /none is not found.',
  ])
  test.equal((await rename2('/b', '/d/a', false))[0], JAVA.exists)
  test.same(await rename2('/b', '/d/a', true), ['nothing', ''])
  test.equal((await rename2('/d/a', '/d', true))[0], JAVA.io)
  test.equal((await rename2('/d/a', '/no/p', false))[0], JAVA.fileNotFound)
  test.equal((await rename2('/d/a', '/d/x/p', false))[0], JAVA.parentNotDirectory)
  test.equal((await rename2('/d', '/d/e', false))[0], JAVA.io)
  test.same(await names(f.root, '/d'), ['a', 'x'])
})

void t.test('delete and mkdirs', async test => {
  const f = await fixture(test)
  const remove = (src: string, recursive: boolean) => f.root.call(M.delete, { src, recursive })
  const mkdirs = (src: string) =>
    f.root.call(M.mkdirs, { src, masked: { perm: 0o750 }, createParent: true })
  test.equal((await mkdirs('/m/n/o')).result, true)
  test.equal((await mkdirs('/m/n/o')).result, true)
  test.equal((await f.root.call(M.getFileInfo, { src: '/m/n/o' })).fs?.permission?.perm, 0o750)
  const full = await thrown(remove('/m', false))
  test.equal(full[0], JAVA.notEmpty)
  test.match(full[1], /\/m is non empty': Directory is not empty/)
  test.equal((await remove('/m', true)).result, true)
  test.equal((await remove('/m', true)).result, false)
  test.equal((await remove('/', true)).result, false)
  test.equal((await remove('/', false)).result, false, 'empty, but still the root')
  await put(f, '/file', Buffer.from('x'))
  test.equal((await thrown(remove('/', false)))[0], JAVA.notEmpty)
  test.equal((await thrown(mkdirs('/file')))[0], JAVA.exists)
  test.equal((await thrown(mkdirs('/file/sub')))[0], JAVA.parentNotDirectory)
})

void t.test('listings are paged in the order of signed bytes', async test => {
  const f = await fixture(test, { listingLimit: 3 })
  for (const name of ['A', 'b', 'é', '中', 'z']) await put(f, `/l/${name}`, Buffer.alloc(0))
  const seen: string[] = []
  let startAfter: Uint8Array = new Uint8Array(0)
  for (;;) {
    const { dirList } = await f.root.call(M.getListing, {
      src: '/l',
      startAfter,
      needLocation: true,
    })
    for (const entry of dirList!.partialListing) {
      startAfter = entry.path
      seen.push(Buffer.from(entry.path).toString())
    }
    if (dirList!.remainingEntries === 0) break
  }
  test.same(seen.slice(2), ['A', 'b', 'z'])
  test.same(new Set(seen.slice(0, 2)), new Set(['é', '中']))
  const file = await f.root.call(M.getListing, { src: '/l/A', startAfter, needLocation: false })
  test.equal(file.dirList?.partialListing.length, 1)
  const none = await f.root.call(M.getListing, { src: '/no', startAfter, needLocation: false })
  test.equal(none.dirList, undefined)
})

void t.test('another user is refused in the words of HDFS', async test => {
  const f = await fixture(test)
  const bob = await f.as('bob')
  await put(f, '/private/file', Buffer.from('x'))
  await f.root.call(M.setPermission, { src: '/private', permission: { perm: 0o700 } })
  const hidden = await thrown(bob.call(M.getFileInfo, { src: '/private/file' }))
  test.equal(hidden[0], JAVA.accessControl)
  test.match(
    hidden[1],
    /^Permission denied: user=bob, access=EXECUTE, inode="\/private":root:root:drwx------/,
  )
  test.match((await thrown(create(bob, '/mine')))[1], /user=bob, access=WRITE, inode="\/":root/)
  await put(f, '/secret', Buffer.from('x'))
  await f.root.call(M.setPermission, { src: '/secret', permission: { perm: 0o600 } })
  const read = await thrown(
    bob.call(M.getBlockLocations, { src: '/secret', offset: 0n, length: 1n }),
  )
  test.match(read[1], /^Permission denied: user=bob, access=READ, inode="\/secret":root:root:-rw-/)
  const through = await thrown(bob.call(M.getFileInfo, { src: '/secret/x' }))
  test.same(through, [JAVA.accessControl, '/secret (is not a directory)'])
  test.equal((await f.root.call(M.getFileInfo, { src: '/secret/x' })).fs, undefined)
  const owner = await thrown(bob.call(M.setPermission, { src: '/secret', permission: { perm: 0 } }))
  test.match(owner[1], /user=bob is not the owner of inode=\/secret/)
  await f.root.call(M.setOwner, { src: '/secret', username: 'bob' })
  test.equal((await bob.call(M.getFileInfo, { src: '/secret' })).fs?.owner, 'bob')
  await bob.call(M.setPermission, { src: '/secret', permission: { perm: 0o640 } })
  const super_ = await thrown(bob.call(M.allowSnapshot, { snapshotRoot: '/private' }))
  test.match(super_[1], /Access denied for user bob\. Superuser privilege is required/)
})

void t.test('the user who runs the service is a superuser and owns what they make', async test => {
  const f = await fixture(test, { serviceUser: 'alice' })
  const alice = await f.as('alice')
  await put(f, '/d/file', Buffer.from('x'), alice)
  const { fs } = await alice.call(M.getFileInfo, { src: '/d/file' })
  test.equal(fs?.owner, 'alice')
  test.equal((await alice.call(M.getFileInfo, { src: '/d' })).fs?.owner, 'alice')
  await alice.call(M.setOwner, { src: '/d/file', username: 'carol' })
  await alice.call(M.allowSnapshot, { snapshotRoot: '/d' })
  const root = await f.root.call(M.getFileInfo, { src: '/d/file' })
  test.equal(root.fs?.owner, 'carol')
})

void t.test('attributes, truncate, concat, xattrs, sums', async test => {
  const f = await fixture(test)
  await put(f, '/f', Buffer.alloc(100, 1))
  await f.root.call(M.setTimes, {
    src: '/f',
    mtime: 1_600_000_000_123n,
    atime: BigInt.asUintN(64, -1n),
  })
  await f.root.call(M.setReplication, { src: '/f', replication: 2 })
  const { fs } = await f.root.call(M.getFileInfo, { src: '/f' })
  test.equal(fs?.modificationTime, 1_600_000_000_123n)
  test.equal(fs?.blockReplication, 2)
  test.equal(
    (await f.root.call(M.truncate, { src: '/f', newLength: 40n, clientName: 'C' })).result,
    true,
  )
  test.match(
    (await thrown(f.root.call(M.truncate, { src: '/f', newLength: 41n, clientName: 'C' })))[1],
    /Cannot truncate to a larger file size\. Current size: 40, truncate size: 41/,
  )
  await put(f, '/g', Buffer.alloc(60, 2))
  await f.root.call(M.concat, { trg: '/f', srcs: ['/g'] })
  test.equal((await f.root.call(M.getFileInfo, { src: '/f' })).fs?.length, 100n)
  test.equal((await f.root.call(M.getFileInfo, { src: '/g' })).fs, undefined)
  const xAttr = { namespace: Space.USER, name: 'k', value: Buffer.from('v') }
  await f.root.call(M.setXAttr, { src: '/f', xAttr, flag: 1 })
  test.match((await thrown(f.root.call(M.setXAttr, { src: '/f', xAttr, flag: 1 })))[1], /REPLACE/)
  const { xAttrs } = await f.root.call(M.getXAttrs, { src: '/f', xAttrs: [] })
  test.same(
    xAttrs.map(x => [x.namespace, x.name, Buffer.from(x.value).toString()]),
    [[Space.USER, 'k', 'v']],
  )
  test.equal((await f.root.call(M.listXAttrs, { src: '/f' })).xAttrs.length, 1)
  await f.root.call(M.removeXAttr, { src: '/f', xAttr })
  test.match((await thrown(f.root.call(M.removeXAttr, { src: '/f', xAttr })))[0], /XAttrNotFound/)
  const { summary } = await f.root.call(M.getContentSummary, { path: '/' })
  test.equal(summary?.length, 100n)
  test.equal(summary?.fileCount, 1n)
  test.equal(summary?.directoryCount, 1n)
  test.equal(BigInt.asIntN(64, summary?.quota ?? 0n), -1n)
  const acl = await f.root.call(M.getAclStatus, { src: '/f' })
  test.same(acl.result?.entries, [])
  test.match((await thrown(f.root.call(M.setAcl, { src: '/f' })))[0], /AclException/)
})

void t.test('snapshots', async test => {
  const f = await fixture(test)
  await put(f, '/s/keep', Buffer.from('old'))
  await put(f, '/s/gone', Buffer.from('x'))
  const take = (snapshotName: string) =>
    f.root.call(M.createSnapshot, { snapshotRoot: '/s', snapshotName })
  test.same(await thrown(take('one')), [
    JAVA.snapshot,
    'Directory is not a snapshottable directory: /s',
  ])
  await f.root.call(M.allowSnapshot, { snapshotRoot: '/s' })
  test.equal((await take('one')).snapshotPath, '/s/.snapshot/one')
  test.match((await thrown(take('one')))[1], /already a snapshot with the same name "one"/)
  test.match((await thrown(take('a/b')))[1], /Invalid snapshot name: a\/b/)
  await f.root.call(M.delete, { src: '/s/gone', recursive: false })
  await f.root.call(M.rename, { src: '/s/keep', dst: '/s/kept' })
  await put(f, '/s/new', Buffer.from('n'))
  await take('two')
  test.same(await names(f.root, '/s/.snapshot/one'), ['gone', 'keep'])
  const readOnly = await thrown(f.root.call(M.delete, { src: '/s/.snapshot/one', recursive: true }))
  test.match(readOnly[0], /SnapshotAccessControlException/)
  const batch = await f.root.call(M.getBatchedListing, {
    paths: ['/s', '/none', '/s/.snapshot/one'],
    startAfter: new Uint8Array(0),
    needLocation: false,
  })
  test.same(
    batch.listings.map(l => [l.parentIdx, l.partialListing.length, l.exception?.className ?? '']),
    [
      [0, 2, ''],
      [1, 0, JAVA.fileNotFound],
      [2, 2, ''],
    ],
  )
  test.equal(batch.hasMore, false)
  test.same(await names(f.root, '/s/.snapshot'), ['one', 'two'])
  const { locations } = await f.root.call(M.getBlockLocations, {
    src: '/s/.snapshot/one/keep',
    offset: 0n,
    length: 10n,
  })
  test.equal(locations?.fileLength, 3n)
  const { diffReport } = await f.root.call(M.getSnapshotDiffReport, {
    snapshotRoot: '/s',
    fromSnapshot: 'one',
    toSnapshot: 'two',
  })
  const lines = diffReport?.diffReportEntries.map(entry =>
    [
      entry.modificationLabel,
      Buffer.from(entry.fullpath).toString(),
      Buffer.from(entry.targetPath).toString(),
    ].join(' '),
  )
  test.same(lines, ['M  ', '+ new ', '- gone ', 'R keep kept'])
  const listed = await f.root.call(M.getSnapshottableDirListing, {})
  test.equal(listed.snapshottableDirList?.snapshottableDirListing[0]?.snapshotNumber, 2)
  const { snapshotList } = await f.root.call(M.getSnapshotListing, { snapshotRoot: '/s' })
  test.equal(snapshotList?.snapshotListing.length, 2)
  test.equal(
    (await thrown(f.root.call(M.delete, { src: '/s', recursive: true })))[0],
    JAVA.snapshot,
  )
  test.match(
    (await thrown(f.root.call(M.disallowSnapshot, { snapshotRoot: '/s' })))[1],
    /has snapshot/,
  )
  await f.root.call(M.renameSnapshot, {
    snapshotRoot: '/s',
    snapshotOldName: 'two',
    snapshotNewName: 'three',
  })
  for (const snapshotName of ['one', 'three']) {
    await f.root.call(M.deleteSnapshot, { snapshotRoot: '/s', snapshotName })
  }
  test.match(
    (await thrown(f.root.call(M.deleteSnapshot, { snapshotRoot: '/s', snapshotName: 'one' })))[1],
    /Cannot delete snapshot one from path \/s: the snapshot does not exist/,
  )
  await f.root.call(M.disallowSnapshot, { snapshotRoot: '/s' })
})

void t.test('the cluster, safe mode, and what is not offered', async test => {
  const f = await fixture(test)
  const { serverDefaults } = await f.root.call(M.getServerDefaults, {})
  test.equal(serverDefaults?.bytesPerChecksum, 512)
  test.equal(serverDefaults?.encryptDataTransfer, false)
  const stats = await f.root.call(M.getFsStats, {})
  test.ok(stats.capacity > 0n)
  const { di } = await f.root.call(M.getDatanodeReport, { type: DatanodeReportTypeProto.LIVE })
  test.equal(di.length, 1)
  test.equal(di[0]?.id?.ipcPort, f.hdfs.ipcPort)
  test.equal((await f.root.call(M.getSlowDatanodeReport, {})).datanodeInfoProto.length, 0)
  const safe = (action: SafeModeActionProto) => f.root.call(M.setSafeMode, { action })
  test.equal((await safe(SafeModeActionProto.SAFEMODE_GET)).result, false)
  test.equal((await safe(SafeModeActionProto.SAFEMODE_ENTER)).result, true)
  test.match((await thrown(create(f.root, '/x')))[0], /SafeModeException/)
  await safe(SafeModeActionProto.SAFEMODE_LEAVE)
  await create(f.root, '/x')
  test.match((await thrown(f.root.raw('rollEdits', new Uint8Array(0))))[0], /UnsupportedOperation/)
  test.match((await thrown(f.root.raw('noSuch', new Uint8Array(0))))[0], /RpcNoSuchMethod/)
  test.match((await thrown(f.root.raw('create', Buffer.alloc(9, 0xff))))[0], /RpcServerException/)
})
