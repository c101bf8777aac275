/**
 * ClientDatanodeProtocol: what clients ask a DataNode over RPC, on its IPC port.
 *
 * Java's client asks `getReplicaVisibleLength` whenever it opens a file that is being written.
 * Methods that are left out answer RpcNoSuchMethodException.
 */

import { JavaException } from '../../java-exceptions.js'
import { ClientDatanodeProtocolService } from '../proto/gen/client_datanode_pb.js'
import type { RpcProtocol } from '../rpc/protocol.js'
import { methodsOf } from '../rpc/protocol.js'
import type { BlockDirectory } from './blocks.js'
import { blockReference } from './operations.js'

/** What the protocol tells about. */
export interface ClientProtocolContext {
  readonly poolId: string
  readonly directory: BlockDirectory
  readonly softwareVersion: string
  /** When the DataNode started, as `performance.now()`. */
  readonly startedMs: number
}

/** The protocol, ready for an `RpcServer`. */
export function clientDatanodeProtocol(context: ClientProtocolContext): RpcProtocol {
  return {
    name: 'org.apache.hadoop.hdfs.protocol.ClientDatanodeProtocol',
    version: 1,
    methods: methodsOf(ClientDatanodeProtocolService, {
      getReplicaVisibleLength: request => {
        if (request.block === undefined) {
          throw new JavaException('HadoopIllegalArgument', 'the block is missing')
        }
        const block = blockReference(context.poolId, request.block)
        return { length: BigInt(context.directory.resolveForRead(block).length) }
      },
      getBlockLocalPathInfo: (_, call) => {
        throw new JavaException(
          'AccessControl',
          `Can't continue with getBlockLocalPathInfo() authorization. The user ${call.user} is not configured in dfs.block.local-path-access.user`,
        )
      },
      getDatanodeInfo: () => ({
        localInfo: {
          softwareVersion: context.softwareVersion,
          configVersion: `hdfs-${context.softwareVersion}`,
          uptime: BigInt(Math.floor((performance.now() - context.startedMs) / 1000)),
        },
      }),
    }),
  }
}
