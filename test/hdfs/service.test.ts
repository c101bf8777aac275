import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { HdfsService } from '../../lib/hdfs/index.js'
import { NativeStore } from '../../lib/native.js'

void t.test('a port that is taken fails the start and leaves nothing open', async test => {
  const dir = join(test.testdir(), 'store')
  NativeStore.create(dir)
  const store = await NativeStore.open(dir)
  test.teardown(() => store.close())
  const blocker = createServer().listen(0, '127.0.0.1')
  await new Promise(resolve => blocker.once('listening', resolve))
  test.teardown(() => blocker.close())
  const taken = (blocker.address() as AddressInfo).port
  const input = {
    clusterId: 'CID-test',
    blockPoolId: 'BP-1-127.0.0.1-1',
    datanodeUuid: '11111111-2222-3333-4444-555555555555',
    serviceUser: 'root',
    rpcPort: 0,
    dataPort: 0,
  }
  await test.rejects(HdfsService.start(store, { ...input, rpcPort: taken }), { code: 'EADDRINUSE' })
  await test.rejects(HdfsService.start(store, { ...input, ipcPort: taken }), { code: 'EADDRINUSE' })
  const service = await HdfsService.start(store, input)
  test.ok(service.rpcPort > 0 && service.dataPort > 0 && service.ipcPort > 0)
  test.same(service.activity, { calls: 0, connections: 0, openFiles: 0, writes: 0 })
  const again = { ...input, rpcPort: service.rpcPort, dataPort: service.dataPort }
  await service.stop()
  const second = await HdfsService.start(store, again)
  test.equal(second.rpcPort, again.rpcPort, 'the ports are free again')
  await second.stop()
})
