/**
 * The DataNode: a native data port whose operations are decided here, and a small RPC port.
 *
 * Invariants:
 * - Every request is answered exactly once, whatever happens while deciding.
 * - A write that was accepted ends in one last `progress` call, complete or with an error.
 */

import type {
  NativeStore,
  NativeTransfer,
  TransferEvent,
  TransferPlan,
  TransferRequest,
} from '../../native.js'
import { Status } from '../proto/gen/datatransfer_pb.js'
import { RpcServer } from '../rpc/server.js'
import type { BlockDirectory, WriteRequest } from './blocks.js'
import { clientDatanodeProtocol } from './client-protocol.js'
import type { OperationContext } from './operations.js'
import { plan } from './operations.js'
import { refused } from './responses.js'

/** What a DataNode needs. */
export interface DataNodeOptions {
  readonly store: Pick<NativeStore, 'serveTransfer'>
  readonly directory: BlockDirectory
  readonly poolId: string
  readonly host: string
  /** Port for block data; 0 = any. */
  readonly dataPort: number
  /** Port for RPC; 0 = any. */
  readonly ipcPort: number
  /** Version that `getDatanodeInfo` tells. */
  readonly softwareVersion: string
  /** Most data connections at once; 4096 as in HDFS. */
  readonly connectionsMax?: number
  /** A data connection is closed after that long without an operation; clients reuse one for 3 s. */
  readonly idleMs?: number
  /** Hears of failures that are nobody's fault but ours. */
  readonly onError?: (error: unknown) => void
}

const CONNECTIONS_MAX = 4096
const IDLE_MS = 10_000

/** See the head of this file. */
export class DataNode {
  readonly #options: DataNodeOptions
  readonly #writes = new Map<number, WriteRequest>()
  readonly #rpc: RpcServer
  readonly #transfer: Promise<NativeTransfer>
  readonly #context: OperationContext
  #dataPort = 0

  private constructor(options: DataNodeOptions) {
    this.#options = options
    const { poolId, directory, softwareVersion, host, ipcPort } = options
    const startedMs = performance.now()
    const protocol = clientDatanodeProtocol({ poolId, directory, softwareVersion, startedMs })
    this.#rpc = new RpcServer({ host, port: ipcPort, protocols: [protocol] })
    this.#context = {
      poolId,
      directory,
      accepted: (id, request) => this.#writes.set(id, request),
      checksums: {
        blockChecksum: async (...range) => (await this.#transfer).blockChecksum(...range),
      },
    }
    this.#transfer = options.store.serveTransfer(
      {
        host,
        port: options.dataPort,
        connections: options.connectionsMax ?? CONNECTIONS_MAX,
        idleMs: options.idleMs ?? IDLE_MS,
      },
      request => void this.#decide(request),
      event => {
        this.#progress(event)
      },
    )
  }

  /**
   * Starts both ports.
   *
   * @throws `EADDRINUSE`, `EACCES`, ... if a port cannot be had; then neither is left open.
   */
  static async start(options: DataNodeOptions): Promise<DataNode> {
    const node = new DataNode(options)
    const transfer = await node.#transfer
    node.#dataPort = transfer.port
    try {
      await node.#rpc.listen()
    } catch (error) {
      await transfer.close()
      throw error
    }
    return node
  }

  /** Port for block data. */
  get dataPort(): number {
    return this.#dataPort
  }

  /** Port for RPC. */
  get ipcPort(): number {
    return this.#rpc.port
  }

  /** Blocks that are being written now. */
  get writeCount(): number {
    return this.#writes.size
  }

  /** Checksums of a file range, computed by the native core. */
  async blockChecksum(
    ...range: Parameters<NativeTransfer['blockChecksum']>
  ): ReturnType<NativeTransfer['blockChecksum']> {
    return await (await this.#transfer).blockChecksum(...range)
  }

  /** Ends all connections, breaks off writes (what they stored stays), frees both ports. */
  async close(): Promise<void> {
    const transfer = await this.#transfer
    await Promise.all([transfer.close(), this.#rpc.close()])
  }

  async #decide(request: TransferRequest): Promise<void> {
    const { id, op, message } = request
    const answer = plan(this.#context, id, op, message)
    try {
      this.#answer(await this.#transfer, id, answer instanceof Promise ? await answer : answer)
    } catch (error) {
      // The listener is closing: the connection is gone already.
      this.#fail(error)
    }
  }

  #answer(transfer: NativeTransfer, id: number, answer: TransferPlan): void {
    try {
      transfer.answer(id, answer)
    } catch (error) {
      this.#writes.delete(id)
      this.#fail(error)
      const response = refused(Status.ERROR, 'internal error')
      transfer.answer(id, { kind: 'respond', response, close: true })
    }
  }

  #progress({ id, bytes, complete, error }: TransferEvent): void {
    const write = this.#writes.get(id)
    if (write === undefined) return
    if (complete || error !== null) this.#writes.delete(id)
    const { block, clientName, latestGenerationStamp } = write
    try {
      this.#options.directory.progress({
        block,
        clientName,
        latestGenerationStamp,
        bytes,
        complete,
        error,
      })
    } catch (failure) {
      this.#fail(failure)
    }
  }

  #fail(error: unknown): void {
    this.#options.onError?.(error)
  }
}
