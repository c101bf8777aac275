/**
 * Opens the store of a daemon, also when the one before was killed and has not died yet.
 *
 * Invariant: waits a bounded time, and only for a process that has been killed.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { codeOf, guardAsync } from '../errors.js'
import { NativeStore, freeKilled } from '../native.js'
import type { MountWish } from './daemon.js'

const ATTEMPTS = 100
const WAIT_MS = 50

/** Opens the store in `path`; without a mount nobody needs to be waited for. */
export async function openStore(path: string, mount: MountWish | undefined): Promise<NativeStore> {
  const waiting = mount?.holdSeconds !== undefined
  let freed = false
  for (let attempt = 1; ; attempt++) {
    try {
      return await guardAsync({ syscall: 'open', path }, () => NativeStore.open(path, { waiting }))
    } catch (error) {
      if (mount === undefined || codeOf(error) !== 'ERR_LOCKSTEP_LOCKED') throw error
      freed ||= await freeKilled(mount.path, ownerOf(path))
      if (!freed || attempt === ATTEMPTS) throw error
    }
    await sleep(WAIT_MS)
  }
}

/** The process that the lock names; 0 if it names none. */
function ownerOf(path: string): number {
  const [pid] = readFileSync(join(path, 'lock'), 'utf8').split(' ')
  return /^\d{1,9}$/.test(pid ?? '') ? Number(pid) : 0
}
