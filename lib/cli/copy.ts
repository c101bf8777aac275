/**
 * What copying in and copying out share.
 *
 * Invariants:
 * - Directories are made before what is in them; files are copied a few at a time.
 * - The first failure ends the copy: what was copied whole stays, what was half copied does not.
 */
import { Progress, visible } from './render.js'

/** Files copied at once: enough to hide the round trips of small ones. */
const PARALLEL = 4

/** What a copy did. */
export interface CopyReport {
  path: string
  files: number
  directories: number
  links: number
  bytes: number
  seconds: number
}

/** A copy under way. */
export class Copy {
  readonly progress: Progress
  directories = 0
  links = 0
  readonly #running = new Set<Promise<void>>()
  readonly #abort = new AbortController()

  /**
   * @param what - What is being done: `put`, `get`.
   * @param quiet - Show no progress.
   */
  constructor(what: string, quiet: boolean) {
    this.progress = new Progress(what, quiet)
  }

  /** Starts copying a file once fewer than `PARALLEL` are under way. */
  async file(task: () => Promise<void>): Promise<void> {
    while (this.#running.size >= PARALLEL) await Promise.race(this.#running)
    this.#abort.signal.throwIfAborted()
    const running: Promise<void> = task()
      .then(() => {
        this.progress.files += 1
      })
      .catch((error: unknown) => {
        this.#abort.abort(error)
      })
      .finally(() => this.#running.delete(running))
    this.#running.add(running)
  }

  /** Says that something was left out. */
  skip(path: string, why: string): void {
    process.stderr.write(`lockstep: left out ${visible(path)}: ${why}\n`)
  }

  /** Runs `walk`, then waits for all files it started, even if it fails; throws the first failure. */
  async run(walk: () => Promise<void>): Promise<void> {
    try {
      await walk()
    } finally {
      await Promise.all(this.#running)
    }
    this.#abort.signal.throwIfAborted()
  }

  /** Sums it up for the copy that made `path`. */
  report(path: string): CopyReport {
    const { files, bytes } = this.progress
    const { directories, links } = this
    return { path, files, directories, links, bytes, seconds: this.progress.seconds() }
  }
}
