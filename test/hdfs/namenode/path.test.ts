import t from 'tap'
import { JavaException } from '../../../lib/java-exceptions.js'
import { fileIdOf, parseFileId } from '../../../lib/hdfs/namenode/file-id.js'
import { isBelowOrSame, nameOf, parentOf, resolvePath } from '../../../lib/hdfs/namenode/path.js'

const noIds = (): string => {
  throw new Error('no ids here')
}

function refusal(path: string, pathOf: (id: bigint) => string = noIds): string {
  try {
    return `accepted ${resolvePath(path, pathOf)}`
  } catch (error) {
    return error instanceof JavaException ? error.type : String(error)
  }
}

void t.test('plain paths pass, a final slash goes', test => {
  for (const path of ['/', '/a', '/a/b', '/a/.snapshot/s', '/a/...', '/a/.b', '/a/b..', '/a:b']) {
    test.equal(resolvePath(path, noIds), path)
  }
  test.equal(resolvePath('/a/', noIds), '/a')
  test.end()
})

void t.test('what is no path is refused', test => {
  for (const path of ['', 'a', 'a/b', '//', '//a', '/a//b', '/./a', '/a/.', '/a/..', '/../a']) {
    test.equal(refusal(path), 'InvalidPath', path)
  }
  test.equal(refusal(`/${'a'.repeat(9000)}`), 'IO')
  test.end()
})

void t.test('reserved paths name inodes', test => {
  const pathOf = (id: bigint) => (id === 1n ? '/' : `/by-id-${id.toString()}`)
  test.equal(resolvePath('/.reserved/.inodes/77', pathOf), '/by-id-77')
  test.equal(resolvePath('/.reserved/.inodes/77/x/y', pathOf), '/by-id-77/x/y')
  test.equal(resolvePath('/.reserved/.inodes/1/x', pathOf), '/x')
  test.equal(resolvePath('/.reserved/raw', pathOf), '/')
  test.equal(resolvePath('/.reserved/raw/a/b', pathOf), '/a/b')
  test.equal(refusal('/.reserved/.inodes/x', pathOf), 'FileNotFound')
  test.end()
})

void t.test('parents, names, and what lies below what', test => {
  test.equal(parentOf('/a'), '/')
  test.equal(parentOf('/a/b'), '/a')
  test.equal(parentOf('/'), '/')
  test.equal(nameOf('/a/b'), 'b')
  test.ok(isBelowOrSame('/a/b', '/a'))
  test.ok(isBelowOrSame('/a', '/'))
  test.notOk(isBelowOrSame('/ab', '/a'))
  test.end()
})

void t.test('file ids name a node in a view', test => {
  test.equal(fileIdOf(0, 16_386), 16_386n)
  for (const [view, inode] of [
    [0, 1],
    [1, 1],
    [123_456, 2 ** 39 - 1],
  ] as const) {
    test.same(parseFileId(fileIdOf(view, inode)), { view, inode })
  }
  for (const id of [0n, -1n, 1n << 40n, 1n << 63n]) test.equal(parseFileId(id), undefined)
  test.end()
})
