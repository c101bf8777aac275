/**
 * The daemon: one open store and all that serves it.
 *
 * Invariants:
 * - Parts start in order and stop in the reverse one; a start that fails stops what had started,
 *   so that it changes nothing.
 * - The store is opened first and closed last: no part ever sees it closed.
 * - Ready means that every part answers.
 */
import { userInfo } from 'node:os'
import { codeOf } from '../errors.js'
import { HdfsService } from '../hdfs/index.js'
import type { NativeStore } from '../native.js'
import { Mount } from '../posix/mount.js'
import { WebHdfsServer } from '../webhdfs/server.js'
import type { HdfsFacts } from '../webhdfs/options.js'
import { portError, serviceUri } from './address.js'
import { ControlServer } from './control-server.js'
import { hdfsFacts } from './hdfs-facts.js'
import { identityOf } from './identity.js'
import type { Identity } from './identity.js'
import { HealthWatch } from './health-watch.js'
import { LocalControl } from './local-control.js'
import type { Logger } from './log.js'
import { openStore } from './open-store.js'
import { VERSION } from './version.js'

/** How a daemon runs. */
export interface DaemonOptions {
  /** The store's directory, absolute. */
  store: string
  /** Address of all network services. */
  host: string
  /** Ports; 0 = any. */
  hdfsPort: number
  dataPort: number
  httpPort: number
  /** Whether `hdfs://` is served. */
  hdfs: boolean
  /** Where to mount; a machine that cannot goes on without, unless it is required. */
  mount?: MountWish
  log: Logger
}

/** What is asked of the mount. */
export interface MountWish {
  /** The mount point, absolute. */
  path: string
  /** Whether a failure to mount is a failure to start. */
  required: boolean
  /** How long its users wait for the next daemon if this one dies; undefined: not at all. */
  holdSeconds?: number
}

/** What the `ready` line says. */
export interface Ready {
  pid: number
  /** The mount point. */
  mount: string | null
  /** `hdfs://HOST:PORT`. */
  hdfs: string | null
  webhdfs: string
  http: string
  /** Changes that an unclean stop had left in the log, and that are in the store again. */
  recovered: number
}

/** A running daemon. */
export class Daemon {
  readonly log: Logger
  /** Where it answers; set once it does. */
  readonly ready: Ready
  /** Why nothing is mounted, if that was tried. */
  mountFailure: string | undefined
  readonly #options: DaemonOptions
  readonly #parts: { name: string; stop: () => Promise<void> }[] = []
  #hdfsFacts: HdfsFacts | undefined
  #stopped: Promise<boolean> | undefined
  #isReady = false

  private constructor(options: DaemonOptions) {
    this.#options = options
    this.log = options.log
    this.ready = { pid: process.pid, mount: null, hdfs: null, webhdfs: '', http: '', recovered: 0 }
  }

  /**
   * Opens the store and starts everything.
   *
   * @throws LockstepError one line that says what is wrong and what to do; nothing is left running.
   */
  static async start(options: DaemonOptions): Promise<Daemon> {
    const daemon = new Daemon(options)
    try {
      await daemon.#start()
    } catch (error) {
      await daemon.stop()
      throw error
    }
    return daemon
  }

  /**
   * Stops everything, last the store. Idempotent. Never rejects: what fails is logged, and the
   * answer is false then.
   */
  async stop(): Promise<boolean> {
    this.#stopped ??= this.#stopParts()
    return await this.#stopped
  }

  async #start(): Promise<void> {
    const { store: path, mount } = this.#options
    const store = await this.#open(path, mount)
    this.#parts.push({ name: 'store', stop: () => store.close() })
    store.onDamage(message => {
      this.log.error({ code: 'ERR_LOCKSTEP_CORRUPT' }, message)
    })
    const health = new HealthWatch(store, this.log)
    this.#parts.push({
      name: 'health watch',
      stop: () => {
        health.stop()
        return Promise.resolve()
      },
    })
    // Before the network: what another view changes is told to a mount that was taken over.
    if (mount !== undefined) await this.#mount(store, mount)
    await this.#serveNetwork(store, identityOf(store))
    const control = new ControlServer(new LocalControl(store, path, false))
    this.#parts.push({ name: 'control', stop: () => control.close() })
    await control.listen(path)
    this.#isReady = true
    this.log.info({ ...this.ready, store: path }, 'serving')
  }

  async #open(path: string, mount: MountWish | undefined): Promise<NativeStore> {
    const start = performance.now()
    const store = await openStore(path, mount)
    const { records, bytes, restoredBytes, stopped } = store.recovery()
    this.ready.recovered = records
    if (records > 0) {
      const milliseconds = Math.round(performance.now() - start)
      this.log.info(
        { records, bytes, restoredBytes, milliseconds },
        'recovered what was in the log',
      )
    }
    if (stopped !== null) this.log.warn({ stopped }, 'the rest of the log could not be used')
    return store
  }

  /** HTTP first, because the DataNode's reports name its port; it asks for HDFS's facts later. */
  async #serveNetwork(store: NativeStore, identity: Identity): Promise<void> {
    const { host, httpPort } = this.#options
    const http = await WebHdfsServer.start(store, {
      host,
      port: httpPort,
      storeId: identity.clusterId,
      version: VERSION,
      hdfs: () => this.#hdfsFacts,
      onError: (error, what) => {
        this.log.error({ error }, what)
      },
    }).catch((error: unknown) => {
      throw portError(error, httpPort, '--http-port')
    })
    this.#parts.push({ name: 'webhdfs', stop: () => http.close() })
    this.ready.http = serviceUri('http', host, http.port)
    this.ready.webhdfs = serviceUri('webhdfs', host, http.port)
    if (this.#options.hdfs) await this.#startHdfs(store, identity, http.port)
  }

  async #startHdfs(store: NativeStore, identity: Identity, httpPort: number): Promise<void> {
    const { host, hdfsPort, dataPort } = this.#options
    const hdfs = await HdfsService.start(store, {
      ...identity,
      host,
      rpcPort: hdfsPort,
      dataPort,
      httpPort,
      serviceUser: userInfo().username,
    }).catch((error: unknown) => {
      const isRpc = error instanceof Error && 'port' in error && error.port === hdfsPort
      throw isRpc
        ? portError(error, hdfsPort, '--hdfs-port')
        : portError(error, dataPort, '--data-port')
    })
    this.#parts.push({ name: 'hdfs', stop: () => hdfs.stop() })
    this.#hdfsFacts = hdfsFacts(hdfs)
    this.ready.hdfs = serviceUri('hdfs', host, hdfs.rpcPort)
  }

  async #mount(store: NativeStore, wish: MountWish): Promise<void> {
    let mount: Mount
    try {
      mount = await Mount.create(store, { ...wish, store: this.#options.store })
    } catch (error) {
      if (wish.required || !(error instanceof Error)) throw error
      store.reap()
      this.mountFailure = error.message
      this.log.warn({ error }, 'going on without a mount')
      return
    }
    this.#parts.push({ name: 'mount', stop: () => this.#endMount(mount) })
    this.ready.mount = mount.path
    void this.#watch(mount)
  }

  /** A start that fails takes no mount from its users that it had only taken over. */
  async #endMount(mount: Mount): Promise<void> {
    if (mount.isTaken && !this.#isReady) mount.leave()
    else await mount.unmount()
  }

  async #watch(mount: Mount): Promise<void> {
    try {
      if (!(await mount.ended())) return
      this.log.warn({ mount: mount.path }, 'unmounted from outside; the other services go on')
      this.ready.mount = null
    } catch (error) {
      this.log.error({ error }, 'the mount ended with a failure')
    }
  }

  async #stopParts(): Promise<boolean> {
    let isClean = true
    for (const part of this.#parts.reverse()) {
      try {
        await part.stop()
      } catch (error) {
        isClean = false
        this.log.error({ error, part: part.name, code: codeOf(error) }, 'did not stop well')
      }
    }
    return isClean
  }
}
