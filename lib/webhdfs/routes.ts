/** The table of operations: HTTP method and `op` to what runs. */
import type { Operation, OperationTable } from './exchange.js'
import { ATTRIBUTES } from './operations/attributes.js'
import { DATA } from './operations/data.js'
import { LISTING } from './operations/listing.js'
import { NAMESPACE } from './operations/namespace.js'
import { SNAPSHOTS } from './operations/snapshots.js'
import { SYSTEM } from './operations/system.js'

const TABLES: Readonly<Record<string, OperationTable>> = {
  GET: { ...DATA.GET, ...ATTRIBUTES.GET, ...LISTING.GET, ...SNAPSHOTS.GET, ...SYSTEM.GET },
  PUT: { ...DATA.PUT, ...NAMESPACE.PUT, ...ATTRIBUTES.PUT, ...SNAPSHOTS.PUT, ...SYSTEM.PUT },
  POST: { ...DATA.POST, ...NAMESPACE.POST, ...SYSTEM.POST },
  DELETE: { ...NAMESPACE.DELETE, ...SNAPSHOTS.DELETE },
}

/** HTTP methods that carry operations. */
export const METHODS: readonly string[] = Object.keys(TABLES)

/** The operation of a method, or undefined if it has none of that name (upper case). */
export function findOperation(method: string, name: string): Operation | undefined {
  const table = TABLES[method]
  return table !== undefined && Object.hasOwn(table, name) ? table[name] : undefined
}
