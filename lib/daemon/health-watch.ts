/**
 * Says in the log when the store stops accepting changes, and when it accepts them again.
 *
 * Invariant: each change of state is told once, at most a second late.
 */
import type { NativeStore, StoreHealth } from '../native.js'
import type { Logger } from './log.js'

const INTERVAL_MS = 1000

/** Watches an open store until stopped. */
export class HealthWatch {
  readonly #store: NativeStore
  readonly #log: Logger
  readonly #timer: NodeJS.Timeout
  #last: StoreHealth = { failure: null, full: false }

  constructor(store: NativeStore, log: Logger) {
    this.#store = store
    this.#log = log
    this.#timer = setInterval(() => {
      this.look()
    }, INTERVAL_MS)
    this.#timer.unref()
  }

  /** Looks now, and ends. */
  stop(): void {
    clearInterval(this.#timer)
    this.look()
  }

  /** Tells what has changed since the last look. */
  look(): void {
    const before = this.#last
    const now = this.#store.health()
    this.#last = now
    if (now.failure !== null && before.failure === null) {
      const { failure } = now
      this.#log.error(
        { failure },
        'the store failed: no changes until it is opened again; reading goes on',
      )
    }
    if (now.full && !before.full) {
      this.#log.warn('the disk of the store is full: only what frees space is accepted')
    }
    if (!now.full && before.full) this.#log.warn('there is space again')
  }
}
