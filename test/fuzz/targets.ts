/** Every place where the TypeScript side takes strangers' bytes, over one store. */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import type { DescMessage } from '@bufbuild/protobuf'
import { BinaryReader } from '@bufbuild/protobuf/wire'
import { join } from 'node:path'
import { ControlServer } from '../../lib/daemon/control-server.js'
import { hdfsFacts } from '../../lib/daemon/hdfs-facts.js'
import { LockstepError } from '../../lib/errors.js'
import { hdfsConfig } from '../../lib/hdfs/config.js'
import type { HdfsConfigInput } from '../../lib/hdfs/config.js'
import { OP } from '../../lib/hdfs/datanode/operations.js'
import { HdfsService } from '../../lib/hdfs/index.js'
import { datanodeOf } from '../../lib/hdfs/namenode/methods/cluster.js'
import { Namespace } from '../../lib/hdfs/namenode/namespace.js'
import { namenodeProtocols } from '../../lib/hdfs/namenode/protocol.js'
import { ClientNamenodeProtocol } from '../../lib/hdfs/proto/gen/client_namenode_pb.js'
import { IpcConnectionContextProtoSchema } from '../../lib/hdfs/proto/gen/connection_context_pb.js'
import * as transfer from '../../lib/hdfs/proto/gen/datatransfer_pb.js'
import { RequestHeaderProtoSchema } from '../../lib/hdfs/proto/gen/rpc_engine_pb.js'
import {
  RpcKindProto,
  RpcRequestHeaderProto_OperationProto,
  RpcRequestHeaderProtoSchema,
  RpcResponseHeaderProtoSchema,
  RpcSaslProto_SaslState,
  RpcSaslProtoSchema,
} from '../../lib/hdfs/proto/gen/rpc_header_pb.js'
import { RpcRequestError } from '../../lib/hdfs/rpc/errors.js'
import { errorCode, JavaException } from '../../lib/java-exceptions.js'
import { NativeStore, OPEN } from '../../lib/native.js'
import { parseTarget } from '../../lib/webhdfs/target.js'
import { WebHdfsServer } from '../../lib/webhdfs/server.js'
import { MemoryControl } from '../support/memory-control.js'
import { sampleOf } from './messages.js'
import type { FuzzTarget } from './run.js'
import { talk } from './sockets.js'

const LOOPBACK = '127.0.0.1'
const IDENTITY: HdfsConfigInput = {
  clusterId: 'CID-fuzz',
  blockPoolId: 'BP-1-127.0.0.1-1',
  datanodeUuid: '11111111-2222-3333-4444-555555555555',
  serviceUser: 'root',
  rpcPort: 0,
  dataPort: 0,
}

/** The targets, and what to call when they are done with. */
export interface Targets {
  list: FuzzTarget[]
  close(): Promise<void>
}

/** Serves a new store in `directory` to all of them. */
export async function startTargets(directory: string): Promise<Targets> {
  const storeDirectory = join(directory, 'store')
  NativeStore.create(storeDirectory)
  const store = await NativeStore.open(storeDirectory)
  const root = store.view({ uid: 0, gid: 0, groups: [], umask: 0 })
  root.makeDirectory('/fuzz', 0o777)
  root.open('/fuzz/file', OPEN.write | OPEN.create, 0o666).close()
  const hdfs = await HdfsService.start(store, IDENTITY)
  const escaped: unknown[] = []
  const web = await WebHdfsServer.start(store, {
    ...{ host: LOOPBACK, port: 0, user: 'root' },
    hdfs: () => hdfsFacts(hdfs),
    onError: error => escaped.push(error),
  })
  const memory = new MemoryControl()
  memory.files.set('/a', Buffer.from('a file'))
  const control = new ControlServer(memory)
  await control.listen(directory)
  const location = (): ReturnType<typeof datanodeOf> =>
    datanodeOf(hdfsConfig(IDENTITY), { dataPort: hdfs.dataPort, ipcPort: hdfs.ipcPort })
  const namespace = new Namespace(store, hdfsConfig(IDENTITY), location)
  return {
    list: [
      rpcConnection(hdfs.rpcPort),
      clientProtocol(namespace, location),
      transferConnection(hdfs.dataPort),
      webTarget(),
      webConnection(web.port, escaped),
      controlConnection(join(directory, 'control.sock')),
    ],
    async close() {
      namespace.stop()
      await control.close(0)
      await web.close()
      await hdfs.stop()
      await store.close()
    },
  }
}

function varint(value: number): Buffer {
  return value < 128
    ? Buffer.from([value])
    : Buffer.concat([Buffer.from([(value & 0x7f) | 0x80]), varint(value >>> 7)])
}

function delimited(message: Uint8Array): Buffer {
  return Buffer.concat([varint(message.length), message])
}

function frame(callId: number, ...messages: Uint8Array[]): Buffer {
  const header = create(RpcRequestHeaderProtoSchema, {
    rpcKind: RpcKindProto.RPC_PROTOCOL_BUFFER,
    rpcOp: RpcRequestHeaderProto_OperationProto.RPC_FINAL_PACKET,
    callId,
    clientId: Buffer.from('0123456789abcdef'),
    retryCount: 0,
  })
  const parts = [toBinary(RpcRequestHeaderProtoSchema, header), ...messages].map(delimited)
  const body = Buffer.concat(parts)
  const length = Buffer.alloc(4)
  length.writeUInt32BE(body.length)
  return Buffer.concat([length, body])
}

/** Whole connections to the NameNode: preamble, SASL, context, calls. What answers are whole frames. */
function rpcConnection(port: number): FuzzTarget {
  const protocol = 'org.apache.hadoop.hdfs.protocol.ClientProtocol'
  const context = create(IpcConnectionContextProtoSchema, {
    protocol,
    userInfo: { effectiveUser: 'root' },
  })
  const hello = frame(-3, toBinary(IpcConnectionContextProtoSchema, context))
  const state = RpcSaslProto_SaslState.NEGOTIATE
  const sasl = toBinary(RpcSaslProtoSchema, create(RpcSaslProtoSchema, { state }))
  const call = (method: keyof typeof ClientNamenodeProtocol.method, id: number): Buffer => {
    const { name, input } = ClientNamenodeProtocol.method[method]
    const named = { methodName: name, declaringClassProtocolName: protocol }
    const header = create(RequestHeaderProtoSchema, { ...named, clientProtocolVersion: 1n })
    return frame(id, toBinary(RequestHeaderProtoSchema, header), sampleOf(input, true))
  }
  const preamble = (auth: number): Buffer =>
    Buffer.concat([Buffer.from('hrpc'), Buffer.from([9, 0, auth])])
  const calls = Buffer.concat([
    call('getFileInfo', 0),
    call('getListing', 1),
    call('getServerDefaults', 2),
  ])
  return {
    name: 'rpc-connection',
    seeds: [
      Buffer.concat([preamble(0), hello, calls]),
      Buffer.concat([preamble(0xdf), frame(-33, sasl), hello, calls]),
      Buffer.concat([preamble(0), hello, frame(-4), call('mkdirs', 3)]),
      Buffer.from('GET / HTTP/1.1\r\n\r\n'),
    ],
    async run(input) {
      const answer = await talk({ host: LOOPBACK, port }, input)
      if (answer.subarray(0, 4).toString() === 'HTTP') return
      for (let at = 0; at < answer.length;) {
        const length = answer.readUInt32BE(at)
        const reader = new BinaryReader(answer.subarray(at + 4, at + 4 + length))
        fromBinary(RpcResponseHeaderProtoSchema, reader.bytes())
        at += 4 + length
      }
    },
  }
}

/** Every method of ClientProtocol: the first byte of the input chooses it, the rest is its request. */
function clientProtocol(
  namespace: Namespace,
  location: () => ReturnType<typeof datanodeOf>,
): FuzzTarget {
  const methods = [...(namenodeProtocols(namespace, location)[0]?.methods ?? [])]
  const call = {
    ...{ user: 'root', address: LOOPBACK, clientId: new Uint8Array(16), callId: 1, retryCount: 0 },
  }
  const seeds = methods.flatMap(([name], index) => {
    const method = ClientNamenodeProtocol.methods.find(candidate => candidate.name === name)
    if (method === undefined) return []
    const samples = [true, false].map(minimal => sampleOf(method.input, minimal))
    return samples.map(bytes => Buffer.concat([Buffer.from([index]), bytes]))
  })
  return {
    name: 'client-protocol',
    seeds,
    async run(input) {
      const [, method] = methods[(input[0] ?? 0) % methods.length] ?? []
      try {
        await method?.(input.subarray(1), call)
      } catch (error) {
        const isKnown =
          error instanceof JavaException ||
          error instanceof RpcRequestError ||
          error instanceof LockstepError
        // An error without a stable code is a mistake of ours that met the client's bytes.
        if (!isKnown && !/^E[A-Z]|^ERR_LOCKSTEP/.test(errorCode(error))) throw error
      }
    },
  }
}

/** Whole connections to the DataNode: operations, then packets. */
function transferConnection(port: number): FuzzTarget {
  const operation = (op: number, schema: DescMessage, minimal: boolean): Buffer =>
    Buffer.concat([Buffer.from([0, 28, op]), delimited(sampleOf(schema, minimal))])
  // A packet without data that is the last: lengths, then the header.
  const last = Buffer.from('000000040019' + '09' + '00'.repeat(8) + '11' + '00'.repeat(8), 'hex')
  const packet = Buffer.concat([last, Buffer.from('18012500000000', 'hex')])
  const pairs: [number, DescMessage][] = [
    [OP.readBlock, transfer.OpReadBlockProtoSchema],
    [OP.writeBlock, transfer.OpWriteBlockProtoSchema],
    [OP.blockChecksum, transfer.OpBlockChecksumProtoSchema],
    [OP.copyBlock, transfer.OpCopyBlockProtoSchema],
  ]
  return {
    name: 'transfer-connection',
    seeds: pairs.flatMap(([op, schema]) =>
      [true, false].map(minimal => Buffer.concat([operation(op, schema, minimal), packet])),
    ),
    async run(input) {
      await talk({ host: LOOPBACK, port }, input)
    },
  }
}

const QUERIES = [
  '/webhdfs/v1/fuzz?op=LISTSTATUS',
  '/webhdfs/v1/fuzz/file?op=OPEN&offset=0&length=10&noredirect=true',
  '/webhdfs/v1/fuzz/file?op=GETFILECHECKSUM',
  '/webhdfs/v1/fuzz/%C3%A9?op=GETFILESTATUS&user.name=root',
  '/webhdfs/v1/fuzz?op=LISTSTATUS_BATCH&startAfter=file',
  '/webhdfs/v1/fuzz/file?op=GETXATTRS&xattr.name=user.a&encoding=hex',
  '/webhdfs/v1/fuzz?op=GETCONTENTSUMMARY',
  '/webhdfs/v1/fuzz?op=GETSNAPSHOTDIFF&oldsnapshotname=a&snapshotname=b',
  '/webhdfs/v1/fuzz/file?op=GET_BLOCK_LOCATIONS&offset=0&length=1',
  '/webhdfs/v1/fuzz/file?op=CHECKACCESS&fsaction=r-x',
]
const CHANGES = [
  '/webhdfs/v1/fuzz/new?op=CREATE&overwrite=true&blocksize=1048576&permission=644&noredirect=true',
  '/webhdfs/v1/fuzz/dir?op=MKDIRS&permission=1777',
  '/webhdfs/v1/fuzz/file?op=SETPERMISSION&permission=600',
  '/webhdfs/v1/fuzz/file?op=SETTIMES&modificationtime=1&accesstime=-1',
  '/webhdfs/v1/fuzz/file?op=SETOWNER&owner=root&group=root',
  '/webhdfs/v1/fuzz/file?op=SETXATTR&xattr.name=user.a&xattr.value=0x3132&flag=CREATE',
  '/webhdfs/v1/fuzz/file?op=SETACL&aclspec=user::rwx,user:a:r--,group::r--,other::r--',
  '/webhdfs/v1/fuzz/file?op=SETREPLICATION&replication=2',
  '/webhdfs/v1/fuzz?op=CREATESNAPSHOT&snapshotname=s',
  '/webhdfs/v1/fuzz/dir?op=RENAME&destination=/fuzz/other',
]

/** Request targets, parsed: path and parameters are right, or refused with Hadoop's exceptions. */
function webTarget(): FuzzTarget {
  return {
    name: 'webhdfs-target',
    seeds: [...QUERIES, ...CHANGES].map(text => Buffer.from(text)),
    run(input) {
      try {
        const target = parseTarget(input.toString())
        const path = target?.path ?? '/'
        if (path.includes('\0') || /(^|\/)\.\.?(\/|$)/.test(path)) throw new Error(path)
        target?.parameters.integer('offset', 0)
        target?.parameters.permission('permission', 0o755)
        target?.parameters.boolean('overwrite', false)
      } catch (error) {
        if (!(error instanceof JavaException)) throw error
      }
    },
  }
}

/** Whole HTTP connections to WebHDFS: answered, and never with a failure of ours. */
function webConnection(port: number, escaped: unknown[]): FuzzTarget {
  const request = (method: string, target: string): Buffer =>
    Buffer.from(`${method} ${target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`)
  return {
    name: 'webhdfs-connection',
    seeds: [
      ...QUERIES.map(target => request('GET', target)),
      ...CHANGES.map(target => request('PUT', target)),
      request('POST', '/webhdfs/v1/fuzz/file?op=TRUNCATE&newlength=0'),
      request('DELETE', '/webhdfs/v1/fuzz/other?op=DELETE&recursive=true'),
    ],
    async run(input) {
      const answer = (await talk({ host: LOOPBACK, port }, input)).toString('latin1')
      if (escaped.length > 0) throw new Error('a failure of ours', { cause: escaped.pop() })
      if (answer !== '' && !answer.startsWith('HTTP/1.1 ')) throw new Error(answer)
    },
  }
}

/** Whole HTTP connections to the control socket: answered with a value or an error with a known code. */
function controlConnection(path: string): FuzzTarget {
  const request = (operation: string, body: object): Buffer => {
    const text = JSON.stringify(body)
    const head = `POST /v1/${operation} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n`
    return Buffer.from(`${head}Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`)
  }
  return {
    name: 'control-connection',
    seeds: [
      request('about', {}),
      request('stat', { path: '/a', follow: true }),
      request('makeDirectory', { path: '/a', mode: 0o755, parents: false }),
      request('list', { path: '/' }),
      request('createSnapshot', { path: '/', name: 'é' }),
      request('diff', { path: '/', from: 'a', to: 'b' }),
      Buffer.from('GET /v1/read?path=/a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'),
      Buffer.from(
        'PUT /v1/write?path=/a&mode=420 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
      ),
    ],
    async run(input) {
      const answer = (await talk({ path }, input)).toString()
      const code = /"error":\{"code":"([^"]*)"/.exec(answer)?.[1]
      if (code !== undefined && !/^(E[A-Z0-9]+|ERR_LOCKSTEP_[A-Z_]+)$/.test(code)) {
        throw new Error(`the code ${code} is not documented`)
      }
    },
  }
}
