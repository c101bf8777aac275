/**
 * The POSIX side of an end-to-end test: a directory with the methods of `node:fs/promises`.
 *
 * Where FUSE is there, that is the mount of the running daemon. Where it is not, the daemon is
 * stopped for the time, the same code runs on the library's `store.fs`, and the daemon comes back
 * on its old ports: the test says so in its output, and nothing is left out.
 */
import * as host from 'node:fs/promises'
import { access } from 'node:fs/promises'
import { createHash } from 'node:crypto'
import { join, relative } from 'node:path'
import { Store } from '../../lib/index.js'
import { type Daemon, type DaemonOptions, startDaemon } from '../support/daemon.js'
import type { Contents, LengthAndDigest } from './data-set.js'

/** What a test does with a POSIX file system; both sides have it. */
export type PosixFs = Pick<
  typeof host,
  | 'open'
  | 'readFile'
  | 'writeFile'
  | 'appendFile'
  | 'readdir'
  | 'mkdir'
  | 'rmdir'
  | 'rename'
  | 'rm'
  | 'unlink'
  | 'stat'
  | 'truncate'
>

/** One visit of the POSIX side: `fs`, and the directory that shows the store's `/`. */
export interface PosixVisit {
  fs: PosixFs
  root: string
}

/** Whether this machine lets us mount. */
export async function hasFuse(): Promise<boolean> {
  return access('/dev/fuse', host.constants.R_OK | host.constants.W_OK).then(
    () => true,
    () => false,
  )
}

/** A running daemon that can be entered from the POSIX side. */
export class Served {
  daemon: Daemon
  readonly mounted: boolean
  readonly #options: DaemonOptions

  private constructor(daemon: Daemon, options: DaemonOptions, mounted: boolean) {
    this.daemon = daemon
    this.#options = options
    this.mounted = mounted
  }

  /** Starts a daemon on a new store in `directory`, mounted where that is possible. */
  static async start(directory: string): Promise<Served> {
    const mounted = await hasFuse()
    const mount = join(directory, 'mnt')
    await host.mkdir(mount, { recursive: true })
    const options = { store: join(directory, 'store'), ...(mounted ? { mount } : {}) }
    return new Served(await startDaemon(options), options, mounted)
  }

  /** Runs `visit` on the POSIX side. */
  async posix<T>(visit: (side: PosixVisit) => Promise<T>): Promise<T> {
    if (this.mounted) return visit({ fs: host, root: this.daemon.ready.mount ?? '' })
    return this.whileStopped(async () => {
      const store = await Store.open(this.#options.store)
      try {
        return await visit({ fs: store.fs, root: '/' })
      } finally {
        await store.close()
      }
    })
  }

  /** Stops the daemon, runs `work`, and starts it again on its old ports. */
  async whileStopped<T>(work: () => Promise<T>): Promise<T> {
    const { hdfs, webhdfs } = this.daemon.ready
    await this.daemon.stop()
    try {
      return await work()
    } finally {
      this.daemon = await startDaemon({
        ...this.#options,
        hdfsPort: Number(new URL(hdfs ?? '').port),
        httpPort: Number(new URL(webhdfs).port),
      })
    }
  }
}

/** Length and SHA-256 of one file, read from an open descriptor in 1 MiB pieces. */
export async function digestThrough(fs: PosixFs, path: string): Promise<LengthAndDigest> {
  const hash = createHash('sha256')
  const buffer = Buffer.allocUnsafe(1 << 20)
  const file = await fs.open(path, 'r')
  let length = 0
  try {
    for (;;) {
      const { bytesRead } = await file.read(buffer, 0, buffer.length, length)
      if (bytesRead === 0) return [length, hash.digest('hex')]
      hash.update(buffer.subarray(0, bytesRead))
      length += bytesRead
    }
  } finally {
    await file.close()
  }
}

/** Length and SHA-256 of every regular file below `top`. */
export async function digestTreeThrough(fs: PosixFs, top: string): Promise<Contents> {
  const contents: Contents = new Map()
  const waiting = [top]
  for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
    for (const entry of await fs.readdir(at, { withFileTypes: true })) {
      const path = join(at, entry.name)
      if (entry.isDirectory()) waiting.push(path)
      else if (entry.isFile()) contents.set(relative(top, path), await digestThrough(fs, path))
    }
  }
  return contents
}
