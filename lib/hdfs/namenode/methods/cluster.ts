/**
 * What clients ask about the whole cluster; and features that this server does not have.
 *
 * Invariants:
 * - Figures are the store's own. There is one DataNode, always alive, with one storage.
 * - A feature that is missing answers as an HDFS where nobody set it up (no zones, no policies, no
 *   tokens), or with UnsupportedOperationException: clients fall back.
 */

import { hostname } from 'node:os'
import { create } from '@bufbuild/protobuf'
import type { MessageInitShape } from '@bufbuild/protobuf'
import { JavaException } from '../../../java-exceptions.js'
import {
  DatanodeReportTypeProto as Report,
  SafeModeActionProto as SafeMode,
} from '../../proto/gen/client_namenode_pb.js'
import { HAServiceStateProto } from '../../proto/gen/ha_service_pb.js'
import type {
  BlockStoragePolicyProtoSchema,
  DatanodeInfoProto,
  StorageReportProtoSchema,
} from '../../proto/gen/hdfs_pb.js'
import {
  ChecksumTypeProto,
  DatanodeInfoProtoSchema,
  DatanodeInfoProto_AdminState as AdminState,
  StorageTypeProto,
} from '../../proto/gen/hdfs_pb.js'
import type { HdfsConfig } from '../../config.js'
import { fileNotFound, unsupported } from '../exceptions.js'
import type { Namespace } from '../namespace.js'
import type { ClientHandlers } from './service.js'

const BYTES_PER_CHECKSUM = 512
const WRITE_PACKET_BYTES = 64 * 1024
const FILE_BUFFER_BYTES = 4096

const HOT: MessageInitShape<typeof BlockStoragePolicyProtoSchema> = {
  policyId: 7,
  name: 'HOT',
  creationPolicy: { storageTypes: [StorageTypeProto.DISK] },
  creationFallbackPolicy: { storageTypes: [] },
  replicationFallbackPolicy: { storageTypes: [StorageTypeProto.ARCHIVE] },
}

/** The ports of the running DataNode. */
export interface DatanodePorts {
  readonly dataPort: number
  readonly ipcPort: number
}

/** The DataNode as located blocks name it. */
export function datanodeOf(config: HdfsConfig, ports: DatanodePorts): DatanodeInfoProto {
  return create(DatanodeInfoProtoSchema, {
    id: {
      ipAddr: config.host,
      hostName: config.host === '127.0.0.1' ? 'localhost' : hostname(),
      datanodeUuid: config.datanodeUuid,
      xferPort: ports.dataPort,
      infoPort: config.httpPort,
      ipcPort: ports.ipcPort,
      infoSecurePort: 0,
    },
    location: '/default-rack',
    adminState: AdminState.NORMAL,
  })
}

/** The methods. */
export function clusterMethods(ns: Namespace, datanode: () => DatanodeInfoProto): ClientHandlers {
  return {
    ...figureMethods(ns, datanode),
    ...policyMethods(ns),
    ...absentMethods(ns),
    getServerDefaults: () => ({
      serverDefaults: {
        blockSize: BigInt(ns.config.blockSize),
        bytesPerChecksum: BYTES_PER_CHECKSUM,
        writePacketSize: WRITE_PACKET_BYTES,
        replication: ns.config.replication,
        fileBufferSize: FILE_BUFFER_BYTES,
        encryptDataTransfer: false,
        trashInterval: 0n,
        checksumType: ChecksumTypeProto.CHECKSUM_CRC32C,
        keyProviderUri: '',
        policyId: 0,
        snapshotTrashRootEnabled: false,
      },
    }),
    setSafeMode: (request, call) => {
      if (request.action !== SafeMode.SAFEMODE_GET) {
        ns.superuser(call)
        ns.setSafe(request.action === SafeMode.SAFEMODE_ENTER)
      }
      return { result: ns.isSafe }
    },
    refreshNodes: (_, call) => {
      ns.superuser(call)
      return {}
    },
    msync: () => ({}),
    getHAServiceState: () => ({ state: HAServiceStateProto.ACTIVE }),
  }
}

interface Figures {
  capacity: bigint
  used: bigint
  remaining: bigint
}

function figures(ns: Namespace): Figures {
  const { totalBytes, availableBytes } = ns.rootView.statistics('/')
  const { segmentBytes, pageBytes } = ns.store.space()
  return {
    capacity: BigInt(totalBytes),
    used: BigInt(segmentBytes + pageBytes),
    remaining: BigInt(availableBytes),
  }
}

function figureMethods(ns: Namespace, datanode: () => DatanodeInfoProto): ClientHandlers {
  const reported = (type: Report): MessageInitShape<typeof DatanodeInfoProtoSchema>[] => {
    if (type !== Report.ALL && type !== Report.LIVE) return []
    const { capacity, used, remaining } = figures(ns)
    const nonDfsUsed = capacity - used - remaining
    const now = BigInt(Date.now())
    const monotonic = BigInt(Math.floor(performance.now()))
    return [
      {
        ...datanode(),
        capacity,
        dfsUsed: used,
        remaining,
        blockPoolUsed: used,
        nonDfsUsed: nonDfsUsed < 0n ? 0n : nonDfsUsed,
        lastUpdate: now,
        lastUpdateMonotonic: monotonic,
        lastBlockReportTime: BigInt(ns.startedMs),
        lastBlockReportMonotonic: 0n,
        xceiverCount: ns.leases.count,
        cacheCapacity: 0n,
        cacheUsed: 0n,
      },
    ]
  }
  return {
    getFsStats: () => ({
      ...figures(ns),
      underReplicated: 0n,
      corruptBlocks: 0n,
      missingBlocks: 0n,
      missingReplOneBlocks: 0n,
      blocksInFuture: 0n,
      pendingDeletionBlocks: 0n,
    }),
    getFsReplicatedBlockStats: () => ({
      lowRedundancy: 0n,
      corruptBlocks: 0n,
      missingBlocks: 0n,
      missingReplOneBlocks: 0n,
      blocksInFuture: 0n,
      pendingDeletionBlocks: 0n,
      highestPrioLowRedundancyBlocks: 0n,
    }),
    getFsECBlockGroupStats: () => ({
      lowRedundancy: 0n,
      corruptBlocks: 0n,
      missingBlocks: 0n,
      blocksInFuture: 0n,
      pendingDeletionBlocks: 0n,
      highestPrioLowRedundancyBlocks: 0n,
    }),
    getDatanodeReport: (request, call) => {
      ns.superuser(call)
      return { di: reported(request.type) }
    },
    getDatanodeStorageReport: (request, call) => {
      ns.superuser(call)
      const reports = reported(request.type)
      return {
        datanodeStorageReports: reports.map(datanodeInfo => ({
          datanodeInfo,
          storageReports: [storageReport(ns)],
        })),
      }
    },
    getSlowDatanodeReport: () => ({ datanodeInfoProto: [] }),
    listCorruptFileBlocks: (request, call) => {
      ns.superuser(call)
      return { corrupt: { files: [], cookie: request.cookie } }
    },
    reportBadBlocks: () => ({}),
  }
}

function storageReport(ns: Namespace): MessageInitShape<typeof StorageReportProtoSchema> {
  const { capacity, used, remaining } = figures(ns)
  const { storageId } = ns.config
  return {
    storageUuid: storageId,
    failed: false,
    capacity,
    dfsUsed: used,
    remaining,
    blockPoolUsed: used,
    storage: { storageUuid: storageId, storageType: StorageTypeProto.DISK },
  }
}

function policyMethods(ns: Namespace): ClientHandlers {
  return {
    getStoragePolicies: () => ({ policies: [HOT] }),
    getStoragePolicy: (request, call) => {
      ns.require(ns.user(call), ns.path(request.path))
      return { storagePolicy: HOT }
    },
    setStoragePolicy: (request, call) => {
      ns.require(ns.user(call), ns.path(request.src))
      if (request.policyName !== HOT.name) {
        throw new JavaException(
          'HadoopIllegalArgument',
          `Cannot find a block policy with the name ${request.policyName}`,
        )
      }
      return {}
    },
    unsetStoragePolicy: (request, call) => {
      ns.require(ns.user(call), ns.path(request.src))
      return {}
    },
  }
}

/** Features that nobody set up, or that there are none of. */
function absentMethods(ns: Namespace): ClientHandlers {
  return {
    listEncryptionZones: (_, call) => {
      ns.superuser(call)
      return { zones: [], hasMore: false }
    },
    getEZForPath: (request, call) => {
      const path = ns.path(request.src)
      if (!ns.stat(ns.user(call), path)) throw fileNotFound(path)
      return {}
    },
    getErasureCodingPolicies: () => ({ ecPolicies: [] }),
    getErasureCodingPolicy: (request, call) => {
      const path = ns.path(request.src)
      if (!ns.stat(ns.user(call), path)) throw fileNotFound(path)
      return {}
    },
    getDelegationToken: () => ({}),
    getDataEncryptionKey: () => ({}),
    setQuota: () => {
      throw unsupported('setQuota')
    },
    satisfyStoragePolicy: () => {
      throw unsupported('satisfyStoragePolicy')
    },
  }
}
