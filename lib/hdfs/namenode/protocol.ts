/**
 * The protocols of the NameNode's port, put together.
 *
 * Invariants:
 * - Every method of ClientProtocol either works or answers with the exception of an HDFS that lacks
 *   the feature. Names that Hadoop does not have answer RpcNoSuchMethodException.
 */

import { create, toBinary } from '@bufbuild/protobuf'
import { ClientNamenodeProtocol } from '../proto/gen/client_namenode_pb.js'
import {
  GetServiceStatusResponseProtoSchema,
  HAServiceProtocolService,
  HAServiceStateProto,
} from '../proto/gen/ha_service_pb.js'
import type { DatanodeInfoProto } from '../proto/gen/hdfs_pb.js'
import type { RpcMethod, RpcProtocol } from '../rpc/protocol.js'
import { methodsOf } from '../rpc/protocol.js'
import { unsupported } from './exceptions.js'
import { attributeMethods } from './methods/attributes.js'
import { clusterMethods } from './methods/cluster.js'
import { readMethods } from './methods/read.js'
import { snapshotMethods } from './methods/snapshots.js'
import { treeMethods } from './methods/tree.js'
import { writeMethods } from './methods/write.js'
import type { Namespace } from './namespace.js'

/** Methods of ClientProtocol that answer UnsupportedOperationException. */
const UNSUPPORTED = [
  'addCacheDirective',
  'addCachePool',
  'addErasureCodingPolicies',
  'cancelDelegationToken',
  'createEncryptionZone',
  'disableErasureCodingPolicy',
  'enableErasureCodingPolicy',
  'finalizeUpgrade',
  'getCurrentEditLogTxid',
  'getECTopologyResultForPolicies',
  'getEditsFromTxid',
  'getErasureCodingCodecs',
  'listCacheDirectives',
  'listCachePools',
  'listReencryptionStatus',
  'metaSave',
  'modifyCacheDirective',
  'modifyCachePool',
  'reencryptEncryptionZone',
  'removeCacheDirective',
  'removeCachePool',
  'removeErasureCodingPolicy',
  'renewDelegationToken',
  'restoreFailedStorage',
  'rollEdits',
  'rollingUpgrade',
  'saveNamespace',
  'setBalancerBandwidth',
  'setErasureCodingPolicy',
  'unsetErasureCodingPolicy',
  'upgradeStatus',
] as const

/** The protocols, for an `RpcServer`. */
export function namenodeProtocols(ns: Namespace, datanode: () => DatanodeInfoProto): RpcProtocol[] {
  const methods = methodsOf(ClientNamenodeProtocol, {
    ...readMethods(ns),
    ...writeMethods(ns),
    ...treeMethods(ns),
    ...attributeMethods(ns),
    ...snapshotMethods(ns),
    ...clusterMethods(ns, datanode),
  })
  for (const name of UNSUPPORTED) {
    if (!methods.has(name)) methods.set(name, refuse(name))
  }
  return [
    { name: 'org.apache.hadoop.hdfs.protocol.ClientProtocol', version: 1, methods },
    { name: 'org.apache.hadoop.ha.HAServiceProtocol', version: 1, methods: haMethods(ns) },
  ]
}

function refuse(name: string): RpcMethod {
  return () => {
    throw unsupported(name)
  }
}

/** There is one NameNode, and it is active. */
function haMethods(ns: Namespace): Map<string, RpcMethod> {
  const status = toBinary(
    GetServiceStatusResponseProtoSchema,
    create(GetServiceStatusResponseProtoSchema, {
      state: HAServiceStateProto.ACTIVE,
      readyToBecomeActive: true,
    }),
  )
  const methods = methodsOf(HAServiceProtocolService, { monitorHealth: () => ({}) })
  methods.set('getServiceStatus', (_request, call) => {
    ns.superuser(call)
    return status
  })
  return methods
}
