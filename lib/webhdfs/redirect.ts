/**
 * The two steps of operations that move bytes. The first answers where to go, as a NameNode does;
 * the second does the work, as a DataNode does. Both live on this port.
 *
 * Invariant: whatever the first step was asked is in the Location, so the second needs nothing else.
 */
import { encodePath, PREFIX } from './target.js'
import type { Exchange } from './exchange.js'
import { rpcAddress } from './operations/data.js'
import type { Parameters } from './parameters.js'

/** Parameters that only a second step carries: Hadoop's, and HttpFS's. */
const SECOND_STEP = 'namenoderpcaddress'
const SECOND_STEP_HTTPFS = 'data'

/** What a real NameNode writes into the Location where the client said nothing. */
const DEFAULTS: Readonly<Record<string, readonly (readonly [string, string])[]>> = {
  CREATE: [
    ['createflag', ''],
    ['createparent', 'true'],
    ['overwrite', 'false'],
  ],
  OPEN: [['offset', '0']],
}

/** Whether a request is the step that moves the bytes. */
export function isSecondStep(parameters: Parameters): boolean {
  return parameters.has(SECOND_STEP) || parameters.boolean(SECOND_STEP_HTTPFS, false)
}

/** Where the second step of an operation goes. */
export function redirectLocation(exchange: Exchange, operation: string): string {
  const { parameters, path, authority, user } = exchange
  const query: string[] = [`op=${operation}`]
  query.push(`user.name=${encodeURIComponent(user.name)}`)
  query.push(`${SECOND_STEP}=${encodeURIComponent(rpcAddress(exchange))}`)
  for (const [name, value] of DEFAULTS[operation] ?? []) {
    if (!parameters.has(name)) query.push(`${name}=${value}`)
  }
  for (const [name, values] of parameters.entries()) {
    if (name === 'op' || name === 'user.name' || name === 'noredirect') continue
    for (const value of values) {
      query.push(`${encodeURIComponent(name)}=${encodeURIComponent(value)}`)
    }
  }
  return `http://${authority}${PREFIX}${encodePath(path)}?${query.join('&')}`
}
