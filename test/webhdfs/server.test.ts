import { randomBytes } from 'node:crypto'
import { request as httpRequest } from 'node:http'
import { connect } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { request } from 'undici'
import { NativeStore } from '../../lib/native.js'
import type { NativeStore as Store } from '../../lib/native.js'
import { WebHdfsServer } from '../../lib/webhdfs/server.js'
import type { DataNodeFacts } from '../../lib/webhdfs/server.js'

interface Reply {
  status: number
  headers: Record<string, string | string[] | undefined>
  bytes: Buffer
  body: Record<string, unknown>
}

interface Service {
  store: Store
  server: WebHdfsServer
  call: (
    method: string,
    path: string,
    query: string,
    body?: Buffer | string,
    follow?: boolean,
  ) => Promise<Reply>
}

/** What `start` needs of a test. */
interface TestContext {
  testdir(): string
  teardown(handler: () => Promise<void>): unknown
}

const USER = 'hdfsadmin'

const dataNode: DataNodeFacts = {
  host: '127.0.0.1',
  transferPort: 9866,
  ipcPort: 9867,
  uuid: 'uuid',
  poolId: 'BP-1',
  blockName: (_view, inode, index) => ({
    blockId: BigInt(inode * 256 + index),
    generationStamp: 1001n,
  }),
  blockChecksum: async () =>
    Promise.resolve({ md5: Buffer.alloc(16), compositeCrc: 0, crcCount: 1 }),
}

async function start(t: TestContext): Promise<Service> {
  const directory = join(t.testdir(), 'store')
  NativeStore.create(directory)
  const store = await NativeStore.open(directory)
  const server = await WebHdfsServer.start(store, {
    host: '127.0.0.1',
    port: 0,
    user: USER,
    hdfs: () => ({ rpcAddress: '127.0.0.1:8020', dataNode }),
    version: '0.0.0-test',
    storeId: 'id',
  })
  t.teardown(async () => {
    await server.close()
    await store.close()
  })
  const base = `http://127.0.0.1:${String(server.port)}`
  const call: Service['call'] = async (method, path, query, body, follow = true) => {
    let url = `${base}/webhdfs/v1${path}?${query}`
    for (let step = 0; ; step++) {
      const sent = step === 0 && follow ? null : (body ?? null)
      const reply = await request(url, { method: method as 'GET', body: sent })
      const bytes = Buffer.from(await reply.body.arrayBuffer())
      if (reply.statusCode === 307 && follow) {
        url = String(reply.headers['location'])
        continue
      }
      const json = String(reply.headers['content-type']).includes('json')
      const parsed: unknown = json ? JSON.parse(bytes.toString()) : {}
      return {
        status: reply.statusCode,
        headers: reply.headers,
        bytes,
        body: parsed as Reply['body'],
      }
    }
  }
  return { store, server, call }
}

/** The value at a path of keys in a JSON body. */
function at(reply: Reply, ...keys: string[]): unknown {
  let value: unknown = reply.body
  for (const key of keys) value = (value as Record<string, unknown> | undefined)?.[key]
  return value
}

/** The FileStatus list below a path of keys. */
function statuses(reply: Reply, ...keys: string[]): { pathSuffix: string }[] {
  return at(reply, ...keys, 'FileStatuses', 'FileStatus') as { pathSuffix: string }[]
}

function exceptionOf(reply: Reply): [number, string] {
  const exception = reply.body['RemoteException'] as { exception: string } | undefined
  return [reply.status, exception?.exception ?? 'none']
}

void t.test('bytes go in and out in two steps', async t => {
  const { call } = await start(t)
  const bytes = randomBytes(3_500_000)
  const first = await call('PUT', '/d/a b%2Bc', 'op=CREATE&blocksize=1048576', '', false)
  t.equal(first.status, 307)
  const location = new URL(String(first.headers['location']))
  t.equal(location.pathname, '/webhdfs/v1/d/a%20b%2Bc')
  t.equal(location.searchParams.get('namenoderpcaddress'), '127.0.0.1:8020')
  t.equal(location.searchParams.get('user.name'), USER)
  t.equal(location.searchParams.get('overwrite'), 'false')
  t.equal(location.searchParams.get('blocksize'), '1048576')

  const created = await call('PUT', '/d/a b%2Bc', 'op=CREATE&blocksize=1048576', bytes)
  t.equal(created.status, 201)
  t.equal(created.headers['location'], 'hdfs://127.0.0.1:8020/d/a%20b%2Bc')
  t.equal(created.bytes.length, 0)

  const status = at(await call('GET', '/d/a b%2Bc', 'op=GETFILESTATUS'), 'FileStatus')
  t.match(status, {
    type: 'FILE',
    length: bytes.length,
    blockSize: 1048576,
    permission: '644',
    replication: 1,
    pathSuffix: '',
    childrenNum: 0,
    storagePolicy: 0,
  })
  t.ok((await call('GET', '/d/a b%2Bc', 'op=OPEN')).bytes.equals(bytes))
  for (const [offset, length] of [
    [0, 0],
    [1, 10],
    [1048575, 2],
    [3_499_999, 100],
    [1_000_001, 2_000_000],
  ] as const) {
    const query = `op=OPEN&offset=${String(offset)}&length=${String(length)}`
    const part = await call('GET', '/d/a b%2Bc', query)
    t.equal(part.status, 200)
    t.ok(part.bytes.equals(bytes.subarray(offset, offset + length)), query)
  }
  const past = await call('GET', '/d/a b%2Bc', `op=OPEN&offset=${String(bytes.length)}`)
  t.same(exceptionOf(past), [403, 'IOException'])
  t.match(at(past, 'RemoteException', 'message'), /out of the range/)

  const appended = await call('POST', '/d/a b%2Bc', 'op=APPEND', 'tail')
  t.equal(appended.status, 200)
  const end = await call('GET', '/d/a b%2Bc', `op=OPEN&offset=${String(bytes.length - 2)}`)
  t.ok(end.bytes.equals(Buffer.concat([bytes.subarray(-2), Buffer.from('tail')])))

  const without = await call('GET', '/d/a b%2Bc', 'op=OPEN&noredirect=true', undefined, false)
  t.equal(without.status, 200)
  t.match(without.body, { Location: /^http:.*op=OPEN/ })
  t.notMatch(without.body, { Location: /noredirect/ })
})

void t.test('creating again needs overwrite, and readers keep the old bytes', async t => {
  const { call, store } = await start(t)
  await call('PUT', '/f', 'op=CREATE', 'old')
  const again = await call('PUT', '/f', 'op=CREATE', 'new')
  t.same(exceptionOf(again), [403, 'FileAlreadyExistsException'])
  t.equal(
    at(again, 'RemoteException', 'javaClassName'),
    'org.apache.hadoop.fs.FileAlreadyExistsException',
  )
  const reader = store.viewOf('root').open('/f', 1, 0)
  t.equal((await call('PUT', '/f', 'op=CREATE&overwrite=true', 'newer')).status, 201)
  t.equal((await call('GET', '/f', 'op=OPEN')).bytes.toString(), 'newer')
  t.equal(at(await call('GET', '/f', 'op=GETFILESTATUS'), 'FileStatus', 'owner'), USER)
  const buffer = Buffer.alloc(10)
  t.equal(await reader.read(buffer, 0), 3)
  t.equal(buffer.toString('utf8', 0, 3), 'old')
  reader.close()
  t.same(exceptionOf(await call('PUT', '/f/below', 'op=CREATE', 'x')), [
    403,
    'ParentNotDirectoryException',
  ])
  t.same(exceptionOf(await call('PUT', '/no/x', 'op=CREATE&createparent=false', 'x')), [
    404,
    'FileNotFoundException',
  ])
  await call('PUT', '/dir', 'op=MKDIRS')
  t.same(exceptionOf(await call('PUT', '/dir', 'op=CREATE&overwrite=true', 'x')), [
    403,
    'FileAlreadyExistsException',
  ])
})

void t.test(
  'a client that waits for 100-continue sends its body once, to the second step',
  async t => {
    const { server, call } = await start(t)
    const put = (path: string): Promise<{ status: number; continued: boolean; location: string }> =>
      new Promise((resolve, reject) => {
        const outgoing = httpRequest({
          host: '127.0.0.1',
          port: server.port,
          method: 'PUT',
          path,
          headers: { Expect: '100-continue', 'Content-Length': 5 },
        })
        let continued = false
        outgoing.on('continue', () => {
          continued = true
          outgoing.end('hello')
        })
        outgoing.on('error', reject)
        outgoing.on('response', reply => {
          reply.resume()
          const location = String(reply.headers.location)
          if (!continued) outgoing.destroy()
          resolve({ status: reply.statusCode ?? 0, continued, location })
        })
        outgoing.flushHeaders()
      })
    const first = await put('/webhdfs/v1/waited?op=CREATE')
    t.match(first, { status: 307, continued: false })
    const { pathname, search } = new URL(first.location)
    t.match(await put(pathname + search), { status: 201, continued: true })
    t.equal((await call('GET', '/waited', 'op=OPEN')).bytes.toString(), 'hello')
    const refused = await put(pathname + search)
    t.match(refused, { status: 403, continued: false }, 'refused before the body is sent')
  },
)

void t.test('directories are made, listed in pages, renamed and deleted', async t => {
  const { call } = await start(t)
  t.same((await call('PUT', '/x/y/z', 'op=MKDIRS&permission=1750')).body, { boolean: true })
  t.same((await call('PUT', '/x/y/z', 'op=MKDIRS')).body, { boolean: true })
  t.match(at(await call('GET', '/x/y/z', 'op=GETFILESTATUS'), 'FileStatus'), {
    type: 'DIRECTORY',
    permission: '1750',
    length: 0,
    blockSize: 0,
    replication: 0,
  })
  for (const name of ['b', 'a', 'é', '中', 'A']) {
    await call('PUT', `/x/${encodeURIComponent(name)}`, 'op=CREATE', name)
  }
  const names = statuses(await call('GET', '/x', 'op=LISTSTATUS')).map(entry => entry.pathSuffix)
  t.same(names, ['é', '中', 'A', 'a', 'b', 'y'], 'names sort as signed bytes')
  t.match(at(await call('GET', '/x/a', 'op=LISTSTATUS'), 'FileStatuses', 'FileStatus'), [
    { pathSuffix: '', type: 'FILE' },
  ])
  const batch = await call('GET', '/x', 'op=LISTSTATUS_BATCH&startAfter=A')
  t.equal(statuses(batch, 'DirectoryListing', 'partialListing').length, 3)
  t.equal(at(batch, 'DirectoryListing', 'remainingEntries'), 0)

  t.same((await call('PUT', '/x/a', 'op=RENAME&destination=/x/y')).body, { boolean: true })
  t.equal((await call('GET', '/x/y/a', 'op=OPEN')).bytes.toString(), 'a', 'moved below')
  t.same((await call('PUT', '/none', 'op=RENAME&destination=/q')).body, { boolean: false })
  t.same((await call('PUT', '/x', 'op=RENAME&destination=/x/y/x')).body, { boolean: false })
  t.same((await call('PUT', '/x/b', 'op=RENAME&destination=/x/A')).body, { boolean: false })
  const refused = await call('PUT', '/x/b', 'op=RENAME&destination=/x/A&renameoptions=NONE')
  t.same(exceptionOf(refused), [403, 'FileAlreadyExistsException'])
  const forced = await call('PUT', '/x/b', 'op=RENAME&destination=/x/A&renameoptions=OVERWRITE')
  t.equal(forced.status, 200)
  t.equal((await call('GET', '/x/A', 'op=OPEN')).bytes.toString(), 'b')

  t.same(exceptionOf(await call('DELETE', '/x', 'op=DELETE')), [
    403,
    'PathIsNotEmptyDirectoryException',
  ])
  t.same((await call('DELETE', '/x', 'op=DELETE&recursive=true')).body, { boolean: true })
  t.same((await call('DELETE', '/x', 'op=DELETE&recursive=true')).body, { boolean: false })
  t.same((await call('DELETE', '/', 'op=DELETE&recursive=true')).body, { boolean: false })
  await call('PUT', '/file', 'op=CREATE', 'x')
  t.same(exceptionOf(await call('DELETE', '/', 'op=DELETE')), [
    403,
    'PathIsNotEmptyDirectoryException',
  ])
  t.same(exceptionOf(await call('GET', '/file/x', 'op=GETFILESTATUS')), [
    404,
    'FileNotFoundException',
  ])
  const below = await call('PUT', '/file/x/y', 'op=MKDIRS')
  t.same(exceptionOf(below), [403, 'ParentNotDirectoryException'])
  t.equal(at(below, 'RemoteException', 'message'), '/file (is not a directory)')
  t.same(exceptionOf(await call('GET', '/file/x', 'op=GETFILESTATUS&user.name=bob')), [
    403,
    'AccessControlException',
  ])
})

void t.test('a directory of more than one page is streamed whole', async t => {
  const { call, store } = await start(t)
  const view = store.viewOf('root')
  view.makeDirectory('/big', 0o755)
  for (let index = 0; index < 2500; index++) {
    view.open(`/big/f${String(index).padStart(5, '0')}`, 2 | 16, 0o644).close()
  }
  const listed = statuses(await call('GET', '/big', 'op=LISTSTATUS'))
  t.equal(listed.length, 2500)
  t.equal(listed[2499]?.pathSuffix, 'f02499')
  const batch = await call('GET', '/big', 'op=LISTSTATUS_BATCH')
  t.equal(statuses(batch, 'DirectoryListing', 'partialListing').length, 1000)
  t.equal(at(batch, 'DirectoryListing', 'remainingEntries'), 1500)
})

void t.test('attributes, sums, xattrs and probes', async t => {
  const { call } = await start(t)
  await call('PUT', '/d/f', 'op=CREATE', '0123456789')
  t.equal((await call('PUT', '/d/f', 'op=SETPERMISSION&permission=600')).status, 200)
  t.equal((await call('PUT', '/d/f', 'op=SETOWNER&owner=alice&group=people')).status, 200)
  t.equal(
    (await call('PUT', '/d/f', 'op=SETTIMES&modificationtime=1234567890123&accesstime=-1')).status,
    200,
  )
  t.same((await call('PUT', '/d/f', 'op=SETREPLICATION&replication=3')).body, { boolean: true })
  t.match(at(await call('GET', '/d/f', 'op=GETFILESTATUS'), 'FileStatus'), {
    owner: 'alice',
    group: 'people',
    permission: '600',
    modificationTime: 1234567890123,
    replication: 3,
  })
  t.match(at(await call('GET', '/d', 'op=GETCONTENTSUMMARY'), 'ContentSummary'), {
    directoryCount: 1,
    fileCount: 1,
    length: 10,
    spaceConsumed: 30,
    quota: -1,
  })
  t.match(at(await call('GET', '/d', 'op=GETQUOTAUSAGE'), 'QuotaUsage'), {
    fileAndDirectoryCount: 2,
  })
  t.same((await call('POST', '/d/f', 'op=TRUNCATE&newlength=4')).body, { boolean: true })
  t.equal((await call('GET', '/d/f', 'op=OPEN')).bytes.toString(), '0123')
  t.same(exceptionOf(await call('POST', '/d/f', 'op=TRUNCATE&newlength=40')), [
    400,
    'HadoopIllegalArgumentException',
  ])

  const set = 'op=SETXATTR&xattr.name=user.k&xattr.value=0x6162&flag=CREATE'
  t.equal((await call('PUT', '/d/f', set)).status, 200)
  t.same(exceptionOf(await call('PUT', '/d/f', set)), [403, 'IOException'])
  t.same((await call('GET', '/d/f', 'op=GETXATTRS&encoding=hex')).body, {
    XAttrs: [{ name: 'user.k', value: '0x6162' }],
  })
  t.same((await call('GET', '/d/f', 'op=GETXATTRS&xattr.name=user.k')).body, {
    XAttrs: [{ name: 'user.k', value: '"ab"' }],
  })
  t.same((await call('GET', '/d/f', 'op=LISTXATTRS')).body, { XAttrNames: '["user.k"]' })
  t.equal((await call('PUT', '/d/f', 'op=REMOVEXATTR&xattr.name=user.k')).status, 200)
  t.same(exceptionOf(await call('GET', '/d/f', 'op=GETXATTRS&xattr.name=user.k')), [
    403,
    'XAttrNotFoundException',
  ])

  t.match(at(await call('GET', '/d/f', 'op=GETACLSTATUS'), 'AclStatus'), {
    entries: [],
    owner: 'alice',
    permission: '600',
    stickyBit: false,
  })
  t.same((await call('GET', '/', 'op=GETHOMEDIRECTORY&user.name=bob')).body, { Path: '/user/bob' })
  t.same((await call('GET', '/', 'op=GETTRASHROOT&user.name=bob')).body, {
    Path: '/user/bob/.Trash',
  })
  t.same((await call('GET', '/', 'op=GETDELEGATIONTOKEN')).body, { Token: null })
  t.match(at(await call('GET', '/', 'op=GETSERVERDEFAULTS'), 'FsServerDefaults'), {
    blockSize: 134217728,
    bytesPerChecksum: 512,
  })
  t.ok(Number(at(await call('GET', '/', 'op=GETSTATUS'), 'FsStatus', 'capacity')) > 0)
})

void t.test('blocks are located by the size the file asked for', async t => {
  const { call } = await start(t)
  await call('PUT', '/b', 'op=CREATE&blocksize=1024', Buffer.alloc(2500, 1))
  const located = await call('GET', '/b', 'op=GET_BLOCK_LOCATIONS')
  t.match(at(located, 'LocatedBlocks'), {
    fileLength: 2500,
    isLastBlockComplete: true,
    isUnderConstruction: false,
  })
  const blocks = at(located, 'LocatedBlocks', 'locatedBlocks') as {
    startOffset: number
    block: { numBytes: number }
  }[]
  t.same(
    blocks.map(block => [block.startOffset, block.block.numBytes]),
    [
      [0, 1024],
      [1024, 1024],
      [2048, 452],
    ],
  )
  t.equal(at(located, 'LocatedBlocks', 'lastLocatedBlock', 'startOffset'), 2048)
  const query = 'op=GETFILEBLOCKLOCATIONS&offset=1100&length=10'
  t.match(at(await call('GET', '/b', query), 'BlockLocations', 'BlockLocation'), [
    { offset: 1024, length: 1024, names: ['127.0.0.1:9866'], hosts: ['localhost'] },
  ])
  const sum = at(await call('GET', '/b', 'op=GETFILECHECKSUM'), 'FileChecksum')
  t.match(sum, { algorithm: 'MD5-of-2MD5-of-512CRC32C', length: 28 })
})

void t.test('files are joined without a copy', async t => {
  const { call } = await start(t)
  for (const name of ['t', 'a', 'b']) await call('PUT', `/c/${name}`, 'op=CREATE', `<${name}>`)
  t.equal((await call('POST', '/c/t', 'op=CONCAT&sources=/c/a,/c/b')).status, 200)
  t.equal((await call('GET', '/c/t', 'op=OPEN')).bytes.toString(), '<t><a><b>')
  t.same(exceptionOf(await call('GET', '/c/a', 'op=GETFILESTATUS')), [404, 'FileNotFoundException'])
  t.same(exceptionOf(await call('POST', '/c/t', 'op=CONCAT&sources=/c/t')), [
    400,
    'HadoopIllegalArgumentException',
  ])
})

void t.test('snapshots are allowed, taken, compared, renamed and dropped', async t => {
  const { call } = await start(t)
  await call('PUT', '/s/keep', 'op=CREATE', 'one')
  await call('PUT', '/s/go', 'op=CREATE', 'gone')
  t.same(exceptionOf(await call('PUT', '/s', 'op=CREATESNAPSHOT&snapshotname=s1')), [
    403,
    'SnapshotException',
  ])
  t.equal((await call('PUT', '/s', 'op=ALLOWSNAPSHOT')).status, 200)
  t.same((await call('PUT', '/s', 'op=CREATESNAPSHOT&snapshotname=s1')).body, {
    Path: '/s/.snapshot/s1',
  })
  t.match((await call('PUT', '/s', 'op=CREATESNAPSHOT')).body, {
    Path: /^\/s\/\.snapshot\/s\d{8}-\d{6}\.\d{3}$/,
  })
  t.same(exceptionOf(await call('PUT', '/s', 'op=CREATESNAPSHOT&snapshotname=s1')), [
    403,
    'SnapshotException',
  ])
  t.same(exceptionOf(await call('PUT', '/s', 'op=CREATESNAPSHOT&snapshotname=a/b')), [
    400,
    'HadoopIllegalArgumentException',
  ])
  await call('POST', '/s/keep', 'op=APPEND', ' two')
  await call('DELETE', '/s/go', 'op=DELETE')
  await call('PUT', '/s/new', 'op=CREATE', 'x')
  t.equal((await call('GET', '/s/.snapshot/s1/keep', 'op=OPEN')).bytes.toString(), 'one')
  t.equal((await call('GET', '/s/.snapshot/s1/go', 'op=OPEN')).bytes.toString(), 'gone')
  t.same(exceptionOf(await call('PUT', '/s/.snapshot/s1/z', 'op=CREATE', 'x')), [
    403,
    'SnapshotAccessControlException',
  ])
  const report = await call('GET', '/s', 'op=GETSNAPSHOTDIFF&oldsnapshotname=s1&snapshotname=')
  const changes = at(report, 'SnapshotDiffReport', 'diffList')
  const entries = (changes as { sourcePath: string; type: string }[])
    .map(entry => `${entry.type} ${entry.sourcePath}`)
    .sort()
  t.same(entries, ['CREATE new', 'DELETE go', 'MODIFY ', 'MODIFY keep'])
  t.equal(
    (await call('PUT', '/s', 'op=RENAMESNAPSHOT&oldsnapshotname=s1&snapshotname=first')).status,
    200,
  )
  const list = at(await call('GET', '/s', 'op=GETSNAPSHOTLIST'), 'SnapshotList') as {
    dirStatus: { pathSuffix: string }
  }[]
  t.equal(list.length, 2)
  t.match(list[0], { dirStatus: { pathSuffix: 'first' }, fullPath: '/s/.snapshot/first' })
  const directories = at(
    await call('GET', '/', 'op=GETSNAPSHOTTABLEDIRECTORYLIST'),
    'SnapshottableDirectoryList',
  )
  t.match(directories, [{ dirStatus: { pathSuffix: 's' }, parentFullPath: '/', snapshotNumber: 2 }])
  t.same(exceptionOf(await call('PUT', '/s', 'op=DISALLOWSNAPSHOT')), [403, 'SnapshotException'])
  t.same(exceptionOf(await call('DELETE', '/s', 'op=DELETE&recursive=true')), [
    403,
    'SnapshotException',
  ])
  for (const entry of list) {
    const name = entry.dirStatus.pathSuffix
    t.equal((await call('DELETE', '/s', `op=DELETESNAPSHOT&snapshotname=${name}`)).status, 200)
  }
  t.same(exceptionOf(await call('DELETE', '/s', 'op=DELETESNAPSHOT&snapshotname=first')), [
    403,
    'SnapshotException',
  ])
  t.equal((await call('PUT', '/s', 'op=DISALLOWSNAPSHOT')).status, 200)
})

void t.test('who may do what is decided by the store and said in the words of HDFS', async t => {
  const { call } = await start(t)
  await call('PUT', '/p/f', 'op=CREATE&permission=600', 'secret')
  const read = await call('GET', '/p/f', 'op=OPEN&user.name=bob')
  t.same(exceptionOf(read), [403, 'AccessControlException'])
  t.match(
    at(read, 'RemoteException', 'message'),
    /^Permission denied: user=bob, access=READ, inode="\/p\/f":hdfsadmin:[^:]+:-rw-------$/,
  )
  const write = await call('PUT', '/p/g', 'op=CREATE&user.name=bob', 'x')
  t.match(
    at(write, 'RemoteException', 'message'),
    /^Permission denied: user=bob, access=WRITE, inode="\/p":hdfsadmin:[^:]+:drwxr-xr-x$/,
  )
  await call('PUT', '/p', 'op=SETPERMISSION&permission=700')
  const through = await call('GET', '/p/f', 'op=GETFILESTATUS&user.name=bob')
  t.match(at(through, 'RemoteException', 'message'), /access=EXECUTE, inode="\/p":.*:drwx------$/)
  t.same(exceptionOf(await call('PUT', '/p', 'op=SETPERMISSION&permission=777&user.name=bob')), [
    403,
    'AccessControlException',
  ])
  t.same(exceptionOf(await call('GET', '/p', 'op=CHECKACCESS&fsaction=r--&user.name=bob')), [
    403,
    'AccessControlException',
  ])
  t.equal((await call('GET', '/', 'op=CHECKACCESS&fsaction=r-x&user.name=bob')).status, 200)
  t.same(exceptionOf(await call('PUT', '/', 'op=ALLOWSNAPSHOT&user.name=bob')), [
    403,
    'AccessControlException',
  ])
  t.same(exceptionOf(await call('GET', '/', 'op=LISTSTATUS&doas=alice&user.name=bob')), [
    403,
    'AuthorizationException',
  ])
  for (const name of ['../x', 'a%20b', 'a%0Ab', '%2F']) {
    t.same(exceptionOf(await call('GET', '/', `op=LISTSTATUS&user.name=${name}`)), [
      400,
      'IllegalArgumentException',
    ])
  }
})

void t.test('bad requests are answered and end nothing else', async t => {
  const { call, server } = await start(t)
  t.same(exceptionOf(await call('GET', '/', 'op=NONSENSE')), [400, 'IllegalArgumentException'])
  t.same(exceptionOf(await call('GET', '/', '')), [400, 'IllegalArgumentException'])
  t.same(exceptionOf(await call('GET', '/', 'op=MKDIRS')), [400, 'IllegalArgumentException'])
  t.same(exceptionOf(await call('GET', '/none', 'op=LISTSTATUS')), [404, 'FileNotFoundException'])
  t.same(exceptionOf(await call('GET', '/none', 'op=OPEN')), [404, 'FileNotFoundException'])
  t.same(exceptionOf(await call('GET', '/', 'op=OPEN')), [404, 'FileNotFoundException'])
  t.same(exceptionOf(await call('GET', '/%ff', 'op=OPEN')), [400, 'IllegalArgumentException'])
  t.same(exceptionOf(await call('GET', '/a%2F..%2Fb', 'op=OPEN')), [400, 'InvalidPathException'])
  const long = 'n'.repeat(256)
  t.same(exceptionOf(await call('PUT', `/${long}`, 'op=CREATE', 'x')), [
    403,
    'PathComponentTooLongException',
  ])
  t.equal((await call('PATCH', '/', 'op=OPEN')).status, 405)
  const garbage = (bytes: Buffer): Promise<void> =>
    new Promise(resolve => {
      const socket = connect(server.port, '127.0.0.1', () => socket.end(bytes))
      socket.on('error', () => undefined)
      socket.resume()
      socket.on('close', () => {
        resolve()
      })
    })
  await garbage(randomBytes(4096))
  await garbage(Buffer.from(`GET /${'x'.repeat(200_000)} HTTP/1.1\r\n\r\n`))
  await garbage(Buffer.from('hrpc\x09\x00\x00'))
  t.equal((await call('GET', '/', 'op=LISTSTATUS')).status, 200)
})

void t.test('a client that sends a refused body still gets the answer', async t => {
  const { call } = await start(t)
  await call('PUT', '/there', 'op=CREATE', 'x')
  const query = 'op=CREATE&namenoderpcaddress=x'
  const refused = await call('PUT', '/there', query, Buffer.alloc(20_000_000), false)
  t.same(exceptionOf(refused), [403, 'FileAlreadyExistsException'])
  t.equal((await call('GET', '/there', 'op=OPEN')).bytes.toString(), 'x')
})

void t.test('a broken upload leaves what arrived', async t => {
  const { call, server } = await start(t)
  const bytes = randomBytes(2_000_000)
  await new Promise<void>(resolve => {
    const path = '/webhdfs/v1/half?op=CREATE&namenoderpcaddress=x'
    const outgoing = httpRequest({
      host: '127.0.0.1',
      port: server.port,
      method: 'PUT',
      path,
      headers: { 'Content-Length': 4_000_000 },
    })
    outgoing.on('error', () => {
      resolve()
    })
    outgoing.write(bytes, () => setTimeout(() => outgoing.destroy(), 200))
  })
  let length = 0
  for (let tries = 0; tries < 100 && length !== bytes.length; tries++) {
    await new Promise(resolve => setTimeout(resolve, 20))
    length = at(await call('GET', '/half', 'op=GETFILESTATUS'), 'FileStatus', 'length') as number
  }
  t.equal(length, bytes.length)
  t.ok((await call('GET', '/half', 'op=OPEN')).bytes.equals(bytes))
})

void t.test(
  'a page of another origin cannot change anything, and status tells the space',
  async t => {
    const { server, call } = await start(t)
    await call('PUT', '/f', 'op=CREATE', '0123456789')
    const base = `http://127.0.0.1:${String(server.port)}`
    const foreign = await request(`${base}/webhdfs/v1/f?op=TRUNCATE&newlength=0`, {
      method: 'POST',
      headers: { origin: 'http://evil.example' },
    })
    t.equal(foreign.statusCode, 403)
    t.equal(foreign.headers['access-control-allow-origin'], undefined)
    await foreign.body.dump()
    t.equal(at(await call('GET', '/f', 'op=GETFILESTATUS'), 'FileStatus', 'length'), 10)
    const status = await request(`${base}/status`)
    t.match(await status.body.json(), {
      store: 'id',
      version: '0.0.0-test',
      space: { segments: Number },
    })
    const missing = await request(`${base}/other`)
    t.equal(missing.statusCode, 404)
    await missing.body.dump()
  },
)
