/**
 * What every command needs: how to print, and the store it works on.
 *
 * Invariant: the store is closed when the command ends, however it ends.
 */
import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import type { Command } from 'commander'
import type { Control } from '../daemon/control.js'
import { openControl } from '../daemon/open-control.js'
import { errorFor } from '../errors.js'
import type { LockstepError } from '../errors.js'
import { Output, USAGE_CODE } from './render.js'

/** Where `npm start` keeps its store; used when nothing else is said and it is there. */
export const DEFAULT_STORE = 'lockstep-data'

interface GlobalOptions {
  json?: boolean
  store?: string
}

/** The options that all commands share. */
export class Context {
  readonly output: Output
  readonly #store: string | undefined

  /** @param command - The command that runs. */
  constructor(command: Command) {
    const options = command.optsWithGlobals<GlobalOptions>()
    this.output = new Output(options.json === true)
    this.#store = options.store
  }

  /**
   * Runs `use` on the store that `--store` or `LOCKSTEP_STORE` names.
   *
   * @param use - Gets the control interface of a running daemon, or of the store opened here.
   */
  async withControl<T>(use: (control: Control) => Promise<T>): Promise<T> {
    const control = await openControl(this.#directory())
    let result: T
    try {
      result = await use(control)
    } catch (error) {
      await control.close().catch((failure: unknown) => {
        process.emitWarning(`the store did not close: ${String(failure)}`)
      })
      throw error
    }
    await control.close()
    return result
  }

  /** As `withControl`, for a change: it is durable when the command ends. */
  async withChange<T>(change: (control: Control) => Promise<T>): Promise<T> {
    return await this.withControl(async control => {
      const result = await change(control)
      await control.sync()
      return result
    })
  }

  #directory(): string {
    const named = this.#store ?? process.env['LOCKSTEP_STORE']
    if (named !== undefined && named !== '') return resolve(named)
    if (existsSync(DEFAULT_STORE)) return resolve(DEFAULT_STORE)
    throw usageError('no store: say which with --store DIR or LOCKSTEP_STORE')
  }
}

/** An error in how a command was called: exit status 2. */
export function usageError(message: string): LockstepError {
  return errorFor(USAGE_CODE, message)
}

/** A path of the namespace as given by a person: absolute, without doubled or trailing slashes. */
export function storePath(text: string): string {
  const path = `/${text}`.replace(/\/+/g, '/')
  return path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path
}

/** The last name of a path of the namespace; of the root nothing. */
export function lastName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1)
}

/** The path of `name` in `directory`. */
export function childPath(directory: string, name: string): string {
  return directory === '/' ? `/${name}` : `${directory}/${name}`
}
