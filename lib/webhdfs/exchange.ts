/** One request on its way to an answer, as the operations see it. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { HdfsUser, HdfsUsers } from '../hdfs-users.js'
import type { NeededAccess } from '../java-exceptions.js'
import type { NativeStore, NativeView } from '../native.js'
import type { FileStatusWriter } from './file-status.js'
import type { Json } from './json.js'
import type { WebHdfsOptions } from './options.js'
import type { Parameters } from './parameters.js'

/** What an operation works on. */
export interface Exchange {
  readonly store: NativeStore
  readonly users: HdfsUsers
  readonly options: WebHdfsOptions
  readonly status: FileStatusWriter
  readonly user: HdfsUser
  /** The store with the user's rights. */
  readonly view: NativeView
  readonly path: string
  readonly parameters: Parameters
  readonly request: IncomingMessage
  readonly response: ServerResponse
  /** Authority of this server as the client reached it, `host:port`. */
  readonly authority: string
}

/** A finished answer; `streamed` when the operation wrote the response itself. */
export type Answer =
  | { readonly kind: 'json'; readonly body: Json }
  | { readonly kind: 'empty' }
  | { readonly kind: 'created'; readonly location: string }
  | { readonly kind: 'streamed' }

/** One operation of the REST API. */
export interface Operation {
  /** Does the work; throws what the client is told. */
  readonly run: (exchange: Exchange) => Answer | Promise<Answer>
  /** Changes the store: the answer waits until the change is durable. */
  readonly changes?: boolean
  /** Moves file bytes: the first step answers with a redirect, after this check. */
  readonly redirects?: (exchange: Exchange) => void
  /** What the user needs, for the words of a refusal. */
  readonly needs?: NeededAccess
  /** The parameter that holds a second path which needs the same. */
  readonly secondPath?: string
  /** Kind of names that go wrong. */
  readonly about?: 'path' | 'snapshot' | 'xattr'
  /** The parameter that holds a snapshot's name, for the words of an error. */
  readonly snapshotParameter?: string
}

/** Operations by name, in upper case. */
export type OperationTable = Readonly<Record<string, Operation>>

/** An answer with a JSON body. */
export function json(body: Json): Answer {
  return { kind: 'json', body }
}

/** An answer without a body. */
export const EMPTY: Answer = { kind: 'empty' }
