import t from 'tap'
import fc from 'fast-check'
import { JavaException } from '../../lib/java-exceptions.js'
import { toJson } from '../../lib/webhdfs/json.js'
import { Parameters } from '../../lib/webhdfs/parameters.js'
import { absolutePath, encodePath, parseTarget } from '../../lib/webhdfs/target.js'
import { decodeXattr, xattrName } from '../../lib/webhdfs/operations/attributes.js'
import { defaultSnapshotName } from '../../lib/webhdfs/operations/snapshots.js'

/** Runs `call` and gives back the exception it must throw. */
function refusal(call: () => unknown): JavaException {
  try {
    call()
  } catch (error) {
    if (error instanceof JavaException) return error
    throw error
  }
  throw new Error('nothing was refused')
}

void t.test('a target is split into path and parameters', t => {
  const target = parseTarget('/webhdfs/v1/a%20b/c%2Fd/%E4%B8%AD?op=OPEN&Offset=7&user.name=bob')
  t.equal(target?.path, '/a b/c/d/中')
  t.equal(target?.parameters.text('op'), 'OPEN')
  t.equal(target?.parameters.integer('offset', 0), 7, 'names are case-insensitive')
  t.equal(parseTarget('/webhdfs/v1?op=LISTSTATUS')?.path, '/')
  t.equal(parseTarget('/webhdfs/v1/?op=LISTSTATUS')?.path, '/')
  t.equal(parseTarget('/webhdfs/v1//a///b/?op=X')?.path, '/a/b')
  t.equal(parseTarget('/webhdfs/v2/a?op=OPEN'), undefined)
  t.equal(parseTarget('/webhdfs/v1x?op=OPEN'), undefined)
  t.end()
})

void t.test('a path is decoded once', t => {
  t.equal(parseTarget('/webhdfs/v1/a%2525')?.path, '/a%25')
  t.equal(parseTarget('/webhdfs/v1/a+b')?.path, '/a+b', 'a plus in a path is a plus')
  t.end()
})

void t.test('a path that is not one is refused', t => {
  for (const path of ['/..', '/a/../b', '/a/%2e%2e/b', '/a/.', '/a%00b', '/%2e/x']) {
    t.equal(refusal(() => parseTarget(`/webhdfs/v1${path}`)).type, 'InvalidPath', path)
  }
  for (const path of ['/%', '/%zz', '/%ff%fe']) {
    t.equal(refusal(() => parseTarget(`/webhdfs/v1${path}`)).type, 'IllegalArgument', path)
  }
  t.equal(refusal(() => absolutePath('a')).type, 'InvalidPath')
  t.equal(refusal(() => absolutePath(`/${'x'.repeat(9000)}`)).type, 'InvalidPath')
  t.end()
})

void t.test('encoding and decoding a path are inverse', t => {
  const names = fc.array(
    fc
      .string({ unit: 'grapheme', minLength: 1, maxLength: 20 })
      .filter(name => !/[/\0]/.test(name) && name !== '.' && name !== '..'),
    { maxLength: 5 },
  )
  fc.assert(
    fc.property(names, list => {
      const path = absolutePath(`/${list.join('/')}`)
      return parseTarget(`/webhdfs/v1${encodePath(path)}?op=OPEN`)?.path === path
    }),
  )
  t.end()
})

void t.test('arbitrary targets are parsed or refused, never worse', t => {
  fc.assert(
    fc.property(fc.string(), text => {
      try {
        parseTarget(`/webhdfs/v1/${text}`)
        return true
      } catch (error) {
        return error instanceof JavaException
      }
    }),
  )
  t.end()
})

void t.test('parameters are validated with words that name them', t => {
  const of = (query: string): Parameters => new Parameters(query)
  t.equal(of('a=1+2%2B3').text('a'), '1 2+3')
  t.equal(of('overwrite=TRUE').boolean('overwrite', false), true)
  t.equal(of('').boolean('overwrite', true), true)
  t.equal(of('permission=1777').permission('permission', 0o755), 0o1777)
  t.equal(of('permission=0755').permission('permission', 0o644), 0o755)
  t.equal(of('').permission('permission', 0o644), 0o644)
  t.equal(of('length=').integer('length', 0), undefined)
  t.same(of('xattr.name=a&xattr.name=b').all('xattr.name'), ['a', 'b'])
  const bad: [string, (parameters: Parameters) => unknown, RegExp][] = [
    ['offset=-1', p => p.integer('offset', 0), /Invalid parameter range: offset = -1 < 0/],
    ['offset=abc', p => p.integer('offset', 0), /"offset": Failed to parse "abc"/],
    ['offset=1e3', p => p.integer('offset', 0), /Failed to parse/],
    ['offset=9223372036854775808', p => p.integer('offset', 0), /offset = 9223372036854775808 >/],
    ['overwrite=maybe', p => p.boolean('overwrite', false), /Failed to parse "maybe" to Boolean/],
    ['permission=999', p => p.permission('permission', 0), /radix-8/],
    ['permission=7777', p => p.permission('permission', 0), /radix-8/],
    ['encoding=ROT13', p => p.choice('encoding', ['TEXT', 'HEX']), /"ROT13" is not one of/],
    ['fsaction=rw', p => p.matching('fsaction', /^[r-][w-][x-]$/), /does not belong/],
    ['x=1', p => p.required('destination'), /destination is null or empty/],
  ]
  for (const [query, read, words] of bad) {
    const exception = refusal(() => read(of(query)))
    t.equal(exception.type, 'IllegalArgument', query)
    t.match(exception.message, words)
  }
  t.equal(refusal(() => of('a=%ff')).type, 'IllegalArgument')
  t.equal(refusal(() => of('a=1&'.repeat(300))).type, 'IllegalArgument')
  t.end()
})

void t.test('JSON carries 64-bit integers', t => {
  const text = toJson({ a: 2n ** 62n, b: [1, null, true, 'ü"'], c: {} })
  t.equal(text, '{"a":4611686018427387904,"b":[1,null,true,"ü\\""],"c":{}}')
  t.end()
})

void t.test('values of extended attributes come as hex, base64 or text', t => {
  t.same(decodeXattr('0x616263'), Buffer.from('abc'))
  t.same(decodeXattr('0sYWJj'), Buffer.from('abc'))
  t.same(decodeXattr('"abc"'), Buffer.from('abc'))
  t.same(decodeXattr('abc'), Buffer.from('abc'))
  t.same(decodeXattr(''), Buffer.alloc(0))
  t.equal(refusal(() => decodeXattr('0x123')).type, 'IO')
  t.equal(xattrName('USER.Ab'), 'user.Ab')
  t.equal(refusal(() => xattrName('plain')).type, 'HadoopIllegalArgument')
  t.end()
})

void t.test('a snapshot without a name gets the one HDFS would give', t => {
  const name = defaultSnapshotName(new Date('2026-11-22T10:04:05.678Z'))
  t.equal(name, 's20261122-100405.678')
  t.end()
})
