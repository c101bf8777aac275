/**
 * Finds who can answer for a store: the daemon that has it open, else this process itself.
 *
 * Invariant: the store's lock decides. A socket that nobody answers on is ignored; if the lock is
 * taken all the same, opening says by whom.
 */
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { codeOf, errorFor, guardAsync } from '../errors.js'
import { NativeStore } from '../native.js'
import type { Control } from './control.js'
import { LocalControl } from './local-control.js'
import { RemoteControl } from './remote-control.js'
import { ControlSocket } from './socket.js'

/** What connecting to the socket of a dead daemon, or to none, ends with. */
const NOBODY = new Set([
  'ENOENT',
  'ECONNREFUSED',
  'ENOTSOCK',
  'ENOTDIR',
  'ERR_LOCKSTEP_DAEMON_GONE',
])

/**
 * The control interface of the store in `directory`; close it after use.
 *
 * @throws `ERR_LOCKSTEP_NOT_A_STORE`, `ERR_LOCKSTEP_LOCKED` and what else opening a store throws;
 * `EACCES` if the daemon belongs to another user.
 */
export async function openControl(directory: string): Promise<Control> {
  const store = resolve(directory)
  const remote = await findDaemon(store)
  if (remote !== undefined) return remote
  const native = await guardAsync({ syscall: 'open', path: store }, () => NativeStore.open(store))
  return new LocalControl(native, store, true)
}

/** The control interface of the daemon that serves the store, if one does. */
export async function findDaemon(store: string): Promise<Control | undefined> {
  if (!existsSync(join(store, 'control.sock'))) return undefined
  const remote = new RemoteControl(new ControlSocket(store))
  try {
    await remote.about()
    return remote
  } catch (error) {
    await remote.close()
    const code = codeOf(error)
    if (code !== undefined && NOBODY.has(code)) return undefined
    if (code !== 'EACCES') throw error
    throw errorFor('EACCES', 'EACCES: the daemon of this store runs as another user', {
      cause: error,
    })
  }
}
