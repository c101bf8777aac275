/** The control interface over a map of files: for tests of what lies between it and a user. */
import type * as control from '../../lib/daemon/control.js'
import { CONTROL_PROTOCOL } from '../../lib/daemon/control.js'
import { systemError } from '../../lib/errors.js'

const EPOCH = '1970-01-01T00:00:00.000000000Z'

/** See the head of this file. */
export class MemoryControl implements control.Control {
  readonly files = new Map<string, Buffer>()
  readonly modes = new Map<string, number>()
  /** The requests that changed something, in order. */
  readonly calls: [string, unknown][] = []
  /** If set, streams and writes fail with what it makes. */
  failure: (() => Error) | undefined
  synced = 0
  closed = false

  about(): Promise<control.About> {
    const about = { protocol: CONTROL_PROTOCOL, version: '0', pid: process.pid, store: '/memory' }
    return Promise.resolve(about)
  }

  stat({ path }: control.PathRequest): Promise<control.Entry> {
    const bytes = this.files.get(path)
    if (bytes === undefined) return Promise.reject(systemError('ENOENT', { syscall: 'stat', path }))
    return Promise.resolve(this.#entry(path, bytes))
  }

  async *list({ path }: control.PathRequest): AsyncGenerator<control.Entry, void> {
    if (path !== '/') await this.stat({ path })
    for (const [name, bytes] of this.files) yield this.#entry(name, bytes)
  }

  async read({ path }: control.PathRequest): Promise<control.Reading> {
    const entry = await this.stat({ path })
    const bytes = this.files.get(path) ?? Buffer.alloc(0)
    return { entry, bytes: this.#chunks(bytes) }
  }

  async write(
    { path, mode }: control.PathRequest & { mode: number },
    bytes: AsyncIterable<Uint8Array>,
  ): Promise<control.Entry> {
    const chunks: Uint8Array[] = []
    for await (const chunk of bytes) {
      if (this.failure !== undefined) throw this.failure()
      chunks.push(chunk)
    }
    this.files.set(path, Buffer.concat(chunks))
    this.modes.set(path, mode)
    return await this.stat({ path })
  }

  makeDirectory(
    request: control.PathRequest & { mode: number; parents: boolean },
  ): Promise<control.Entry> {
    this.calls.push(['makeDirectory', request])
    return Promise.resolve({ ...this.#entry(request.path, Buffer.alloc(0)), kind: 'directory' })
  }

  makeLink(request: control.PathRequest & { target: string }): Promise<control.Entry> {
    this.calls.push(['makeLink', request])
    return Promise.resolve({ ...this.#entry(request.path, Buffer.alloc(0)), kind: 'symlink' })
  }

  async remove({ path }: control.PathRequest & { recursive: boolean }): Promise<void> {
    await this.stat({ path })
    this.files.delete(path)
  }

  createSnapshot({ path, name }: control.SnapshotRequest): Promise<control.SnapshotEntry> {
    const shown = { name, directory: path, path: `${path}/.snapshot/${name}`, created: EPOCH }
    return Promise.resolve({ ...shown, epoch: 1 })
  }

  listSnapshots(): Promise<control.SnapshotEntry[]> {
    return Promise.resolve([])
  }

  deleteSnapshot(request: control.SnapshotRequest): Promise<void> {
    this.calls.push(['deleteSnapshot', request])
    return Promise.resolve()
  }

  renameSnapshot(request: control.SnapshotRequest & { to: string }): Promise<void> {
    this.calls.push(['renameSnapshot', request])
    return Promise.resolve()
  }

  createClone(
    request: control.PathRequest & { snapshot: string; newPath: string },
  ): Promise<control.VolumeEntry> {
    return this.createVolume({ path: request.newPath })
  }

  createVolume({ path }: control.PathRequest): Promise<control.VolumeEntry> {
    return Promise.resolve({ path, view: 1, origin: null, created: EPOCH, inodes: 1, bytes: 0 })
  }

  listVolumes(): Promise<control.VolumeEntry[]> {
    return Promise.resolve([])
  }

  deleteVolume(request: control.PathRequest): Promise<void> {
    this.calls.push(['deleteVolume', request])
    return Promise.resolve()
  }

  async *diff(): AsyncGenerator<control.ChangeEntry, void> {
    for (let inode = 0; inode < 1000; inode += 1) {
      if (inode === 600 && this.failure !== undefined) throw this.failure()
      await Promise.resolve()
      yield { kind: 'created', fileKind: 'file', path: String(inode), target: null, inode }
    }
  }

  space({ path }: control.PathRequest): Promise<control.SpaceEntry> {
    return Promise.resolve({
      store: { liveBytes: 0, snapshotBytes: 0, segmentBytes: 0, pageBytes: 0, segments: 0 },
      host: { totalBytes: 0, freeBytes: 0, availableBytes: 0 },
      health: { failure: null, full: false },
      path,
      content: { length: 0, files: this.files.size, directories: 1 },
    })
  }

  startScrub(request: control.ScrubRequest): Promise<void> {
    this.calls.push(['startScrub', request])
    return Promise.resolve()
  }

  scrubStatus(): Promise<null> {
    return Promise.resolve(null)
  }

  stopScrub(): Promise<void> {
    return Promise.resolve()
  }

  sync(): Promise<void> {
    this.synced += 1
    return Promise.resolve()
  }

  close(): Promise<void> {
    this.closed = true
    return Promise.resolve()
  }

  async *#chunks(bytes: Buffer): AsyncGenerator<Uint8Array, void> {
    for (let at = 0; at < bytes.length; at += 1_000_000) {
      if (at > 0 && this.failure !== undefined) throw this.failure()
      await Promise.resolve()
      yield bytes.subarray(at, at + 1_000_000)
    }
  }

  #entry(path: string, bytes: Buffer): control.Entry {
    return {
      ...{ path, kind: 'file', mode: (this.modes.get(path) ?? 0).toString(8).padStart(4, '0') },
      ...{ nlink: 1, uid: 0, user: 'root', gid: 0, group: 'root', size: bytes.length },
      ...{ allocated: bytes.length, atime: EPOCH, mtime: EPOCH, ctime: EPOCH, btime: EPOCH },
      ...{ view: 1, inode: 1, blockSize: 0, replication: 0, snapshottable: false, readOnly: false },
    }
  }
}
