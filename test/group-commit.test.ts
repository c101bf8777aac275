import t from 'tap'
import { GroupCommit } from '../lib/group-commit.js'

void t.test('those who come during a flush share the next one', async test => {
  const finish: (() => void)[] = []
  const commit = new GroupCommit(() => new Promise(resolve => finish.push(resolve)))
  const done: string[] = []
  const wait = (name: string) => commit.durable().then(() => done.push(name))
  const first = wait('a')
  const rest = [wait('b'), wait('c')]
  test.equal(finish.length, 1)
  finish[0]?.()
  await first
  test.same(done, ['a'])
  await new Promise(resolve => setImmediate(resolve))
  test.equal(finish.length, 2)
  finish[1]?.()
  await Promise.all(rest)
  test.same(done, ['a', 'b', 'c'])
  const last = wait('d')
  test.equal(finish.length, 3)
  finish[2]?.()
  await last
})

void t.test('a failed flush fails its waiters, and the next ones try again', async test => {
  let calls = 0
  const commit = new GroupCommit(async () => {
    calls++
    await Promise.resolve()
    if (calls === 1) throw new Error('EIO')
  })
  const first = commit.durable()
  const second = commit.durable()
  await test.rejects(first, { message: 'EIO' })
  await second
  test.equal(calls, 2)
})
