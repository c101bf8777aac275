/** What a store says of its files: the form in which two readers of it are compared. */
import { createHash } from 'node:crypto'

/** One name in one view. */
export interface ManifestEntry {
  path: string
  /** As `DT_*`. */
  kind: number
  mode: number
  nlink: number
  uid: number
  gid: number
  size: number
  allocated: number
  rdev: number
  /** Seconds and nanoseconds. */
  atime: [number, number]
  mtime: [number, number]
  ctime: [number, number]
  btime: [number, number]
  blockSize: number
  replication: number
  hasAcl: boolean
  snapshottable: boolean
  /** Of a symbolic link. */
  target?: string
  /** Of a file's bytes. */
  sha256?: string
  /** Values in base64; long ones as their digest. */
  xattrs?: Record<string, string>
}

/** Everything that can be seen: the live tree and every snapshot. */
export interface Manifest {
  /** `/`, and the paths of snapshots. */
  views: { path: string; entries: ManifestEntry[] }[]
}

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** An attribute's value as manifests have it. */
export function xattrText(value: Buffer): string {
  return value.length <= 100 ? value.toString('base64') : `sha256 ${sha256(value)}`
}
