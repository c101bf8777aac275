import t from 'tap'
import { systemError } from '../lib/errors.js'
import {
  JavaException,
  actionName,
  permissionMessage,
  permissionText,
  toJavaException,
} from '../lib/java-exceptions.js'
import type { InodeFacts, PermissionSource } from '../lib/java-exceptions.js'

void t.test('codes of the store become the classes that Hadoop clients test for', t => {
  const path = '/d/f'
  const rows: [string, string, string][] = [
    ['ENOENT', 'java.io.FileNotFoundException', 'File does not exist: /d/f'],
    ['EEXIST', 'org.apache.hadoop.fs.FileAlreadyExistsException', '/d/f already exists'],
    ['EISDIR', 'java.io.FileNotFoundException', 'Path is not a file: /d/f'],
    [
      'ENOTEMPTY',
      'org.apache.hadoop.fs.PathIsNotEmptyDirectoryException',
      "`/d/f is non empty': Directory is not empty",
    ],
    [
      'EROFS',
      'org.apache.hadoop.hdfs.protocol.SnapshotAccessControlException',
      'Modification on a read-only snapshot is disallowed',
    ],
    ['ENOSPC', 'java.io.IOException', 'File /d/f could not be written: no space is left'],
    ['EINVAL', 'org.apache.hadoop.fs.InvalidPathException', 'Invalid path name /d/f'],
  ]
  for (const [code, javaClassName, message] of rows) {
    t.match(toJavaException(systemError(code), { path }), { javaClassName, message })
  }
  t.end()
})

void t.test('an unknown failure is an IOException with its first line', t => {
  const exception = toJavaException(new Error('one\ntwo'), { path: '/p' })
  t.match(exception, { javaClassName: 'java.io.IOException', message: '/p: one' })
  const own = new JavaException('Acl', 'mine')
  t.equal(toJavaException(own, { path: '/p' }), own)
  t.end()
})

void t.test('an inner class keeps its dollar sign, and its simple name does not', t => {
  const long = 'x'.repeat(300)
  const exception = toJavaException(systemError('ENAMETOOLONG'), { path: `/d/${long}/e` })
  t.equal(
    exception.javaClassName,
    'org.apache.hadoop.hdfs.protocol.FSLimitException$PathComponentTooLongException',
  )
  t.equal(exception.simpleName, 'PathComponentTooLongException')
  t.match(exception.message, / in directory \/d is exceeded: limit=255 length=300$/)
  t.end()
})

void t.test('names that go wrong with snapshots are snapshot exceptions', t => {
  const context = { path: '/s', about: 'snapshot', snapshot: 'a' } as const
  t.equal(toJavaException(systemError('EEXIST'), context).type, 'Snapshot')
  t.equal(toJavaException(systemError('ENOENT'), context).type, 'Snapshot')
  t.equal(toJavaException(systemError('EINVAL'), context).type, 'HadoopIllegalArgument')
  t.end()
})

void t.test('permissions are written as Hadoop writes them', t => {
  t.equal(permissionText(0o755), 'rwxr-xr-x')
  t.equal(permissionText(0o1777), 'rwxrwxrwt')
  t.equal(permissionText(0o1770), 'rwxrwx--T')
  t.equal(actionName(5), 'READ_EXECUTE')
  t.equal(actionName(6), 'READ_WRITE')
  t.end()
})

/** A tree of owned inodes; bob is nobody's owner and in no group. */
function source(tree: Record<string, InodeFacts>): PermissionSource {
  return {
    user: 'bob',
    facts: path => tree[path] ?? null,
    may: (path, mask) => ((tree[path]?.mode ?? 0) & mask) === mask,
  }
}

void t.test('a refusal names the first component that stopped the user', t => {
  const directory = { owner: 'al', group: 'staff', isDirectory: true }
  const tree = {
    '/': { ...directory, mode: 0o755 },
    '/open': { ...directory, mode: 0o755 },
    '/shut': { ...directory, mode: 0o700 },
    '/open/f': { ...directory, isDirectory: false, mode: 0o640 },
    '/sticky': { ...directory, mode: 0o1777 },
    '/sticky/f': { ...directory, isDirectory: false, mode: 0o644 },
  }
  const words = (path: string, needed: Parameters<typeof permissionMessage>[2]): string =>
    permissionMessage(source(tree), path, needed)
  t.equal(
    words('/open/f', { self: 4 }),
    'Permission denied: user=bob, access=READ, inode="/open/f":al:staff:-rw-r-----',
  )
  t.equal(
    words('/shut/a/b', { self: 4 }),
    'Permission denied: user=bob, access=EXECUTE, inode="/shut":al:staff:drwx------',
  )
  t.equal(
    words('/open/new/deep', { parent: 2 }),
    'Permission denied: user=bob, access=WRITE, inode="/open":al:staff:drwxr-xr-x',
  )
  t.equal(words('/open/f/x', {}), '/open/f (is not a directory)')
  t.match(words('/open', { owner: true }), /user=bob is not the owner of inode=\/open$/)
  t.match(words('/open', { superuser: true }), /Superuser privilege is required/)
  t.match(words('/sticky/f', { parent: 2 }), /^Permission denied by sticky bit: user=bob/)
  t.end()
})
