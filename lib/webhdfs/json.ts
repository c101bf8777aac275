/**
 * JSON as Hadoop's WebHDFS writes it: 64-bit numbers stand as plain integers.
 *
 * Invariant: only values made by this service are written, so nesting is shallow and known.
 */

/** What can be written. */
export type Json = string | number | bigint | boolean | null | Json[] | { [key: string]: Json }

/** The text of a value; a bigint becomes an integer of any size, which `JSON.stringify` refuses. */
export function toJson(value: Json): string {
  if (typeof value === 'bigint') return value.toString()
  if (value === null || typeof value !== 'object') return JSON.stringify(value)
  if (Array.isArray(value)) return `[${value.map(toJson).join(',')}]`
  const fields = Object.entries(value).map(([key, field]) => `"${key}":${toJson(field)}`)
  return `{${fields.join(',')}}`
}
