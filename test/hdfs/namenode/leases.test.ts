import t from 'tap'
import type { NewOpenFile } from '../../../lib/hdfs/namenode/leases.js'
import { Leases } from '../../../lib/hdfs/namenode/leases.js'

function newFile(inode: number, client: string, view = 0): NewOpenFile {
  return {
    view,
    inode,
    path: `/f${inode}`,
    client,
    address: '127.0.0.1',
    blockSize: 1024,
    base: 0,
    blocks: [],
  }
}

void t.test('a file is found by its node until it is closed', test => {
  const leases = new Leases(60, 1200, () => 0)
  const file = leases.open(newFile(7, 'a'))
  leases.open(newFile(7, 'b', 3))
  test.equal(leases.find(0, 7), file)
  test.equal(leases.find(3, 7)?.client, 'b')
  test.equal(leases.find(0, 8), undefined)
  test.equal(leases.count, 2)
  leases.close(file)
  leases.close(file)
  test.equal(leases.find(0, 7), undefined)
  test.equal(leases.count, 1)
  test.end()
})

void t.test('one renewal covers all files of a client', test => {
  let now = 0
  const leases = new Leases(60, 1200, () => now)
  const first = leases.open(newFile(1, 'a'))
  const second = leases.open(newFile(2, 'a'))
  now = 61
  test.ok(leases.isSoftExpired(first))
  leases.renew('a')
  test.notOk(leases.isSoftExpired(first))
  test.notOk(leases.isSoftExpired(second))
  test.end()
})

void t.test('files are closed after the hard limit', test => {
  let now = 0
  const leases = new Leases(60, 1200, () => now)
  leases.open(newFile(1, 'a'))
  leases.open(newFile(2, 'b'))
  now = 1000
  leases.renew('b')
  now = 1201
  test.same(
    leases.expire().map(file => file.inode),
    [1],
  )
  test.equal(leases.find(0, 1), undefined)
  test.equal(leases.find(0, 2)?.client, 'b')
  test.end()
})

void t.test('open files are listed in pages', test => {
  const leases = new Leases(60, 1200, () => 0)
  for (let inode = 1; inode <= 5; inode++) leases.open(newFile(inode, `c${inode % 2}`))
  const first = leases.list(0, 3)
  test.same(
    first.map(file => file.inode),
    [1, 2, 3],
  )
  test.same(
    leases.list(first.at(-1)?.number ?? 0, 3).map(file => file.inode),
    [4, 5],
  )
  test.end()
})
