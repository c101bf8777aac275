/** Encodings of docs/FORMAT.md, "Encoding": fixed and variable integers, blobs, CRC-32C. */

/** Bytes are not what the format says. */
export class FormatProblem extends Error {}

/** Takes fields off the front of `bytes`; reading past the end is a problem. */
export class Cursor {
  readonly bytes: Buffer
  at = 0

  constructor(bytes: Buffer) {
    this.bytes = bytes
  }

  get isAtEnd(): boolean {
    return this.at === this.bytes.length
  }

  raw(count: number): Buffer {
    if (count > this.bytes.length - this.at) throw new FormatProblem('the bytes end early')
    this.at += count
    return this.bytes.subarray(this.at - count, this.at)
  }

  rest(): Buffer {
    return this.raw(this.bytes.length - this.at)
  }

  u8(): number {
    return this.raw(1).readUInt8()
  }

  u16(): number {
    return this.raw(2).readUInt16LE()
  }

  u32(): number {
    return this.raw(4).readUInt32LE()
  }

  u64(): number {
    return safe(this.raw(8).readBigUInt64LE())
  }

  u32be(): number {
    return this.raw(4).readUInt32BE()
  }

  u64be(): number {
    return safe(this.raw(8).readBigUInt64BE())
  }

  /** An unsigned LEB128 of at most 64 bits. */
  bigVarint(): bigint {
    let value = 0n
    for (let shift = 0n; shift < 64n; shift += 7n) {
      const byte = this.u8()
      value |= BigInt(byte & 0x7f) << shift
      if (byte < 0x80) {
        if (value >> 64n !== 0n) break
        return value
      }
    }
    throw new FormatProblem('a varint has more than 64 bits')
  }

  varint(): number {
    return safe(this.bigVarint())
  }

  /** A zigzag varint. */
  signed(): number {
    const value = this.bigVarint()
    return safe(value & 1n ? -(value >> 1n) - 1n : value >> 1n)
  }

  blob(): Buffer {
    return this.raw(this.varint())
  }

  /** Ends the record: bytes left over make it invalid. */
  end(): void {
    if (!this.isAtEnd) throw new FormatProblem('bytes are left over')
  }
}

/** No number that stands for a place or an amount comes near 2^53 in a store of this size. */
function safe(value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER) || value < -BigInt(Number.MAX_SAFE_INTEGER)) {
    throw new FormatProblem(`${value} is not a number that a small store holds`)
  }
  return Number(value)
}

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1
  return crc >>> 0
})

/** CRC-32C: Castagnoli, reflected, init and xor all ones. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff
  for (const byte of bytes) crc = (crc >>> 8) ^ (TABLE[(crc ^ byte) & 0xff] ?? 0)
  return (crc ^ 0xffffffff) >>> 0
}

/** Ends a record whose last four bytes are the checksum of those before them. */
export function endWithChecksum(cursor: Cursor): void {
  const covered = cursor.bytes.subarray(0, cursor.at)
  if (cursor.u32() !== crc32c(covered)) throw new FormatProblem('a checksum does not match')
  cursor.end()
}
