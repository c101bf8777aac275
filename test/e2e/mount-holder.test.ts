/** A daemon that is killed, and programs on its mount that go on with the next one. */
import * as fs from 'node:fs/promises'
import { existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { request } from 'undici'
import { startDaemon } from '../support/daemon.js'
import { hasFuse } from './posix-side.js'

const skip = (await hasFuse()) ? false : 'this machine has no FUSE'
const directory = await fs.mkdtemp(join(tmpdir(), 'lockstep-holder-'))
t.teardown(() => fs.rm(directory, { recursive: true, force: true }))

async function places(name: string): Promise<{ store: string; mount: string; socket: string }> {
  const [store, mount] = [join(directory, name), join(directory, `${name}-mnt`)]
  await fs.mkdir(mount)
  return { store, mount, socket: join(store, 'holder.sock') }
}

await t.test(
  'open files outlive a killed daemon, and HDFS and the mount agree',
  { skip },
  async t => {
    const { store, mount, socket } = await places('kept')
    const first = await startDaemon({ store, mount })
    const log = await fs.open(join(mount, 'log'), 'a')
    await log.write('one\n')
    const unlinked = await fs.open(join(mount, 'unlinked'), 'w+')
    await unlinked.write('no name')
    await fs.rm(join(mount, 'unlinked'))
    await first.kill()
    const waiting = log.write('two\n')
    const second = await startDaemon({ store, mount })
    await waiting
    await log.write('three\n')
    await log.close()
    t.equal(await fs.readFile(join(mount, 'log'), 'utf8'), 'one\ntwo\nthree\n')
    t.equal(
      (await unlinked.read({ buffer: Buffer.alloc(7), position: 0 })).buffer.toString(),
      'no name',
    )
    await unlinked.close()
    const url = `${second.ready.http}/webhdfs/v1/log?op=OPEN&user.name=root&noredirect=false`
    const redirect = await request(url)
    await redirect.body.dump()
    const answer = await request(String(redirect.headers['location']))
    t.equal(await answer.body.text(), 'one\ntwo\nthree\n')
    t.equal(await second.stop(), 0)
    t.notOk(existsSync(socket), 'the holder ends with the mount')
    t.same(await fs.readdir(mount), [])
  },
)

await t.test('a start that fails leaves the mount to the next one', { skip }, async t => {
  const { store, mount } = await places('port')
  const other = await startDaemon({ store: join(directory, 'other') })
  const first = await startDaemon({ store, mount })
  const file = await fs.open(join(mount, 'file'), 'w')
  await first.kill()
  const httpPort = Number(new URL(other.ready.http).port)
  await t.rejects(startDaemon({ store, mount, httpPort }), /--http-port/)
  const writing = file.write('still open')
  const second = await startDaemon({ store, mount })
  await writing
  await file.close()
  t.equal(await fs.readFile(join(mount, 'file'), 'utf8'), 'still open')
  await second.stop()
  await other.stop()
})

await t.test('without a daemon the mount is taken away in time', { skip }, async t => {
  const { store, mount, socket } = await places('alone')
  const daemon = await startDaemon({ store, mount, args: ['--mount-timeout', '1'] })
  const file = await fs.open(join(mount, 'file'), 'w')
  await daemon.kill()
  await t.rejects(file.write('too late'), { code: 'ENOTCONN' })
  await file.close().catch(() => undefined)
  for (let tries = 0; existsSync(socket) && tries < 200; tries++) await sleep(50)
  t.notOk(existsSync(socket), 'the holder has ended')
})
