/**
 * Bad input: each mistake gets one line that says what is wrong and what to do, an exit status other
 * than 0, and changes nothing; garbage on a port closes that connection and nothing else.
 */
import { randomBytes } from 'node:crypto'
import { copyFile, cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { type AddressInfo, type Socket, connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Store } from '../../lib/index.js'
import { python } from '../clients/python.js'
import { tryRun } from '../clients/process.js'
import { type CliResult, cliCommand, runCli } from '../support/cli.js'
import { startDaemon } from '../support/daemon.js'
import { differences, digestTree } from './data-set.js'
import { hasFuse } from './posix-side.js'

const CLOSE_WITHIN_MS = 20_000
const SUPERBLOCK = 'superblock'
const VERSION_OFFSET = 8

const directory = await mkdtemp(join(tmpdir(), 'lockstep-bad-input-'))
t.teardown(() => rm(directory, { recursive: true, force: true }))

const fuse = await hasFuse()
const isRoot = process.getuid?.() === 0

/** Serves `store` in the hope that it fails, and gives up on one that does not. */
function serve(store: string, ...words: string[]): Promise<CliResult> {
  const ports = ['--hdfs-port', '0', '--data-port', '0', '--http-port', '0']
  const defaults = words.includes('--mount') ? ports : [...ports, '--no-mount']
  const given = defaults.filter((word, i) => !words.includes(word) && !words.includes(defaults[i - 1] ?? '')) // prettier-ignore
  return runCli(['serve', store, ...given, ...words], { allowFailure: true, timeoutMs: 30_000 })
}

function refused(t: Test, result: CliResult, code: string, text: RegExp): void {
  t.not(result.status, 0, 'exit status')
  const lines = result.stderr
    .trim()
    .split('\n')
    .filter(line => !line.startsWith('{'))
  t.equal(lines.length, 1, 'one line', { lines })
  t.match(lines[0], `lockstep: ${code}: `)
  t.match(lines[0], text)
}

async function newStore(name: string): Promise<string> {
  const store = join(directory, name)
  await runCli(['init', store])
  return store
}

await t.test('what is no store, or a damaged or newer one, is left as it is', async t => {
  const good = await newStore('good')
  const cases: [string, string, RegExp, (store: string) => Promise<void>][] = [
    ['not-a-store', 'ERR_LOCKSTEP_NOT_A_STORE', /lockstep init/, async store => {
      await mkdir(store)
      await writeFile(join(store, 'notes.txt'), 'no store')
    }],
    ['newer', 'ERR_LOCKSTEP_NEWER_FORMAT', /newer/, async store => {
      await cp(good, store, { recursive: true })
      const bytes = await readFile(join(store, SUPERBLOCK))
      bytes.writeUInt32LE(99, VERSION_OFFSET)
      await writeFile(join(store, SUPERBLOCK), bytes)
    }],
    ['damaged', 'ERR_LOCKSTEP_SUPERBLOCK', /superblock/, async store => {
      await cp(good, store, { recursive: true })
      const bytes = await readFile(join(store, SUPERBLOCK))
      bytes[20] = (bytes[20] ?? 0) ^ 1
      await writeFile(join(store, SUPERBLOCK), bytes)
    }],
    ['cut', 'ERR_LOCKSTEP_SUPERBLOCK', /superblock/, async store => {
      await cp(good, store, { recursive: true })
      await writeFile(join(store, SUPERBLOCK), (await readFile(join(store, SUPERBLOCK))).subarray(0, 9))
    }],
  ] // prettier-ignore
  for (const [name, code, text, make] of cases) {
    const store = join(directory, name)
    await make(store)
    const before = await digestTree(store)
    await t.test(`${name}: serve`, async t => {
      refused(t, await serve(store), code, text)
    })
    await t.test(`${name}: ls`, async t => {
      refused(t, await runCli(['--store', store, 'ls', '/'], { allowFailure: true }), code, text)
    })
    t.same(differences(await digestTree(store), before), [], `${name}: nothing changed`)
  }
})

await t.test('a directory that is missing, or full, is named', async t => {
  const missing = join(directory, 'missing')
  refused(t, await serve(missing), 'ERR_LOCKSTEP_NOT_A_STORE', /lockstep init/)
  const full = join(directory, 'full')
  await mkdir(full)
  await writeFile(join(full, 'file'), '')
  const result = await runCli(['init', full], { allowFailure: true })
  refused(t, result, 'ERR_LOCKSTEP_NOT_EMPTY', /empty/)
})

await t.test('a store that another process has open names that process', async t => {
  const store = await newStore('open')
  const daemon = await startDaemon({ store })
  try {
    const result = await serve(store)
    refused(t, result, 'ERR_LOCKSTEP_LOCKED', new RegExp(`process ${String(daemon.ready.pid)}`))
    const listed = await runCli(['--store', store, 'ls', '/'])
    t.equal(listed.status, 0, 'the daemon goes on')
    const checked = await runCli(['check', store], { allowFailure: true })
    refused(t, checked, 'ERR_LOCKSTEP_LOCKED', /process/)
  } finally {
    await daemon.stop()
  }
})

await t.test('a port that is taken is named', async t => {
  const store = await newStore('ports')
  const taken = createServer()
  await new Promise<void>(resolve => taken.listen(0, '127.0.0.1', resolve))
  const port = String((taken.address() as AddressInfo).port)
  try {
    for (const flag of ['--hdfs-port', '--data-port', '--http-port']) {
      await t.test(flag, async t => {
        refused(t, await serve(store, flag, port), 'EADDRINUSE', new RegExp(port))
      })
    }
  } finally {
    taken.close()
  }
})

await t.test('an address that others can reach is refused without authentication', async t => {
  const store = await newStore('open-address')
  refused(t, await serve(store, '--host', '0.0.0.0'), 'ERR_LOCKSTEP_LOOPBACK_ONLY', /loopback/)
})

await t.test('mount points that cannot be used say why', async t => {
  if (!fuse) {
    const store = await newStore('no-fuse')
    refused(t, await serve(store, '--mount', directory), 'ERR_LOCKSTEP_NO_FUSE', /fuse/i)
    return
  }
  const store = await newStore('mounts')
  const missing = join(directory, 'no', 'such', 'directory')
  const file = join(directory, 'a-file')
  const full = join(directory, 'full-directory')
  await writeFile(file, '')
  await mkdir(full)
  await writeFile(join(full, 'file'), 'in the way')
  refused(t, await serve(store, '--mount', missing), 'ERR_LOCKSTEP_MOUNT_POINT', /./)
  refused(t, await serve(store, '--mount', file), 'ERR_LOCKSTEP_MOUNT_POINT', /directory/)
  refused(t, await serve(store, '--mount', full), 'ERR_LOCKSTEP_MOUNT_BUSY', /empty/)
  t.equal(await readFile(join(full, 'file'), 'utf8'), 'in the way')
  const mount = join(directory, 'busy')
  await mkdir(mount)
  const other = await startDaemon({ store: await newStore('other'), mount })
  try {
    refused(t, await serve(store, '--mount', mount), 'ERR_LOCKSTEP_MOUNT_BUSY', /./)
  } finally {
    await other.stop()
  }
})

await t.test('the mount of a daemon that was killed does not keep the next one away', async t => {
  if (!fuse) {
    t.comment('no /dev/fuse here: there is no mount that could be stale')
    return
  }
  const store = await newStore('killed')
  const mount = join(directory, 'stale')
  await mkdir(mount)
  const killed = await startDaemon({ store, mount, args: ['--no-mount-holder'] })
  await killed.kill()
  const next = await startDaemon({ store, mount })
  t.equal(next.ready.mount, mount)
  await writeFile(join(mount, 'file'), 'alive')
  await next.stop()
})

/** The shell line that runs the command line with these words. */
function shellLine(words: string[]): string {
  return [...cliCommand(), ...words].map(word => `'${word}'`).join(' ')
}

await t.test(
  'without /dev/fuse an explicit --mount fails and an implied one is left out',
  async t => {
    if (!isRoot) {
      t.comment('only root can hide /dev/fuse from a process')
      return
    }
    const store = await newStore('hidden-fuse')
    const mount = join(directory, 'hidden-mount')
    await mkdir(mount)
    const words = ['serve', store, '--mount', mount, '--hdfs-port', '0', '--data-port', '0', '--http-port', '0'] // prettier-ignore
    const hidden = `mount -t tmpfs none /dev && exec ${shellLine(words)}`
    const result = await tryRun('unshare', ['-m', 'sh', '-c', hidden], { timeoutMs: 30_000 })
    refused(t, result, 'ERR_LOCKSTEP_NO_FUSE', /fuse/i)
  },
)

await t.test('without the permission to mount, it says so', async t => {
  if (!isRoot || !fuse) {
    t.comment('needs root, to become somebody who may not mount')
    return
  }
  const store = await newStore('denied')
  const mount = join(directory, 'denied-mount')
  await mkdir(mount)
  // Root without the capability to mount, and without a helper that has it.
  const words = ['serve', store, '--mount', mount, '--hdfs-port', '0', '--data-port', '0', '--http-port', '0'] // prettier-ignore
  const line = `exec ${shellLine(words)}`
  const drop = ['--bounding-set', '-sys_admin', '--inh-caps', '-sys_admin']
  const result = await tryRun('setpriv', [...drop, 'sh', '-c', line], { timeoutMs: 30_000 })
  refused(t, result, 'ERR_LOCKSTEP_MOUNT_DENIED', /./)
})

/** Sends `bytes` and resolves with what came back once the other side has closed. */
function sendAndWait(port: number, bytes: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const answers: Buffer[] = []
    const socket: Socket = connect(port, '127.0.0.1', () => socket.write(bytes))
    const timer = setTimeout(() => {
      socket.destroy()
      reject(new Error(`port ${String(port)} kept the connection open`))
    }, CLOSE_WITHIN_MS)
    socket.on('data', answer => answers.push(answer))
    // A reset is a way of closing.
    socket.on('error', () => undefined)
    socket.on('close', () => {
      clearTimeout(timer)
      resolve(Buffer.concat(answers))
    })
  })
}

function garbage(): Record<string, Buffer> {
  const rpc = Buffer.from('hrpc\x09\x00\x00', 'latin1')
  const writeOp = Buffer.from([0, 28, 80])
  const readOp = Buffer.from([0, 28, 81])
  const hugeVarint = Buffer.from([0xff, 0xff, 0xff, 0xff, 0x07])
  return {
    'random bytes': randomBytes(1 << 20),
    'zero bytes': Buffer.alloc(1 << 16),
    HTTP: Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'),
    'an RPC frame of 2 GiB': Buffer.concat([rpc, Buffer.from([0x7f, 0xff, 0xff, 0xff])]),
    'a negative RPC frame': Buffer.concat([rpc, Buffer.from([0xff, 0xff, 0xff, 0xff])]),
    'a transfer request of 2 GiB': Buffer.concat([writeOp, hugeVarint]),
    'a transfer request that is no message': Buffer.concat([readOp, Buffer.from([5, 255, 255, 255, 255, 255])]), // prettier-ignore
    'a wrong transfer version': Buffer.from([0, 99, 81, 0]),
    'an overlong varint': Buffer.concat([readOp, Buffer.alloc(32, 0xff)]),
    'a huge header': Buffer.from(`GET /${'a'.repeat(1 << 20)} HTTP/1.1\r\n\r\n`),
  }
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise(resolve => server.close(resolve))
  return port
}

await t.test('garbage on a port closes that connection and nothing else', async t => {
  const store = await newStore('garbage')
  const dataPort = await freePort()
  const daemon = await startDaemon({ store, dataPort })
  const { hdfs, webhdfs } = daemon.ready
  try {
    const local = join(directory, 'local')
    await copyFile(process.execPath, local)
    await python('hdfs-native', hdfs ?? '', 'write', '/file', local)
    const wanted = await python('webhdfs', webhdfs, 'sha256', '/file')
    const ports = {
      rpc: Number(new URL(hdfs ?? '').port),
      data: dataPort,
      http: Number(new URL(webhdfs).port),
    }
    for (const [service, port] of Object.entries(ports)) {
      for (const [what, bytes] of Object.entries(garbage())) {
        // A request that HTTP can read is no garbage on the HTTP port.
        if (service === 'http' && what === 'HTTP') continue
        await t.resolves(sendAndWait(port, bytes), `${what} on the ${service} port`)
      }
    }
    const http = await sendAndWait(ports.rpc, garbage()['HTTP'] ?? Buffer.alloc(0))
    t.match(http.toString('latin1'), /HTTP\/1\.1 404[^]*Hadoop IPC port/)
    t.same(await python('hdfs-native', hdfs ?? '', 'sha256', '/file'), wanted)
    t.same(await python('webhdfs', webhdfs, 'sha256', '/file'), wanted)
  } finally {
    t.equal(await daemon.stop(), 0, 'the daemon lived to end in order')
  }
})

const BAD_NAMES = ['a/b', '', '.', '..', 'x'.repeat(256), 'é'.repeat(128)]

await t.test('bad snapshot names are EINVAL in every view', async t => {
  const store = await newStore('names')
  const mount = join(directory, 'names-mount')
  await mkdir(mount)
  const daemon = await startDaemon({ store, ...(fuse ? { mount } : {}) })
  try {
    for (const name of BAD_NAMES) {
      const words = ['--store', store, '--json', 'snapshot', 'create', '/', name]
      const result = await runCli(words, { allowFailure: true })
      t.not(result.status, 0)
      t.match(result.stdout + result.stderr, /"EINVAL"/, `command line: ${name.slice(0, 9)}`)
      const query = `op=CREATESNAPSHOT&user.name=root&snapshotname=${encodeURIComponent(name)}`
      const answer = await fetch(`${daemon.ready.http}/webhdfs/v1/?${query}`, { method: 'PUT' })
      // WebHDFS has no errno: an invalid name is the client's mistake, 400 or 403, never 500.
      const text = await answer.text()
      t.ok(name === '' || [400, 403].includes(answer.status), `webhdfs: ${text}`)
    }
    if (fuse) {
      for (const name of BAD_NAMES.filter(name => name.length > 100)) {
        await t.rejects(mkdir(join(mount, '.snapshot', name)), { code: 'EINVAL' }, 'mount')
      }
    } else {
      t.comment('no /dev/fuse here: the mount cannot be asked')
    }
  } finally {
    await daemon.stop()
  }
  const opened = await Store.open(store)
  try {
    for (const name of BAD_NAMES) {
      await t.rejects(
        opened.snapshot('/', name),
        { code: 'EINVAL' },
        `library: ${name.slice(0, 9)}`,
      )
    }
  } finally {
    await opened.close()
  }
})
