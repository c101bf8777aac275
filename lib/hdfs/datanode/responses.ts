/**
 * The answers to data transfer operations, as bytes without length prefix.
 *
 * Invariant: a refusal's words are one line and bounded; they reach logs of clients.
 */

import { create, toBinary } from '@bufbuild/protobuf'
import {
  BlockOpResponseProtoSchema,
  ReleaseShortCircuitAccessResponseProtoSchema,
  ShortCircuitShmResponseProtoSchema,
  Status,
} from '../proto/gen/datatransfer_pb.js'
import type { BlockChecksumTypeProto, ChecksumTypeProto } from '../proto/gen/hdfs_pb.js'

const WORDS_MAX = 1000

/** The pipeline is set up: the client may send packets. */
export function writeAccepted(): Uint8Array {
  const response = create(BlockOpResponseProtoSchema, { status: Status.SUCCESS, firstBadLink: '' })
  return toBinary(BlockOpResponseProtoSchema, response)
}

/** Packets follow, the first one from `chunkOffset` of the block. */
export function readAccepted(
  type: ChecksumTypeProto,
  bytesPerChecksum: number,
  chunkOffset: bigint,
): Uint8Array {
  const checksum = { type, bytesPerChecksum }
  const response = create(BlockOpResponseProtoSchema, {
    status: Status.SUCCESS,
    readOpChecksumInfo: { checksum, chunkOffset },
  })
  return toBinary(BlockOpResponseProtoSchema, response)
}

/** The checksum of a block, and how it was made. */
export interface BlockChecksumAnswer {
  readonly bytesPerCrc: number
  /** Chunks of the whole block, whatever part of it was asked for. */
  readonly crcPerBlock: bigint
  readonly checksum: Uint8Array
  readonly crcType: ChecksumTypeProto
  readonly kind: BlockChecksumTypeProto
}

/** A block's checksum. */
export function checksumAnswer(answer: BlockChecksumAnswer): Uint8Array {
  const response = create(BlockOpResponseProtoSchema, {
    status: Status.SUCCESS,
    checksumResponse: {
      bytesPerCrc: answer.bytesPerCrc,
      crcPerBlock: answer.crcPerBlock,
      blockChecksum: answer.checksum,
      crcType: answer.crcType,
      blockChecksumOptions: { blockChecksumType: answer.kind },
    },
  })
  return toBinary(BlockOpResponseProtoSchema, response)
}

/** A refusal. */
export function refused(status: Status, message: string): Uint8Array {
  const response = create(BlockOpResponseProtoSchema, { status, message: line(message) })
  return toBinary(BlockOpResponseProtoSchema, response)
}

/** No shared memory over TCP; clients then read through the socket. */
export function sharedMemoryRefused(message: string): Uint8Array {
  const response = create(ShortCircuitShmResponseProtoSchema, {
    status: Status.ERROR_UNSUPPORTED,
    error: line(message),
  })
  return toBinary(ShortCircuitShmResponseProtoSchema, response)
}

/** There is no shared memory slot to release. */
export function releaseRefused(message: string): Uint8Array {
  const response = create(ReleaseShortCircuitAccessResponseProtoSchema, {
    status: Status.ERROR_INVALID,
    error: line(message),
  })
  return toBinary(ReleaseShortCircuitAccessResponseProtoSchema, response)
}

function line(message: string): string {
  const end = message.search(/[\r\n]/)
  return (end < 0 ? message : message.slice(0, end)).slice(0, WORDS_MAX)
}
