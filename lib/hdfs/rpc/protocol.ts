/**
 * What a server answers: protocols by name, each a table of methods over protobuf bytes.
 *
 * Invariants:
 * - A method gets the bytes of its request message and answers with those of its response; what it
 *   throws becomes an exception at the client and never ends the connection.
 * - A method that needs no disk answers synchronously, so that its reply leaves with its batch.
 */

import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import type { DescMessage, DescMethod, MessageInitShape, MessageShape } from '@bufbuild/protobuf'
import type { GenService, GenServiceMethods } from '@bufbuild/protobuf/codegenv2'
import { RpcRequestError } from './errors.js'

/** One call, as far as methods care. */
export interface RpcCall {
  /** Effective user of the connection. */
  readonly user: string
  /** Address of the client, without the port. */
  readonly address: string
  /** Identifies the client process; 16 bytes, or empty. */
  readonly clientId: Uint8Array
  /** Unique among the calls of one client. */
  readonly callId: number
  /** How often the client has sent this call before; -1 if it does not say. */
  readonly retryCount: number
}

/** Answers one method. */
export type RpcMethod = (request: Uint8Array, call: RpcCall) => Uint8Array | Promise<Uint8Array>

/** A protocol that a server speaks. */
export interface RpcProtocol {
  /** Java name of the interface, as request headers carry it. */
  readonly name: string
  readonly version: number
  /** By wire name. */
  readonly methods: ReadonlyMap<string, RpcMethod>
}

/** Handlers of a generated service, by method name; methods left out do not exist. */
export type Handlers<Methods extends GenServiceMethods> = {
  [Name in keyof Methods]?: (
    request: MessageShape<Methods[Name]['input']>,
    call: RpcCall,
  ) => Answer<MessageInitShape<Methods[Name]['output']>>
}

type Answer<T> = T | Promise<T>

const READ = { readUnknownFields: false }
const WRITE = { writeUnknownFields: false }

/**
 * Makes the method table of a service from typed handlers.
 *
 * @param service - The generated service.
 * @param handlers - What answers each method.
 */
export function methodsOf<Methods extends GenServiceMethods>(
  service: GenService<Methods>,
  handlers: Handlers<Methods>,
): Map<string, RpcMethod> {
  const table = new Map<string, RpcMethod>()
  for (const method of service.methods) {
    const handler = handlers[method.localName] as Handler | undefined
    if (handler !== undefined) table.set(method.name, bind(method, handler))
  }
  return table
}

type Handler = (request: unknown, call: RpcCall) => Answer<MessageInitShape<DescMessage>>

function bind(method: DescMethod, handler: Handler): RpcMethod {
  const { input, output } = method
  const encode = (init: MessageInitShape<DescMessage>): Uint8Array =>
    toBinary(output, create(output, init), WRITE)
  return (request, call) => {
    const answer = handler(decode(input, request), call)
    return answer instanceof Promise ? answer.then(encode) : encode(answer)
  }
}

function decode(input: DescMessage, request: Uint8Array): unknown {
  try {
    return fromBinary(input, request, READ)
  } catch (error) {
    throw new RpcRequestError(`request is not a valid ${input.name}`, error)
  }
}
