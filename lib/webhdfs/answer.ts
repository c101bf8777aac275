/**
 * Answers on the wire: JSON, empty ones, redirects and RemoteException.
 *
 * Invariants:
 * - An error after the first byte of a body closes the connection: a part is never taken for the whole.
 * - No header allows another origin.
 */
import type { ServerResponse } from 'node:http'
import { JavaException } from '../java-exceptions.js'
import type { JavaClass } from '../java-exceptions.js'
import type { Answer } from './exchange.js'
import { toJson } from './json.js'
import type { Json } from './json.js'

const JSON_TYPE = 'application/json'

/** Statuses of exceptions that are not plain IOExceptions, as Hadoop's ExceptionHandler has them. */
const STATUS: Partial<Record<JavaClass, number>> = {
  FileNotFound: 404,
  HadoopIllegalArgument: 400,
  IllegalArgument: 400,
  InvalidPath: 400,
  Runtime: 500,
  UnsupportedOperation: 400,
}

/** The HTTP status of an exception: 403 for IOException and its kin. */
export function statusOf(exception: JavaException): number {
  return STATUS[exception.type] ?? 403
}

/** Writes a finished answer. */
export function sendAnswer(response: ServerResponse, answer: Answer): void {
  switch (answer.kind) {
    case 'json':
      sendJson(response, 200, answer.body)
      break
    case 'created':
      response.setHeader('Location', answer.location)
      sendEmpty(response, 201)
      break
    case 'empty':
      sendEmpty(response, 200)
      break
    case 'streamed':
      break
  }
}

/** Writes a JSON body. */
export function sendJson(response: ServerResponse, status: number, body: Json): void {
  const bytes = Buffer.from(toJson(body))
  response.writeHead(status, { 'Content-Type': JSON_TYPE, 'Content-Length': bytes.length })
  response.end(bytes)
}

/** Writes an answer without a body. */
export function sendEmpty(response: ServerResponse, status: number): void {
  response.writeHead(status, { 'Content-Type': 'application/octet-stream', 'Content-Length': 0 })
  response.end()
}

/** Writes an exception, or closes the connection if a body has begun. */
export function sendException(response: ServerResponse, exception: JavaException): void {
  if (response.headersSent || response.destroyed) {
    response.destroy()
    return
  }
  sendJson(response, statusOf(exception), {
    RemoteException: {
      exception: exception.simpleName,
      javaClassName: exception.javaClassName,
      message: exception.message,
    },
  })
}
