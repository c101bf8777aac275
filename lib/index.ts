/**
 * Lockstep as a library.
 *
 * ```ts
 * import { Store } from 'lockstep'
 *
 * await using store = await Store.open('./data', { create: true })
 * await store.fs.writeFile('/hello.txt', 'hello')
 * const snapshot = await store.snapshot('/', 'first')
 * await store.fs.writeFile('/hello.txt', 'changed')
 * console.log(await snapshot.fs.readFile('/hello.txt', 'utf8')) // hello
 * ```
 */
export type { Change, FileType } from './change.js'
export type { StoreOptions } from './config.js'
export { Dir } from './dir.js'
export {
  AbortError,
  ArgumentError,
  ClosedError,
  ConflictError,
  CorruptError,
  InvalidError,
  LockstepError,
  NotFoundError,
  OutOfRangeError,
  UnavailableError,
} from './errors.js'
export { FileHandle } from './file-handle.js'
export { FileSystem } from './file-system.js'
export type { PathReadStreamOptions, PathWriteStreamOptions } from './file-system.js'
export { NAME_BYTES_MAX, PATH_BYTES_MAX, XATTR_VALUE_BYTES_MAX } from './limits.js'
export type {
  Affected,
  CheckProgress,
  CheckReport,
  ContentSummary,
  Problem,
  RepairReport,
  RecoveryReport,
  ScrubStatus,
  SpaceReport,
  StoreHealth,
} from './native.js'
export { Session } from './session.js'
export { Snapshot } from './snapshot.js'
export { BigIntStats, Dirent, Stats } from './stats.js'
export { Store } from './store.js'
export type { ScrubOptions, StoreUser } from './store.js'
export { Volume } from './volume.js'
export type { VolumeStatistics } from './volume.js'
