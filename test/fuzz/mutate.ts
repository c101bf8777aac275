/** Inputs that are almost right: seeds, bent where decoders are weak. */

/** A sequence of numbers that its seed decides (mulberry32). */
export class Random {
  #state: number

  constructor(seed: number) {
    this.#state = seed >>> 0
  }

  /** A number below `end`; 0 if that is 0. */
  below(end: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) % Math.max(end, 1)
  }

  /** One of `list`. */
  of<T>(list: readonly T[]): T {
    const found = list[this.below(list.length)]
    if (found === undefined) throw new Error('nothing to choose from')
    return found
  }
}

/** Numbers at which lengths overflow, wrap or exceed a limit, in the codings that there are. */
const EXTREMES = [
  '00',
  '7f',
  '80',
  'ff',
  '7fff',
  'ffff',
  '7fffffff',
  '80000000',
  'ffffffff',
  'ffffff7f',
  '00000001',
  'ffffffffffffffff',
  'ffffffffffffff7f',
  '8001',
  'ffffffff07',
  'ffffffff0f',
  'ffffffffffffffffff01',
].map(hex => Buffer.from(hex, 'hex'))

/** Texts with a meaning somewhere. */
const WORDS = ['/', '..', '%', '%2f', '%00', '\0', '&', '=', '"', '{', 'é', '-1', '1e99', 'null']

const INPUT_BYTES_MAX = 16 * 1024

/** One of `seeds` with one to four changes. */
export function mutate(random: Random, seeds: readonly Buffer[]): Buffer {
  let input = random.of(seeds)
  for (let changes = 1 + random.below(4); changes > 0; changes--) {
    input = changed(random, input, seeds)
  }
  return input.subarray(0, INPUT_BYTES_MAX)
}

function changed(random: Random, input: Buffer, seeds: readonly Buffer[]): Buffer {
  const at = random.below(input.length)
  const end = at + random.below(Math.min(input.length - at, 32) + 1)
  const [before, behind] = [input.subarray(0, at), input.subarray(at)]
  switch (random.below(7)) {
    case 0: {
      const copy = Buffer.from(input)
      if (copy.length > 0) copy[at] = (copy[at] ?? 0) ^ (1 << random.below(8))
      return copy
    }
    case 1:
      return before
    case 2:
      return Buffer.concat([before, input.subarray(end)])
    case 3:
      return Buffer.concat([before, input.subarray(at, end), behind])
    case 4: {
      const other = random.of(seeds)
      return Buffer.concat([before, other.subarray(random.below(other.length))])
    }
    case 5: {
      const extreme = random.of(EXTREMES)
      const over = random.below(2) * extreme.length
      return Buffer.concat([before, extreme, behind.subarray(over)])
    }
    default:
      return Buffer.concat([before, Buffer.from(random.of(WORDS)), behind])
  }
}
