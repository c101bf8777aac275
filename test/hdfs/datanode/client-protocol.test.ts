import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import t from 'tap'
import { blockIdOf, generationStampOf } from '../../../lib/hdfs/datanode/block-id.js'
import type { BlockDirectory } from '../../../lib/hdfs/datanode/blocks.js'
import { BlockRefusal } from '../../../lib/hdfs/datanode/blocks.js'
import { clientDatanodeProtocol } from '../../../lib/hdfs/datanode/client-protocol.js'
import {
  GetDatanodeInfoResponseProtoSchema,
  GetReplicaVisibleLengthRequestProtoSchema,
  GetReplicaVisibleLengthResponseProtoSchema,
} from '../../../lib/hdfs/proto/gen/client_datanode_pb.js'
import type { RpcCall } from '../../../lib/hdfs/rpc/protocol.js'

const POOL = 'BP-1-127.0.0.1-1700000000000'
const CALL: RpcCall = {
  user: 'alice',
  address: '127.0.0.1',
  clientId: new Uint8Array(16),
  callId: 0,
  retryCount: 0,
}

const directory: BlockDirectory = {
  resolveForRead: ({ name }) => {
    if (name.inode !== 20) throw new BlockRefusal('ENOENT', 'Replica not found')
    return { view: name.view, inode: name.inode, fileOffset: 0, length: 77 }
  },
  resolveForWrite: () => {
    throw new BlockRefusal('ENOENT', 'Replica not found')
  },
  progress: () => undefined,
}

const protocol = clientDatanodeProtocol({
  poolId: POOL,
  directory,
  softwareVersion: '3.4.3',
  startedMs: performance.now(),
})

function call(method: string, request: Uint8Array): Uint8Array {
  const answer = protocol.methods.get(method)?.(request, CALL)
  if (!(answer instanceof Uint8Array)) throw new Error(`${method} did not answer at once`)
  return answer
}

function visibleLength(inode: number, poolId = POOL): bigint {
  const block = {
    poolId,
    blockId: blockIdOf(inode, 0),
    generationStamp: generationStampOf(0, 1001),
  }
  const schema = GetReplicaVisibleLengthRequestProtoSchema
  const answer = call('getReplicaVisibleLength', toBinary(schema, create(schema, { block })))
  return fromBinary(GetReplicaVisibleLengthResponseProtoSchema, answer).length
}

void t.test('the visible length is what may be read now', t => {
  t.equal(protocol.name, 'org.apache.hadoop.hdfs.protocol.ClientDatanodeProtocol')
  t.equal(visibleLength(20), 77n)
  t.throws(() => visibleLength(21), { code: 'ENOENT' })
  t.throws(() => visibleLength(20, 'BP-other'), { code: 'ENOENT' })
  t.throws(() => call('getReplicaVisibleLength', new Uint8Array(0)), /block is missing/)
  t.end()
})

void t.test('paths of block files are nobody’s, and the version is told', t => {
  t.throws(() => call('getBlockLocalPathInfo', new Uint8Array(0)), /is not configured in/)
  const answer = call('getDatanodeInfo', new Uint8Array(0))
  const info = fromBinary(GetDatanodeInfoResponseProtoSchema, answer)
  t.equal(info.localInfo?.softwareVersion, '3.4.3')
  t.end()
})
