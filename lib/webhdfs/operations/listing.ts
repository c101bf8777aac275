/**
 * Operations that list a directory.
 *
 * Invariants:
 * - Memory is one page of entries, whatever the directory holds.
 * - The first page is read before the first byte of the answer, so that a refusal is an answer.
 */
import type { ServerResponse } from 'node:http'
import * as rules from '../../hdfs-rules.js'
import { JavaException } from '../../java-exceptions.js'
import { ATTRIBUTE, ATTRIBUTE_COUNT, KIND } from '../../native.js'
import type { Listing } from '../../native.js'
import { json } from '../exchange.js'
import type { Answer, Exchange, OperationTable } from '../exchange.js'
import { toJson } from '../json.js'
import type { Json } from '../json.js'
import { joinPath } from '../target.js'

/** Entries read from the store at once. */
const PAGE_COUNT = 1000

/** Entries in one answer of LISTSTATUS_BATCH: HDFS's dfs.ls.limit. */
const BATCH_COUNT = 1000

function target(exchange: Exchange): Float64Array {
  const record = rules.statOrNull(exchange.view, exchange.path)
  if (record === null)
    throw new JavaException('FileNotFound', `File ${exchange.path} does not exist.`)
  return record
}

/** The FileStatus objects of one page. */
function statuses(exchange: Exchange, page: Listing): Json[] {
  const { view, path, status } = exchange
  return page.names.map((name, index) => {
    const kind = page.attributes[index * ATTRIBUTE_COUNT + ATTRIBUTE.kind]
    const link = kind === KIND.symlink ? view.readLink(joinPath(path, name)) : undefined
    return status.write(page.attributes, index, name, link)
  })
}

async function listStatus(exchange: Exchange): Promise<Answer> {
  const record = target(exchange)
  const { view, path, status, response } = exchange
  if (!rules.isDirectory(record)) {
    return json({ FileStatuses: { FileStatus: [status.write(record, 0, '')] } })
  }
  let page = view.list(path, null, PAGE_COUNT, true)
  if (!page.more) return json({ FileStatuses: { FileStatus: statuses(exchange, page) } })
  response.writeHead(200, { 'Content-Type': 'application/json' })
  let separator = '{"FileStatuses":{"FileStatus":['
  for (;;) {
    const text = statuses(exchange, page).map(toJson).join(',')
    if (text !== '') {
      await write(response, separator + text)
      separator = ','
    }
    const last = page.names.at(-1)
    if (!page.more || last === undefined) break
    page = view.list(path, last, PAGE_COUNT, true)
  }
  response.end(']}}')
  return { kind: 'streamed' }
}

function write(response: ServerResponse, text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    if (response.destroyed) {
      reject(new Error('the client closed the connection'))
      return
    }
    if (response.write(text)) {
      resolve()
      return
    }
    const ended = (): void => {
      response.off('drain', drained)
      reject(new Error('the client closed the connection'))
    }
    const drained = (): void => {
      response.off('close', ended)
      resolve()
    }
    response.once('close', ended)
    response.once('drain', drained)
  })
}

function listStatusBatch(exchange: Exchange): Answer {
  const record = target(exchange)
  const { view, path, status, parameters } = exchange
  let list: Json[]
  let remaining = 0
  if (rules.isDirectory(record)) {
    const after = parameters.text('startafter') ?? null
    const page = view.list(path, after, BATCH_COUNT, true)
    list = statuses(exchange, page)
    // Exact on the first page; later it only has to tell whether there is more.
    const rest = (record[ATTRIBUTE.size] ?? 0) - list.length
    if (page.more) remaining = Math.max(after === null ? rest : 1, 1)
  } else {
    list = [status.write(record, 0, '')]
  }
  return json({
    DirectoryListing: {
      partialListing: { FileStatuses: { FileStatus: list } },
      remainingEntries: remaining,
    },
  })
}

/** Operations on directory listings. */
export const LISTING: Readonly<Record<'GET', OperationTable>> = {
  GET: {
    LISTSTATUS: { run: listStatus, needs: { self: 5 } },
    LISTSTATUS_BATCH: { run: listStatusBatch, needs: { self: 5 } },
  },
}
