/**
 * What the DataNode asks the NameNode side about blocks. The DataNode decides nothing about files:
 * it decodes an operation, asks here, and tells the native packet loop where the bytes are.
 *
 * Invariants:
 * - A range handed out lies in one file node and never reaches past the block's limit.
 * - `finished` for a complete block returns before the client gets the last acknowledgement, so a
 *   `complete()` call that follows finds the block finished.
 */

import type { BlockName } from './block-id.js'

/** A block as a client names it. */
export interface BlockReference {
  readonly poolId: string
  readonly blockId: bigint
  readonly generationStamp: bigint
  /** What `blockId` and `generationStamp` say; checked by the DataNode. */
  readonly name: BlockName
}

/** Where a readable block's bytes are. */
export interface ReadableBlock {
  readonly view: number
  readonly inode: number
  /** Where the block begins in the file. */
  readonly fileOffset: number
  /** Bytes that may be read now. */
  readonly length: number
}

/** Why a client opens a block for writing (the stages of the pipeline that clients set up). */
export type WriteStage = 'create' | 'append' | 'appendRecovery' | 'streamingRecovery' | 'close'

/** A client's wish to write a block. */
export interface WriteRequest {
  /** With the generation stamp the client knows; recoveries and appends bring a newer one below. */
  readonly block: BlockReference
  readonly stage: WriteStage
  readonly clientName: string
  /** The stamp the block has from now on (equal to the block's own for `create`). */
  readonly latestGenerationStamp: bigint
  /** Bytes the client had acknowledged, at least and at most, before a recovery. */
  readonly bytesReceivedMin: number
  readonly bytesReceivedMax: number
}

/** Where a writable block's bytes go. */
export interface WritableBlock {
  readonly view: number
  readonly inode: number
  /** Where the block begins in the file. */
  readonly fileOffset: number
  /** Bytes of the block that are stored already: 0 for `create`. */
  readonly position: number
  /** Most bytes the block may have (the file's block size). */
  readonly limit: number
}

/** What became of a block that was being written. */
export interface WriteProgress {
  readonly block: BlockReference
  readonly clientName: string
  readonly latestGenerationStamp: bigint
  /** Bytes of the block that are stored: readable in every view. */
  readonly bytes: number
  /** The client sent its last packet: the block has its final length (until an append). */
  readonly complete: boolean
  /** Set when the connection ended before the last packet: an errno name. */
  readonly error: string | null
}

/**
 * Implemented by the NameNode side. Every method is synchronous and quick (no I/O but the page cache).
 * Refusals are `LockstepError`s or a {@link BlockRefusal}; their message goes to the client.
 */
export interface BlockDirectory {
  /** @throws if the block is unknown, its generation is newer than ours, or its file is gone. */
  resolveForRead(block: BlockReference): ReadableBlock
  /** @throws if the block is unknown, or nobody has its file open for writing. */
  resolveForWrite(request: WriteRequest): WritableBlock
  /** Flushed, complete or broken off; see {@link WriteProgress}. */
  progress(event: WriteProgress): void
}

/** A refusal whose words the client may see; `code` as in `LockstepError`. */
export class BlockRefusal extends Error {
  readonly code: string

  constructor(code: string, message: string) {
    super(message)
    this.name = 'BlockRefusal'
    this.code = code
  }
}
