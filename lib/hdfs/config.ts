/**
 * Settings of the HDFS services, all plain data.
 *
 * Invariants:
 * - The identity (cluster, block pool, DataNode, storage) is the store's: the same after a restart.
 * - Every limit has a default; nothing here is unlimited.
 */

/** How the HDFS services run. */
export interface HdfsConfig {
  /** Address they listen on, and the one that clients are sent to. */
  readonly host: string
  /** NameNode RPC; 0 = any. */
  readonly rpcPort: number
  /** DataTransferProtocol; 0 = any. */
  readonly dataPort: number
  /** The DataNode's RPC; 0 = any. */
  readonly ipcPort: number
  /** Where WebHDFS answers, as DataNode reports tell it; 0 = nowhere. */
  readonly httpPort: number
  /** Names this cluster. */
  readonly clusterId: string
  /** Names the block pool: `BP-<number>-<address>-<creation>`. */
  readonly blockPoolId: string
  readonly datanodeUuid: string
  readonly storageId: string
  /** Block size of files that do not ask for another. */
  readonly blockSize: number
  /** The smallest block size a client may ask for. */
  readonly blockSizeMin: number
  /** Replication of files that do not ask for another; reported, never acted on. */
  readonly replication: number
  /** Entries of one listing reply. */
  readonly listingLimit: number
  /** After this long without renewal another client may take a file over. */
  readonly leaseSoftMs: number
  /** After this long without renewal a file is closed. */
  readonly leaseHardMs: number
  /** RPC connections at once. */
  readonly connectionsMax: number
  /** DataNode connections at once. */
  readonly transfersMax: number
  /** An idle connection is closed after this long. */
  readonly idleMs: number
  /** The user who runs the service: a superuser, like root. */
  readonly serviceUser: string
}

/** What a caller of {@link hdfsConfig} has to say; the rest has defaults. */
export type HdfsConfigInput = Partial<HdfsConfig> &
  Pick<HdfsConfig, 'clusterId' | 'blockPoolId' | 'datanodeUuid' | 'serviceUser'>

/** Fills in the defaults. */
export function hdfsConfig(input: HdfsConfigInput): HdfsConfig {
  return {
    host: '127.0.0.1',
    rpcPort: 8020,
    dataPort: 9866,
    ipcPort: 0,
    httpPort: 0,
    storageId: `DS-${input.datanodeUuid}`,
    blockSize: 128 * 1024 * 1024,
    blockSizeMin: 512,
    replication: 1,
    listingLimit: 1000,
    leaseSoftMs: 60_000,
    leaseHardMs: 20 * 60_000,
    connectionsMax: 4096,
    transfersMax: 1024,
    idleMs: 600_000,
    ...input,
  }
}
