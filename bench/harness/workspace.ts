/**
 * Temporary directories on one file system, so that a store and plain files are compared fairly.
 *
 * Invariant: whatever a bench made is removed when it ends, however it ends.
 */
import { lstat, mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'

/** A directory that goes away. */
export class Workspace implements AsyncDisposable {
  /** Its path. */
  readonly path: string

  private constructor(path: string) {
    this.path = path
  }

  /** Makes a new one below `directory`. */
  static async make(directory: string): Promise<Workspace> {
    return new Workspace(await mkdtemp(join(directory, 'lockstep-bench-')))
  }

  /** Makes a directory in it. */
  async directory(name: string): Promise<string> {
    const path = join(this.path, name)
    await mkdir(path, { recursive: true })
    return path
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.path, { recursive: true, force: true })
  }
}

/** Bytes that a directory tree really takes on disk, as `du` counts. */
export async function diskBytes(directory: string): Promise<number> {
  let bytes = 0
  for (const entry of await readdir(directory, { withFileTypes: true, recursive: true })) {
    const { blocks } = await lstat(join(entry.parentPath, entry.name))
    bytes += blocks * 512
  }
  return bytes
}
