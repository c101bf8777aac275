/**
 * From an HTTP request to an operation and its answer.
 *
 * Invariants:
 * - Nothing is changed before path, parameters, user and operation have been found valid.
 * - An operation that changes the store is answered after its change is durable.
 * - Whatever an operation throws becomes one RemoteException; nothing escapes to the event loop.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { GroupCommit } from '../group-commit.js'
import type { HdfsUser, HdfsUsers } from '../hdfs-users.js'
import {
  JavaException,
  errorCode,
  findDenied,
  notDirectoryMessage,
  permissionMessage,
  toJavaException,
} from '../java-exceptions.js'
import type { ErrorContext } from '../java-exceptions.js'
import type { NativeStore } from '../native.js'
import { sendAnswer, sendEmpty, sendException, sendJson } from './answer.js'
import type { Exchange, Operation } from './exchange.js'
import type { FileStatusWriter } from './file-status.js'
import type { WebHdfsOptions } from './options.js'
import type { Parameters } from './parameters.js'
import { isSecondStep, redirectLocation } from './redirect.js'
import { METHODS, findOperation } from './routes.js'
import { absolutePath, parseTarget } from './target.js'

/** User names that simple authentication takes: Hadoop's default rule. */
const USER_NAME = /^[A-Za-z_][A-Za-z0-9._-]*[$]?$/

/** Authorities that may stand in a Location. */
const AUTHORITY = /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?$/

/** How long a refused client may go on sending what nobody wants. */
const DRAIN_MS_MAX = 5_000

/** What every request shares. */
export interface Service {
  readonly store: NativeStore
  readonly users: HdfsUsers
  readonly options: WebHdfsOptions
  readonly status: FileStatusWriter
  /** Makes what was changed durable; those who wait share a flush. */
  readonly commit: GroupCommit
}

/**
 * Answers a request to a path of WebHDFS. Never rejects.
 *
 * @returns false, with nothing written, if the path is not WebHDFS's.
 */
export async function handle(
  service: Service,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<boolean> {
  const context: RequestContext = { path: '/' }
  try {
    const target = parseTarget(request.url ?? '/')
    if (target === undefined) return false
    context.path = target.path
    await serve(service, request, response, target.path, target.parameters, context)
  } catch (error) {
    sendException(response, exceptionOf(error, context, service))
    drainRest(request)
  }
  return true
}

/** Lets a client that is still sending its body come to reading the answer, but not for ever. */
function drainRest(request: IncomingMessage): void {
  if (request.complete || request.destroyed) return
  request.resume()
  const timer = setTimeout(() => {
    if (!request.complete) request.destroy()
  }, DRAIN_MS_MAX)
  timer.unref()
  request.once('close', () => {
    clearTimeout(timer)
  })
}

/** What is known of a request when it fails. */
interface RequestContext extends ErrorContext {
  user?: HdfsUser
}

function exceptionOf(error: unknown, context: RequestContext, service: Service): JavaException {
  const { user, path } = context
  if (errorCode(error) === 'ENOTDIR' && context.about !== 'snapshot' && user !== undefined) {
    // The message names the file in the way. Who is not the superuser is not told that it is one.
    const words = findDenied(user.source, path, {}) ?? notDirectoryMessage(path)
    return new JavaException(
      user.isSuperuser ? 'ParentNotDirectory' : 'AccessControl',
      words,
      error,
    )
  }
  if (!(error instanceof JavaException) && errorCode(error) === '') {
    service.options.onError?.(error, `webhdfs ${context.path}`)
    const text = error instanceof Error ? error.message : String(error)
    return new JavaException('Runtime', `${context.path}: ${text}`, error)
  }
  return toJavaException(error, context)
}

async function serve(
  service: Service,
  request: IncomingMessage,
  response: ServerResponse,
  path: string,
  parameters: Parameters,
  context: RequestContext,
): Promise<void> {
  const method = request.method ?? 'GET'
  if (!METHODS.includes(method)) {
    response.setHeader('Allow', METHODS.join(', '))
    sendEmpty(response, 405)
    return
  }
  refuseOtherOrigins(request, method)
  const name = operationName(method, parameters)
  const operation = findOperation(method, name)
  if (operation === undefined) throw unknownOperation(method, name)
  const user = userOf(service.users, parameters)
  context.user = user
  const exchange: Exchange = {
    ...service,
    user,
    view: user.view,
    path,
    parameters,
    request,
    response,
    authority: authorityOf(request),
  }
  describe(context, exchange, operation)
  if (operation.redirects !== undefined && !isSecondStep(parameters)) {
    operation.redirects(exchange)
    sendRedirect(exchange, name)
    return
  }
  const answer = await operation.run(exchange)
  if (operation.changes === true) await service.commit.durable()
  sendAnswer(response, answer)
}

/**
 * A browser page of another origin may send a POST without asking first; with simple
 * authentication it would act as whoever it names.
 */
function refuseOtherOrigins(request: IncomingMessage, method: string): void {
  const origin = request.headers.origin
  if (method === 'GET' || origin === undefined) return
  if (origin === `http://${request.headers.host ?? ''}`) return
  throw new JavaException('Authorization', 'Requests from other origins are not allowed')
}

function operationName(method: string, parameters: Parameters): string {
  const name = parameters.text('op')
  if (name !== undefined) return name.toUpperCase()
  throw new JavaException(
    'IllegalArgument',
    `Invalid value for webhdfs parameter "op": null is not a valid ${method} operation.`,
  )
}

function unknownOperation(method: string, name: string): JavaException {
  const type = `${method.charAt(0)}${method.slice(1).toLowerCase()}OpParam.Op`
  return new JavaException(
    'IllegalArgument',
    `Invalid value for webhdfs parameter "op": ` +
      `No enum constant org.apache.hadoop.hdfs.web.resources.${type}.${name}`,
  )
}

function userOf(users: HdfsUsers, parameters: Parameters): HdfsUser {
  if (parameters.text('delegation') !== undefined) {
    throw new JavaException('Security', 'Delegation tokens are not accepted: none were given out')
  }
  const name = parameters.matching('user.name', USER_NAME) ?? users.serviceUser
  const other = parameters.text('doas')
  if (other !== undefined && other !== name) {
    throw new JavaException('Authorization', `User: ${name} is not allowed to impersonate ${other}`)
  }
  return users.of(name)
}

/** The server as the client named it, so that a Location works wherever the request did. */
function authorityOf(request: IncomingMessage): string {
  const host = request.headers.host
  if (host !== undefined && AUTHORITY.test(host)) return host
  const { localAddress = '127.0.0.1', localPort = 0 } = request.socket
  const address = localAddress.includes(':') ? `[${localAddress}]` : localAddress
  return `${address}:${String(localPort)}`
}

/** Fills in what the words of an error need. */
function describe(context: ErrorContext, exchange: Exchange, operation: Operation): void {
  if (operation.about !== undefined) context.about = operation.about
  if (operation.snapshotParameter !== undefined) {
    context.snapshot = exchange.parameters.text(operation.snapshotParameter) ?? ''
  }
  context.denied = () => deniedText(exchange, operation)
}

function deniedText({ user, path, parameters }: Exchange, operation: Operation): string {
  const needed = operation.needs ?? {}
  const found = findDenied(user.source, path, needed)
  if (found !== null) return found
  const second =
    operation.secondPath === undefined ? undefined : parameters.text(operation.secondPath)
  for (const other of second?.split(',') ?? []) {
    const denied = findDenied(user.source, absolutePath(other), needed)
    if (denied !== null) return denied
  }
  return permissionMessage(user.source, path, needed)
}

function sendRedirect(exchange: Exchange, operation: string): void {
  const { request, response, parameters } = exchange
  const location = redirectLocation(exchange, operation)
  // A client that waits for "100 Continue" will not send its body on this connection.
  if (request.headers.expect !== undefined) response.setHeader('Connection', 'close')
  if (parameters.boolean('noredirect', false)) {
    sendJson(response, 200, { Location: location })
    return
  }
  response.setHeader('Location', location)
  sendEmpty(response, 307)
}
