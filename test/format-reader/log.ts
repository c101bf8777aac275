/** The intent log: the records of both files, in order, and the operations in them. */
import { Cursor, crc32c, FormatProblem } from './bytes.js'
import { readCreated } from './records.js'

const HEADER_BYTES = 24
const LENGTH_MAX = 64 * 1024 * 1024

export type Operation =
  | { kind: 'put'; tree: number; key: Buffer; value: Buffer }
  | { kind: 'delete'; tree: number; key: Buffer }
  | { kind: 'snapshot'; volume: number; directory: number; name: Buffer; view: number }
  | { kind: 'volume'; view: number; origin: number | undefined; name: Buffer }
  | { kind: 'rename'; volume: number; directory: number; from: Buffer; to: Buffer }
  | { kind: 'bytes'; segment: number; offset: number; bytes: Buffer }

/** The operations of every record from number `from` on, record by record. */
export function readLog(files: Buffer[], from: number): Operation[][] {
  const records = files.map(readRecords).filter(list => list.length > 0)
  records.sort((left, right) => (left[0]?.sequence ?? 0) - (right[0]?.sequence ?? 0))
  const list: Operation[][] = []
  let expected = from
  for (const { sequence, operations } of records.flat()) {
    if (sequence > expected) break
    if (sequence < expected) continue
    list.push(readOperations(operations))
    expected++
  }
  return list
}

interface LogRecord {
  sequence: number
  operations: Buffer
}

/** The records of one file: consecutive numbers from its start, up to what is from an earlier use. */
function readRecords(file: Buffer): LogRecord[] {
  const list: LogRecord[] = []
  for (let at = 0; at + HEADER_BYTES <= file.length;) {
    const header = new Cursor(file.subarray(at, at + HEADER_BYTES))
    const [length, crc] = [header.u32(), header.u32()]
    const end = at + HEADER_BYTES + length
    if (length === 0 || length > LENGTH_MAX || end > file.length) break
    if (crc32c(file.subarray(at + 8, end)) !== crc) break
    const sequence = header.u64()
    const last = list.at(-1)
    if (last !== undefined && sequence !== last.sequence + 1) break
    list.push({ sequence, operations: file.subarray(at + HEADER_BYTES, end) })
    at = end
  }
  return list
}

function readOperations(bytes: Buffer): Operation[] {
  const cursor = new Cursor(bytes)
  const list: Operation[] = []
  while (!cursor.isAtEnd) list.push(readOperation(cursor))
  return list
}

function readOperation(cursor: Cursor): Operation {
  const code = cursor.u8()
  switch (code) {
    case 1:
      return { kind: 'put', tree: cursor.varint(), key: cursor.blob(), value: cursor.blob() }
    case 2:
      return { kind: 'delete', tree: cursor.varint(), key: cursor.blob() }
    case 3: {
      const place = { volume: cursor.varint(), directory: cursor.varint() }
      const named = { name: cursor.blob(), view: cursor.varint() }
      readCreated(cursor)
      return { kind: 'snapshot', ...place, ...named }
    }
    case 4: {
      const [view, origin] = [cursor.varint(), cursor.varint()]
      cursor.varint() // The volume it is attached to.
      cursor.varint() // The directory.
      const name = cursor.blob()
      readCreated(cursor)
      return { kind: 'volume', view, origin: origin === 0 ? undefined : origin - 1, name }
    }
    case 5: {
      const place = { volume: cursor.varint(), directory: cursor.varint() }
      return { kind: 'rename', ...place, from: cursor.blob(), to: cursor.blob() }
    }
    case 6:
      return {
        kind: 'bytes',
        segment: cursor.varint(),
        offset: cursor.varint(),
        bytes: cursor.blob(),
      }
    default:
      throw new FormatProblem(`operation ${code} is unknown`)
  }
}
