/** Operations that tell about the service itself: defaults, block locations, space, policies. */
import { hostname } from 'node:os'
import { JavaException } from '../../java-exceptions.js'
import { ATTRIBUTE } from '../../native.js'
import { EMPTY, json } from '../exchange.js'
import type { Answer, Exchange, OperationTable } from '../exchange.js'
import type { Json } from '../json.js'
import { BLOCK_SIZE_DEFAULT } from '../options.js'
import type { DataNodeFacts } from '../options.js'
import { existing } from './attributes.js'

/** Most blocks in one answer. */
const BLOCK_COUNT_MAX = 100_000

/** The one storage policy there is: every byte on the store's own disk. */
const HOT: Json = {
  copyOnCreateFile: false,
  creationFallbacks: [],
  id: 7,
  name: 'HOT',
  replicationFallbacks: ['ARCHIVE'],
  storageTypes: ['DISK'],
}

function getServerDefaults({ options }: Exchange): Answer {
  return json({
    FsServerDefaults: {
      blockSize: options.blockSize ?? BLOCK_SIZE_DEFAULT,
      bytesPerChecksum: 512,
      checksumType: 2,
      defaultStoragePolicyId: 7,
      encryptDataTransfer: false,
      fileBufferSize: 4096,
      keyProviderUri: '',
      replication: options.replication ?? 1,
      snapshotTrashRootEnabled: false,
      trashInterval: 0,
      writePacketSize: 65536,
    },
  })
}

function getStatus({ view }: Exchange): Answer {
  const { totalBytes, freeBytes, availableBytes } = view.statistics('/')
  return json({
    FsStatus: { capacity: totalBytes, remaining: availableBytes, used: totalBytes - freeBytes },
  })
}

/** A block of a file that lies in the asked range. */
interface Block {
  readonly index: number
  readonly offset: number
  readonly length: number
}

function blocksOf(exchange: Exchange, record: Float64Array): Block[] {
  const { parameters, status } = exchange
  const size = record[ATTRIBUTE.size] ?? 0
  const start = parameters.integer('offset', 0) ?? 0
  const length = parameters.integer('length', 0) ?? size
  const blockSize = status.blockSizeOf(record)
  const end = Math.min(size, start + length)
  const blocks: Block[] = []
  for (let index = Math.floor(start / blockSize); index * blockSize < end; index++) {
    if (blocks.length >= BLOCK_COUNT_MAX) break
    const offset = index * blockSize
    blocks.push({ index, offset, length: Math.min(blockSize, size - offset) })
  }
  return blocks
}

/** Facts of the DataNode.
 *
 * @throws JavaException `UnsupportedOperation` where the HDFS service does not run.
 */
export function dataNodeOf({ options }: Exchange): DataNodeFacts {
  const facts = options.hdfs?.()
  if (facts !== undefined) return facts.dataNode
  throw new JavaException('UnsupportedOperation', 'Block locations need the HDFS service')
}

function getFileBlockLocations(exchange: Exchange): Answer {
  const record = existing(exchange)
  exchange.view.access(exchange.path, 4)
  const { host, transferPort } = dataNodeOf(exchange)
  const name = `${host}:${String(transferPort)}`
  const locations = blocksOf(exchange, record).map(({ offset, length }) => ({
    cachedHosts: [],
    corrupt: false,
    hosts: [hostOf(host)],
    length,
    names: [name],
    offset,
    storageTypes: ['DISK'],
    topologyPaths: [`/default-rack/${name}`],
  }))
  return json({ BlockLocations: { BlockLocation: locations } })
}

function getBlockLocations(exchange: Exchange): Answer {
  const record = existing(exchange)
  exchange.view.access(exchange.path, 4)
  const dataNode = dataNodeOf(exchange)
  const blocks = blocksOf(exchange, record).map(block => locatedBlock(dataNode, record, block))
  const size = record[ATTRIBUTE.size] ?? 0
  const blockSize = exchange.status.blockSizeOf(record)
  const index = Math.max(Math.ceil(size / blockSize) - 1, 0)
  const offset = index * blockSize
  const last = size === 0 ? null : { index, offset, length: size - offset }
  return json({
    LocatedBlocks: {
      fileLength: size,
      isLastBlockComplete: true,
      isUnderConstruction: false,
      lastLocatedBlock: last === null ? null : locatedBlock(dataNode, record, last),
      locatedBlocks: blocks,
    },
  })
}

function locatedBlock(dataNode: DataNodeFacts, record: Float64Array, block: Block): Json {
  const view = record[ATTRIBUTE.view] ?? 0
  const inode = record[ATTRIBUTE.inode] ?? 0
  const { blockId, generationStamp } = dataNode.blockName(view, inode, block.index)
  return {
    block: {
      blockId,
      blockPoolId: dataNode.poolId,
      generationStamp,
      numBytes: block.length,
    },
    blockToken: { urlString: 'AAAAAA' },
    cachedLocations: [],
    isCorrupt: false,
    locations: [dataNodeInfo(dataNode)],
    startOffset: block.offset,
    storageTypes: ['DISK'],
  }
}

function dataNodeInfo(dataNode: DataNodeFacts): Json {
  const { host, transferPort, ipcPort, uuid } = dataNode
  return {
    adminState: 'NORMAL',
    blockPoolUsed: 0,
    cacheCapacity: 0,
    cacheUsed: 0,
    capacity: 0,
    dfsUsed: 0,
    hostName: hostOf(host),
    infoPort: 0,
    infoSecurePort: 0,
    ipAddr: host,
    ipcPort,
    lastUpdate: 0,
    lastUpdateMonotonic: 0,
    name: `${host}:${String(transferPort)}`,
    networkLocation: '/default-rack',
    remaining: 0,
    storageID: uuid,
    xceiverCount: 0,
    xferPort: transferPort,
  }
}

function hostOf(host: string): string {
  return host.startsWith('127.') || host === '::1'
    ? 'localhost'
    : host === '0.0.0.0'
      ? hostname()
      : host
}

/** With simple authentication HDFS gives out no token, and clients go on without. */
function getDelegationToken(): Answer {
  return json({ Token: null })
}

function refuseToken(): Answer {
  throw new JavaException('IO', 'Delegation tokens are not given out with simple authentication')
}

function getStoragePolicies(): Answer {
  return json({ BlockStoragePolicies: { BlockStoragePolicy: [HOT] } })
}

function getStoragePolicy(exchange: Exchange): Answer {
  existing(exchange)
  return json({ BlockStoragePolicy: HOT })
}

function setStoragePolicy(exchange: Exchange): Answer {
  existing(exchange)
  const name = exchange.parameters.required('storagepolicy')
  if (name.toUpperCase() === 'HOT') return EMPTY
  throw new JavaException(
    'HadoopIllegalArgument',
    `Cannot find a block policy with the name ${name}`,
  )
}

function unsetStoragePolicy(exchange: Exchange): Answer {
  existing(exchange)
  return EMPTY
}

function getErasureCodingPolicy(exchange: Exchange): Answer {
  existing(exchange)
  return json(null)
}

function refuseErasureCoding(): Answer {
  throw new JavaException('HadoopIllegalArgument', 'Erasure coding is not offered')
}

function refuseQuota(): Answer {
  throw new JavaException('UnsupportedOperation', 'Quotas are not offered')
}

/** Operations about the service, by method. */
export const SYSTEM: Readonly<Record<'GET' | 'PUT' | 'POST', OperationTable>> = {
  GET: {
    GETSERVERDEFAULTS: { run: getServerDefaults },
    GETSTATUS: { run: getStatus },
    GETFILEBLOCKLOCATIONS: { run: getFileBlockLocations, needs: { self: 4 } },
    GET_BLOCK_LOCATIONS: { run: getBlockLocations, needs: { self: 4 } },
    GETDELEGATIONTOKEN: { run: getDelegationToken },
    GETALLSTORAGEPOLICY: { run: getStoragePolicies },
    GETSTORAGEPOLICY: { run: getStoragePolicy, needs: {} },
    GETECPOLICY: { run: getErasureCodingPolicy, needs: {} },
  },
  PUT: {
    RENEWDELEGATIONTOKEN: { run: refuseToken },
    CANCELDELEGATIONTOKEN: { run: refuseToken },
    SETSTORAGEPOLICY: { run: setStoragePolicy, needs: { self: 2 } },
    SATISFYSTORAGEPOLICY: { run: unsetStoragePolicy, needs: { self: 2 } },
    SETECPOLICY: { run: refuseErasureCoding },
    ENABLEECPOLICY: { run: refuseErasureCoding },
    DISABLEECPOLICY: { run: refuseErasureCoding },
    SETQUOTA: { run: refuseQuota },
    SETQUOTABYSTORAGETYPE: { run: refuseQuota },
  },
  POST: {
    UNSETSTORAGEPOLICY: { run: unsetStoragePolicy, needs: { self: 2 } },
    UNSETECPOLICY: { run: refuseErasureCoding },
  },
}
