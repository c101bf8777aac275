/**
 * One flush for all the calls that wait for one.
 *
 * Invariants:
 * - A waiter is released by a flush that began after it started to wait.
 * - At most one flush runs; those who come meanwhile share the next one.
 */
export class GroupCommit {
  readonly #sync: () => Promise<void>
  #running: Promise<void> | undefined
  #next: Promise<void> | undefined

  /** @param sync - Makes everything acknowledged so far durable. */
  constructor(sync: () => Promise<void>) {
    this.#sync = sync
  }

  /** Resolves when everything done before this call is durable. */
  durable(): Promise<void> {
    if (this.#running === undefined) return this.#start()
    this.#next ??= this.#running.then(
      () => this.#start(),
      () => this.#start(),
    )
    return this.#next
  }

  #start(): Promise<void> {
    this.#next = undefined
    const running = this.#sync().finally(() => {
      if (this.#running === running) this.#running = undefined
    })
    this.#running = running
    return running
  }
}
