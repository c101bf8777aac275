/**
 * Query parameters of WebHDFS, read with Hadoop's rules and answered with Hadoop's words.
 *
 * Invariants:
 * - Names are case-insensitive; of a name given twice the first counts, except where a list is read.
 * - Percent-decoding happens once; bytes that are not UTF-8 are refused, never replaced.
 * - A value out of its range is `IllegalArgumentException` (400), and nothing has been done.
 */
import { JavaException } from '../java-exceptions.js'

/** Largest offset, length or time that is taken: what a double holds exactly. */
const LONG_MAX = Number.MAX_SAFE_INTEGER

/** Most parameters in one query. */
const PARAMETER_COUNT_MAX = 256

function invalid(name: string, why: string): JavaException {
  return new JavaException(
    'IllegalArgument',
    `Invalid value for webhdfs parameter "${name}": ${why}`,
  )
}

/** Decodes a percent-encoded text once, strictly. */
export function decodeStrict(text: string, name: string): string {
  try {
    return decodeURIComponent(text)
  } catch (error) {
    throw new JavaException('IllegalArgument', `${name} is not valid percent-encoded UTF-8`, error)
  }
}

/** The parameters of one request. */
export class Parameters {
  readonly #values = new Map<string, string[]>()

  /** @param query - The part of the request target after `?`, still encoded. */
  constructor(query: string) {
    if (query === '') return
    const pairs = query.split('&')
    if (pairs.length > PARAMETER_COUNT_MAX) {
      throw new JavaException('IllegalArgument', 'Too many query parameters')
    }
    for (const pair of pairs) this.#add(pair)
  }

  #add(pair: string): void {
    if (pair === '') return
    const equals = pair.indexOf('=')
    const rawName = equals < 0 ? pair : pair.slice(0, equals)
    const rawValue = equals < 0 ? '' : pair.slice(equals + 1)
    const name = decodeStrict(rawName.replaceAll('+', ' '), 'A parameter name').toLowerCase()
    const value = decodeStrict(rawValue.replaceAll('+', ' '), `The parameter "${name}"`)
    const values = this.#values.get(name)
    if (values === undefined) this.#values.set(name, [value])
    else values.push(value)
  }

  /** Whether the parameter is there, be it empty. */
  has(name: string): boolean {
    return this.#values.has(name)
  }

  /** The text, or undefined if it is missing or empty. */
  text(name: string): string | undefined {
    const value = this.#values.get(name)?.[0]
    return value === '' ? undefined : value
  }

  /** The text, even if empty; undefined if it is missing. */
  raw(name: string): string | undefined {
    return this.#values.get(name)?.[0]
  }

  /** The text; a missing or empty one is refused. */
  required(name: string): string {
    const value = this.text(name)
    if (value === undefined) {
      throw new JavaException('IllegalArgument', `Required param ${name} is null or empty`)
    }
    return value
  }

  /** Every value of a name. */
  all(name: string): readonly string[] {
    return this.#values.get(name) ?? []
  }

  /** Every name with its values, names in lower case. */
  entries(): IterableIterator<[string, string[]]> {
    return this.#values.entries()
  }

  /** `true` or `false` in any case. */
  boolean(name: string, missing: boolean): boolean {
    const value = this.text(name)?.toLowerCase()
    if (value === undefined || value === 'null') return missing
    if (value === 'true') return true
    if (value === 'false') return false
    throw invalid(name, `Failed to parse "${value}" to Boolean.`)
  }

  /** A whole number in `[least, most]`, or undefined if it is missing. */
  integer(name: string, least: number, most: number = LONG_MAX): number | undefined {
    const value = this.text(name)
    if (value === undefined || value === 'null') return undefined
    if (!/^[+-]?[0-9]{1,19}$/.test(value)) {
      throw invalid(name, `Failed to parse "${value}" as a radix-10 long integer.`)
    }
    const number = Number(value)
    if (number < least) throw range(name, value, '<', least)
    if (number > most) throw range(name, value, '>', most)
    return number
  }

  /** Permission bits in octal, `0` to `1777`. */
  permission(name: string, missing: number): number {
    const value = this.text(name)
    if (value === undefined || value === 'null') return missing
    if (!/^0*[0-1]?[0-7]{1,3}$/.test(value)) {
      throw invalid(name, `Failed to parse "${value}" as a radix-8 short integer.`)
    }
    return Number.parseInt(value, 8)
  }

  /** A value of a fixed set, compared in upper case. */
  choice<T extends string>(name: string, choices: readonly T[]): T | undefined {
    const value = this.text(name)?.toUpperCase()
    if (value === undefined || value === 'NULL') return undefined
    const found = choices.find(choice => choice === value)
    if (found === undefined) throw invalid(name, `"${value}" is not one of ${choices.join(', ')}`)
    return found
  }

  /** A text that must match a pattern. */
  matching(name: string, pattern: RegExp): string | undefined {
    const value = this.text(name)
    if (value === undefined) return undefined
    if (!pattern.test(value)) {
      throw invalid(
        name,
        `Invalid value: "${value}" does not belong to the domain ${pattern.source}`,
      )
    }
    return value
  }
}

function range(name: string, value: string, sign: string, bound: number): JavaException {
  return new JavaException(
    'IllegalArgument',
    `Invalid parameter range: ${name} = ${value} ${sign} ${String(bound)}`,
  )
}
