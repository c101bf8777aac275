/**
 * The daemon's socket inside the store.
 *
 * Invariants:
 * - Only the owner of the process may connect: the socket is born with mode 0600.
 * - Only the process that holds the store's lock makes or removes it, so one that is found there
 *   is either that process's own or was left behind by a dead one.
 */
import { chmodSync, closeSync, openSync, rmSync } from 'node:fs'
import type { Server } from 'node:http'
import { join, relative } from 'node:path'

/** Bytes that fit into a socket address on every system we know. */
const ADDRESS_BYTES_MAX = 100

/** The control socket of a store. */
export class ControlSocket {
  /** What to listen on or connect to; short enough for the system. Valid until `release`. */
  readonly address: string
  readonly #path: string
  #descriptor: number | undefined

  /** @param directory - The store. */
  constructor(directory: string) {
    this.#path = join(directory, 'control.sock')
    const near = relative(process.cwd(), this.#path)
    if (fits(this.#path)) {
      this.address = this.#path
    } else if (fits(near)) {
      this.address = near
    } else {
      this.#descriptor = openSync(directory, 'r')
      this.address = `/proc/self/fd/${this.#descriptor}/control.sock`
    }
  }

  /** Lets `server` listen here, in place of a socket that was left behind. */
  async listen(server: Server): Promise<void> {
    rmSync(this.#path, { force: true })
    // The mask is the process's and holds for everything it makes meanwhile: `listen` binds before
    // it returns, so the old one is back before anything else runs.
    const before = process.umask(0o177)
    let listening: Promise<void>
    try {
      listening = new Promise((resolve, reject) => {
        server.once('error', reject)
        server.listen({ path: this.address }, () => {
          server.off('error', reject)
          resolve()
        })
      })
    } finally {
      process.umask(before)
    }
    await listening
    chmodSync(this.#path, 0o600)
  }

  /** Gives back what the address needed. */
  release(): void {
    if (this.#descriptor !== undefined) closeSync(this.#descriptor)
    this.#descriptor = undefined
  }

  /** As `release`, and removes the socket; only for who listened on it. */
  remove(): void {
    rmSync(this.#path, { force: true })
    this.release()
  }
}

function fits(address: string): boolean {
  return Buffer.byteLength(address) <= ADDRESS_BYTES_MAX
}
