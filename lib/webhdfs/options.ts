/** What the WebHDFS server is told when it starts. */
import type { NativeTransfer } from '../native.js'

/** Facts that only the running DataNode knows; without them block operations are refused. */
export interface DataNodeFacts {
  /** Host and ports that block locations name. */
  readonly host: string
  readonly transferPort: number
  readonly ipcPort: number
  readonly uuid: string
  readonly poolId: string
  /** The block's id and generation stamp, as the NameNode gives them out. */
  blockName(
    view: number,
    inode: number,
    index: number,
  ): { blockId: bigint; generationStamp: bigint }
  /** Checksums of a range, computed by the native core. */
  blockChecksum: NativeTransfer['blockChecksum']
}

/** Who may write a file now; shared with the NameNode's leases. */
export interface WriterTable {
  /**
   * Claims a file for one writer until `release` of what it returns is called.
   *
   * @throws JavaException `AlreadyBeingCreated` if somebody else writes it.
   */
  claim(view: number, inode: number, path: string, user: string): { release(): void }
}

/** What the HDFS service tells WebHDFS. */
export interface HdfsFacts {
  /** `host:port` of the NameNode RPC, which redirects and Location headers name. */
  readonly rpcAddress: string
  readonly dataNode: DataNodeFacts
  /** One table of writers for both services. */
  readonly writers?: WriterTable
}

/** Settings of the WebHDFS server. */
export interface WebHdfsOptions {
  /** Address to listen on. */
  readonly host: string
  /** Port; 0 takes any that is free. */
  readonly port: number
  /** Name of the user who runs the daemon: the superuser, and who requests without a name are. */
  readonly user?: string
  /**
   * Facts of the HDFS service beside this one, asked for per request; undefined where it does not
   * run (yet).
   */
  readonly hdfs?: () => HdfsFacts | undefined
  /** Default block size in bytes. */
  readonly blockSize?: number
  /** Default replication. */
  readonly replication?: number
  /** Shown by `/status`. */
  readonly storeId?: string
  /** Shown by `/status`. */
  readonly version?: string
  /** Told of what went wrong inside, never of what a client did wrong. */
  readonly onError?: (error: unknown, what: string) => void
  /** Connections at once; further ones are closed. */
  readonly connectionCountMax?: number
  /** A connection on which nothing moves for that long is closed. */
  readonly idleMsMax?: number
}

/** HDFS's default block size. */
export const BLOCK_SIZE_DEFAULT = 128 * 1024 * 1024
