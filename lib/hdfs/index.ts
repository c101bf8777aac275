/**
 * The HDFS services of a store: a NameNode and its DataNode.
 *
 * Invariants:
 * - Either both answer after `start`, or neither does and nothing is left open.
 * - `stop` answers running calls, breaks off writes (what they stored stays) and frees all ports.
 */

import type { NativeStore } from '../native.js'
import type { HdfsConfig, HdfsConfigInput } from './config.js'
import { hdfsConfig } from './config.js'
import { DataNode } from './datanode/datanode.js'
import { datanodeOf } from './namenode/methods/cluster.js'
import type { Leases } from './namenode/leases.js'
import { Namespace } from './namenode/namespace.js'
import { namenodeProtocols } from './namenode/protocol.js'
import type { DatanodeInfoProto } from './proto/gen/hdfs_pb.js'
import { RpcServer } from './rpc/server.js'

export type { HdfsConfig, HdfsConfigInput } from './config.js'

/** What DataNodes tell of their version: the Hadoop whose protocol this is. */
const SOFTWARE_VERSION = '3.4.3'

/** See the head of this file. */
export class HdfsService {
  readonly config: HdfsConfig
  readonly #namespace: Namespace
  readonly #rpc: RpcServer
  readonly #datanode: DataNode

  private constructor(
    config: HdfsConfig,
    namespace: Namespace,
    rpc: RpcServer,
    datanode: DataNode,
  ) {
    this.config = config
    this.#namespace = namespace
    this.#rpc = rpc
    this.#datanode = datanode
  }

  /**
   * Serves `store` to HDFS clients.
   *
   * @throws `EADDRINUSE`, `EACCES`, ... if a port cannot be had.
   */
  static async start(store: NativeStore, input: HdfsConfigInput): Promise<HdfsService> {
    const config = hdfsConfig(input)
    const { host, rpcPort, connectionsMax, idleMs } = config
    let info: DatanodeInfoProto | undefined
    const located = (): DatanodeInfoProto =>
      (info ??= datanodeOf(config, { dataPort: config.dataPort, ipcPort: config.ipcPort }))
    const namespace = new Namespace(store, config, located)
    const protocols = namenodeProtocols(namespace, located)
    const rpc = new RpcServer({ host, port: rpcPort, protocols, connectionsMax, idleMs })
    let datanode: DataNode | undefined
    try {
      datanode = await DataNode.start({
        store,
        directory: namespace.blocks,
        poolId: config.blockPoolId,
        host,
        dataPort: config.dataPort,
        ipcPort: config.ipcPort,
        softwareVersion: SOFTWARE_VERSION,
        connectionsMax: config.transfersMax,
      })
      info = datanodeOf(config, datanode)
      await rpc.listen()
    } catch (error) {
      namespace.stop()
      await datanode?.close()
      throw error
    }
    return new HdfsService(config, namespace, rpc, datanode)
  }

  /** Port of NameNode RPC. */
  get rpcPort(): number {
    return this.#rpc.port
  }

  /** Port for block data. */
  get dataPort(): number {
    return this.#datanode.dataPort
  }

  /** Port of the DataNode's RPC. */
  get ipcPort(): number {
    return this.#datanode.ipcPort
  }

  /** The DataNode, for the services beside this one. */
  get datanode(): DataNode {
    return this.#datanode
  }

  /** Who writes which file, for the services beside this one. */
  get leases(): Leases {
    return this.#namespace.leases
  }

  /** Figures for metrics. */
  get activity(): { calls: number; connections: number; openFiles: number; writes: number } {
    return {
      calls: this.#rpc.callCount,
      connections: this.#rpc.connectionCount,
      openFiles: this.#namespace.leases.count,
      writes: this.#datanode.writeCount,
    }
  }

  /** Stops both; what was acknowledged stays. */
  async stop(): Promise<void> {
    this.#namespace.stop()
    await Promise.all([this.#rpc.close(), this.#datanode.close()])
  }
}
