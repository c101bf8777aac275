/**
 * Failures of the RPC layer itself, with the numbers and class names that clients expect.
 *
 * Invariants:
 * - `RpcFatalError` ends its connection after the reply; every other error ends only its call.
 */

import { toJavaException } from '../../java-exceptions.js'

/** `RpcErrorCodeProto` of Hadoop's RPC header. */
export const ERROR_DETAIL = {
  application: 1,
  noSuchMethod: 2,
  noSuchProtocol: 3,
  rpcServer: 4,
  versionMismatch: 6,
  fatalUnknown: 10,
  fatalUnsupportedSerialization: 11,
  fatalInvalidHeader: 12,
  fatalDeserializing: 13,
  fatalVersionMismatch: 14,
  fatalUnauthorized: 15,
} as const

/** `RpcStatusProto`. */
export const STATUS = { success: 0, error: 1, fatal: 2 } as const

const RPC_SERVER = 'org.apache.hadoop.ipc.RpcServerException'

/** A failure as the response header carries it. */
export interface Failure {
  readonly status: number
  readonly detail: number
  readonly javaClass: string
  readonly message: string
}

/** The connection cannot go on: the client is told why, then it is closed. */
export class RpcFatalError extends Error {
  readonly detail: number
  readonly javaClass: string

  constructor(detail: number, message: string, javaClass = RPC_SERVER) {
    super(message)
    this.name = 'RpcFatalError'
    this.detail = detail
    this.javaClass = javaClass
  }
}

/** One call cannot be served: no such method or protocol, or its bytes make no sense. */
export class RpcRequestError extends Error {
  readonly detail: number
  readonly javaClass: string

  constructor(
    message: string,
    cause?: unknown,
    detail: number = ERROR_DETAIL.rpcServer,
    javaClass = RPC_SERVER,
  ) {
    super(message, cause === undefined ? undefined : { cause })
    this.name = 'RpcRequestError'
    this.detail = detail
    this.javaClass = javaClass
  }
}

/** No method of that name in the protocol. */
export function noSuchMethod(method: string, protocol: string): RpcRequestError {
  return new RpcRequestError(
    `Unknown method ${method} called on ${protocol} protocol.`,
    undefined,
    ERROR_DETAIL.noSuchMethod,
    'org.apache.hadoop.ipc.RpcNoSuchMethodException',
  )
}

/** The server does not speak that protocol. */
export function noSuchProtocol(protocol: string): RpcRequestError {
  return new RpcRequestError(
    `Unknown protocol: ${protocol}`,
    undefined,
    ERROR_DETAIL.noSuchProtocol,
    'org.apache.hadoop.ipc.RpcNoSuchProtocolException',
  )
}

/** The client speaks another version of a protocol. */
export function versionMismatch(protocol: string, client: string, server: number): RpcRequestError {
  return new RpcRequestError(
    `Protocol ${protocol} version mismatch. (client = ${client}, server = ${server})`,
    undefined,
    ERROR_DETAIL.versionMismatch,
    'org.apache.hadoop.ipc.RPC$VersionMismatch',
  )
}

/** What the response header says about anything that a call threw. */
export function failureOf(error: unknown): Failure {
  if (error instanceof RpcFatalError) {
    const { detail, javaClass, message } = error
    return { status: STATUS.fatal, detail, javaClass, message }
  }
  if (error instanceof RpcRequestError) {
    const { detail, javaClass, message } = error
    return { status: STATUS.error, detail, javaClass, message }
  }
  const exception = toJavaException(error, { path: '' })
  return {
    status: STATUS.error,
    detail: ERROR_DETAIL.application,
    javaClass: exception.javaClassName,
    message: exception.message,
  }
}
