/**
 * The names under which a store appears to HDFS clients: cluster, block pool, DataNode.
 *
 * Invariant: they follow from the store alone, so they are the same after every restart, and
 * differ between stores. What names a store is the birth of its root directory, to the nanosecond.
 */
import { createHash } from 'node:crypto'
import { ATTRIBUTE, ATTRIBUTE_COUNT } from '../native.js'
import type { NativeStore } from '../native.js'

/** The names of a store. */
export interface Identity {
  clusterId: string
  blockPoolId: string
  datanodeUuid: string
}

/** Reads the names of an open store. */
export function identityOf(store: NativeStore): Identity {
  const record = new Float64Array(ATTRIBUTE_COUNT)
  store.view({ uid: 0, gid: 0, groups: [], umask: 0 }).stat('/', false, record)
  const seconds = record[ATTRIBUTE.btimeSeconds] ?? 0
  const nanoseconds = record[ATTRIBUTE.btimeNanoseconds] ?? 0
  const digest = createHash('sha256').update(`lockstep ${seconds}.${nanoseconds}`).digest()
  const createdMs = seconds * 1000 + Math.floor(nanoseconds / 1e6)
  return {
    clusterId: `CID-${uuid(digest.subarray(0, 16))}`,
    blockPoolId: `BP-${digest.readUInt32BE(28)}-127.0.0.1-${createdMs}`,
    datanodeUuid: uuid(digest.subarray(12, 28)),
  }
}

function uuid(bytes: Buffer): string {
  const hex = bytes.toString('hex')
  // Version 8 (the bytes are ours), variant 1: a UUID to any program that checks.
  const variant = ((Number.parseInt(hex.slice(16, 17), 16) & 0x3) | 0x8).toString(16)
  const tail = variant + hex.slice(17, 20)
  return [hex.slice(0, 8), hex.slice(8, 12), `8${hex.slice(13, 16)}`, tail, hex.slice(20)].join('-')
}
