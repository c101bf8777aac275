/**
 * What the scripted scenario (`test/clients/java`) finds on an HDFS 3.4 with one DataNode, step by
 * step: values as they are, failures as the exception class that clients test for.
 *
 * The values are those of a real one; {@link DIFFERENT_HERE} holds the few where Lockstep promises
 * something else, each with its reason.
 */

/** A step's value, or the class of the exception it must end with. */
export type Expected = { value: unknown } | { error: string; message?: RegExp }

const HDFS = 'org.apache.hadoop.hdfs.protocol'
const FS = 'org.apache.hadoop.fs'

const FILE_STEPS: Record<string, Expected> = {
  'write-blocks': {
    value: {
      length: 5_255_225,
      blockSize: 1_048_576,
      blocks: [
        [0, 1_048_576, 1],
        [1_048_576, 1_048_576, 1],
        [2_097_152, 1_048_576, 1],
        [3_145_728, 1_048_576, 1],
        [4_194_304, 1_048_576, 1],
        [5_242_880, 12_345, 1],
      ],
      same: true,
    },
  },
  'parallel-positional-reads': { value: { reads: 800, wrong: 0 } },
  'seek-and-read': {
    value: { wrong: 0, readAtEnd: -1, positionalAtEnd: -1, seekPastEnd: 'EOFException' },
  },
  append: { value: { length: 202_048, same: true } },
  hflush: {
    value: {
      readable: [1000, 1024, 101_024],
      closedBefore: false,
      closedAfter: true,
      length: 101_024,
    },
  },
  'hsync-length': { value: [100, 5100] },
  truncate: { value: { done: false, length: 4321, same: true } },
  concat: { value: { length: 3_145_728, same: true, sourcesLeft: false } },
  'checksum-md5': { value: { algorithm: 'MD5-of-2048MD5-of-512CRC32C', same: true } },
  'checksum-composite': { value: { algorithm: 'COMPOSITE-CRC32C', same: true } },
  'empty-file': { value: [0, -1] },
  overwrite: { value: [1234, true] },
  'reader-outlives-delete': { value: true },
}

const NAMESPACE_STEPS: Record<string, Expected> = {
  'list-iterator': { value: { count: 2500, ordered: true, listStatus: 2500 } },
  'list-order': { value: ['é', '中', '0', 'A', 'Z', 'a b', 'a%20b', 'a+b', 'b'] },
  'list-located': { value: { 'a/b/file': [1000, 1], 'a/file': [2000, 1], file: [3000, 1] } },
  rename: {
    value: {
      toNew: true,
      intoDirectory: true,
      arrived: true,
      missing: false,
      ontoFile: false,
      missingParent: false,
      ontoItself: true,
      below: false,
    },
  },
  'rename-overwrite': { value: [111, false] },
  delete: { value: { tree: true, left: false, missing: false } },
  attributes: {
    value: {
      permission: 'rw-r-----',
      owner: 'alice',
      group: 'analysts',
      replication: 3,
      sticky: 'rwxrwxrwt',
    },
  },
  times: { value: [1_111_111_111_111, 1_222_222_222_222, 1_333_333_333_333, 1_222_222_222_222] },
  'content-summary': { value: { length: 6000, files: 3, directories: 3, quota: -1 } },
  xattrs: { value: { names: ['user.colour', 'user.empty'], colour: '010203', left: 1 } },
  server: {
    value: {
      blockSize: 134_217_728,
      bytesPerChecksum: 512,
      checksum: 'CRC32C',
      encrypts: false,
      capacityIsReal: true,
      dataNodes: 1,
      home: '/user/root',
    },
  },
}

const SNAPSHOT_STEPS: Record<string, Expected> = {
  'snapshot-create': { value: '/scenario/history/.snapshot/before' },
  'snapshot-read': {
    value: {
      kept: true,
      changed: true,
      removed: true,
      moved: true,
      changedLength: 5000,
      names: ['changed', 'dir', 'kept', 'moved', 'moved-tree', 'old-tree', 'removed'],
    },
  },
  // Of a new or deleted directory only the top; what changed in a moved one by its old path.
  'snapshot-diff': {
    value: [
      '+ added',
      '+ moved-tree/inner/file',
      '+ moved-tree/inner/fresh',
      '+ new-tree',
      '- moved-tree/gone',
      '- moved-tree/inner/file',
      '- old-tree',
      '- removed',
      'M .',
      'M changed',
      'M dir',
      'M dir/inner',
      'M moved-tree',
      'M moved-tree/inner',
      'R kept -> new-tree/kept',
      'R moved -> dir/moved-here',
      'R moved-tree -> dir/moved-tree',
    ],
  },
  'snapshot-diff-now': { value: ['+ latest', 'M .'] },
  'snapshot-rename': { value: ['before', 'later'] },
  'snapshot-listing': { value: { snapshots: 2, names: 2 } },
  'snapshot-open-file': {
    value: { whileOpen: 3000, closed: 103_000, live: 103_000, same: false },
  },
  'snapshot-rename-directory': { error: `${HDFS}.SnapshotException` },
  'snapshot-nested': { error: `${HDFS}.SnapshotException` },
  'snapshot-delete': { value: true },
}

const ERROR_STEPS: Record<string, Expected> = {
  'error-prepare': { value: true },
  'error-open-missing': { error: 'java.io.FileNotFoundException', message: /does not exist/ },
  'error-stat-missing': { error: 'java.io.FileNotFoundException', message: /does not exist/ },
  'error-list-missing': { error: 'java.io.FileNotFoundException', message: /does not exist/ },
  'error-open-directory': { error: 'java.io.FileNotFoundException', message: /is not a file/ },
  'error-create-exists': { error: `${FS}.FileAlreadyExistsException` },
  'error-create-directory': { error: `${FS}.FileAlreadyExistsException` },
  'error-mkdir-file': { error: `${FS}.FileAlreadyExistsException` },
  'error-mkdir-below-file': { error: `${FS}.ParentNotDirectoryException` },
  'error-delete-full': { error: `${FS}.PathIsNotEmptyDirectoryException` },
  'error-append-missing': { error: 'java.io.FileNotFoundException' },
  'error-rename2-missing': { error: 'java.io.FileNotFoundException' },
  'error-rename2-exists': { error: `${FS}.FileAlreadyExistsException` },
  'error-rename2-full': { error: 'java.io.IOException', message: /not empty/ },
  'error-rename2-below': { error: 'java.io.IOException', message: /under source/ },
  'error-lease': { error: `${HDFS}.AlreadyBeingCreatedException` },
  'error-permission-create': {
    error: 'org.apache.hadoop.security.AccessControlException',
    message: /^Permission denied: user=bob, access=WRITE, inode="\/scenario\/errors":root:/,
  },
  'error-permission-open': {
    error: 'org.apache.hadoop.security.AccessControlException',
    message: /^Permission denied: user=bob, access=READ, inode="\/scenario\/errors\/secret":root:/,
  },
  'error-permission-owner': {
    error: 'org.apache.hadoop.security.AccessControlException',
    message: /^Permission denied. user=bob is not the owner of inode=/,
  },
  'error-snapshot-write': { error: `${HDFS}.SnapshotAccessControlException` },
  'error-snapshot-delete': { error: `${HDFS}.SnapshotAccessControlException` },
  'error-snapshot-exists': { error: `${HDFS}.SnapshotException` },
  'error-snapshot-missing': { error: `${HDFS}.SnapshotException` },
  'error-snapshot-holds': { error: `${HDFS}.SnapshotException`, message: /snapshots/ },
  'error-snapshot-slash': { error: `${FS}.InvalidPathException` },
  'error-snapshot-dot': { error: `${FS}.InvalidPathException` },
  'error-snapshot-dotdot': { error: `${FS}.InvalidPathException` },
  'error-snapshot-long': { error: `${HDFS}.FSLimitException$PathComponentTooLongException` },
  'error-snapshot-of-file': { error: `${FS}.PathIsNotDirectoryException` },
  'error-reserved-name': { error: 'org.apache.hadoop.HadoopIllegalArgumentException' },
  'error-name-too-long': { error: `${HDFS}.FSLimitException$PathComponentTooLongException` },
  'error-xattr-missing': { error: `${HDFS}.XAttrNotFoundException` },
  'error-truncate-longer': { error: 'org.apache.hadoop.HadoopIllegalArgumentException' },
}

/** Steps whose outcome differs from the reference's, with the reason. */
export const DIFFERENT_HERE: Record<string, { reason: string; expected: Expected }> = {
  truncate: {
    reason: 'a cut needs no block recovery here, so it is done when the call returns',
    expected: { value: { done: true, length: 4321, same: true } },
  },
  'snapshot-open-file': {
    reason: 'a snapshot never grows with a file that was open when it was taken',
    expected: { value: { whileOpen: 3000, closed: 3000, live: 103_000, same: true } },
  },
  'snapshot-rename-directory': {
    reason: 'a directory that has snapshots may be renamed, and keeps them',
    expected: { value: [true, true, true] },
  },
  'snapshot-nested': {
    reason: 'a directory may have snapshots below another that has some',
    expected: { value: ['/', '/scenario/history', '/scenario/history/dir'] },
  },
}

/** Every step of the scenario with what it must find. */
export const EXPECTED: Record<string, Expected> = {
  ...FILE_STEPS,
  ...NAMESPACE_STEPS,
  ...SNAPSHOT_STEPS,
  ...ERROR_STEPS,
  ...Object.fromEntries(Object.entries(DIFFERENT_HERE).map(([step, d]) => [step, d.expected])),
}
