/**
 * What is measured: the same work through a plain directory, the library, the mount and WebHDFS.
 *
 * Invariant: every subject reads and writes pieces of one mebibyte, and opens and closes per file.
 */
import { once } from 'node:events'
import { Agent, request as httpRequest } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { join } from 'node:path'
import { Checksum, PIECE_BYTES, fillPiece } from './payload.js'
import type { Durability } from './result.js'

/** Something that keeps files. Paths are relative. */
export interface Subject {
  readonly name: string
  /** What an answered write is without asking for more. */
  readonly plainDurability: Durability
  makeDirectory(path: string): Promise<void>
  /** Writes `pieceCount` pieces in order; synced before the file is closed. */
  writePieces(path: string, pieceCount: number): Promise<void>
  /** Reads a file to its end, from start to end. */
  readPieces(path: string, checksum?: Checksum): Promise<void>
  /** Creates a file that is not there. */
  createFile(path: string, bytes: Buffer, sync: boolean): Promise<void>
  remove(path: string): Promise<void>
}

/** An open file, of `node:fs/promises` or of the library. */
interface Handle {
  write(bytes: Uint8Array, offset: number, length: number, position: number): Promise<unknown>
  read(
    into: Uint8Array,
    offset: number,
    length: number,
    position: number,
  ): Promise<{ bytesRead: number }>
  sync(): Promise<void>
  close(): Promise<void>
}

/** What `node:fs/promises` and the library have in common. */
export interface FileSystem {
  open(path: string, flags: string): Promise<Handle>
  mkdir(path: string, options: { recursive: true }): Promise<unknown>
  rm(path: string, options: { recursive: true; force: true }): Promise<void>
}

/** A subject with the API of `node:fs/promises`. */
export class FileSystemSubject implements Subject {
  readonly name: string
  readonly plainDurability = 'acknowledged'
  /** Its top directory. */
  readonly root: string
  readonly #fs: FileSystem

  constructor(name: string, fs: FileSystem, root: string) {
    this.name = name
    this.#fs = fs
    this.root = root
  }

  /** Where a relative path lies. */
  pathOf(path: string): string {
    return join(this.root, path)
  }

  async makeDirectory(path: string): Promise<void> {
    await this.#fs.mkdir(this.pathOf(path), { recursive: true })
  }

  async writePieces(path: string, pieceCount: number): Promise<void> {
    const piece = Buffer.allocUnsafe(PIECE_BYTES)
    const file = await this.#fs.open(this.pathOf(path), 'w')
    try {
      for (let index = 0; index < pieceCount; index++) {
        fillPiece(piece, index)
        await file.write(piece, 0, piece.length, index * PIECE_BYTES)
      }
      await file.sync()
    } finally {
      await file.close()
    }
  }

  async readPieces(path: string, checksum?: Checksum): Promise<void> {
    const piece = Buffer.allocUnsafe(PIECE_BYTES)
    const file = await this.#fs.open(this.pathOf(path), 'r')
    try {
      for (let position = 0; ;) {
        const { bytesRead } = await file.read(piece, 0, piece.length, position)
        if (bytesRead === 0) break
        checksum?.add(piece.subarray(0, bytesRead))
        position += bytesRead
      }
    } finally {
      await file.close()
    }
  }

  async createFile(path: string, bytes: Buffer, sync: boolean): Promise<void> {
    const file = await this.#fs.open(this.pathOf(path), 'wx')
    try {
      await file.write(bytes, 0, bytes.length, 0)
      if (sync) await file.sync()
    } finally {
      await file.close()
    }
  }

  async remove(path: string): Promise<void> {
    await this.#fs.rm(this.pathOf(path), { recursive: true, force: true })
  }
}

/** WebHDFS over HTTP; every answered change is durable. */
export class WebHdfsSubject implements Subject {
  readonly name = 'WebHDFS'
  readonly plainDurability = 'synced'
  readonly #base: URL
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 64 })

  /** @param address - `http://host:port` of the server. */
  constructor(address: string) {
    this.#base = new URL(address)
  }

  async makeDirectory(path: string): Promise<void> {
    await drain(await this.#send('PUT', path, 'op=MKDIRS'))
  }

  async writePieces(path: string, pieceCount: number): Promise<void> {
    const reply = await this.#send('PUT', path, CREATE, async outgoing => {
      // A new buffer per piece: node keeps the bytes until the socket took them.
      for (let index = 0; index < pieceCount; index++) {
        const piece = Buffer.allocUnsafe(PIECE_BYTES)
        fillPiece(piece, index)
        if (!outgoing.write(piece)) await once(outgoing, 'drain')
      }
    })
    await drain(reply)
  }

  async readPieces(path: string, checksum?: Checksum): Promise<void> {
    await drain(await this.#send('GET', path, 'op=OPEN&namenoderpcaddress=bench'), checksum)
  }

  async createFile(path: string, bytes: Buffer): Promise<void> {
    const reply = await this.#send('PUT', path, CREATE, async outgoing => {
      outgoing.write(bytes)
      await Promise.resolve()
    })
    await drain(reply)
  }

  async remove(path: string): Promise<void> {
    await drain(await this.#send('DELETE', path, 'op=DELETE&recursive=true'))
  }

  #send(
    method: string,
    path: string,
    query: string,
    body?: (outgoing: ReturnType<typeof httpRequest>) => Promise<void>,
  ): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const outgoing = httpRequest(
        {
          agent: this.#agent,
          host: this.#base.hostname,
          port: this.#base.port,
          method,
          path: `/webhdfs/v1/${path}?${query}`,
        },
        reply => {
          if ((reply.statusCode ?? 500) < 300) resolve(reply)
          else reject(new Error(`${method} ${path}: HTTP status ${String(reply.statusCode)}`))
        },
      )
      outgoing.on('error', reject)
      if (body === undefined) outgoing.end()
      else body(outgoing).then(() => outgoing.end(), reject)
    })
  }
}

const CREATE = 'op=CREATE&overwrite=true&namenoderpcaddress=bench'

async function drain(reply: IncomingMessage, checksum?: Checksum): Promise<void> {
  for await (const part of reply) checksum?.add(part as Buffer)
}
