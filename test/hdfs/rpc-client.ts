/** A small Hadoop RPC client for tests: one connection, calls in any number. */

import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import type { DescMethodUnary, MessageInitShape, MessageShape } from '@bufbuild/protobuf'
import type { DescMessage } from '@bufbuild/protobuf'
import { BinaryReader, BinaryWriter } from '@bufbuild/protobuf/wire'
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { IpcConnectionContextProtoSchema } from '../../lib/hdfs/proto/gen/connection_context_pb.js'
import { RequestHeaderProtoSchema } from '../../lib/hdfs/proto/gen/rpc_engine_pb.js'
import {
  RpcKindProto,
  RpcRequestHeaderProtoSchema,
  RpcRequestHeaderProto_OperationProto,
  RpcResponseHeaderProtoSchema,
  RpcResponseHeaderProto_RpcStatusProto as Status,
} from '../../lib/hdfs/proto/gen/rpc_header_pb.js'

/** What the server threw. */
export class RemoteError extends Error {
  readonly javaClass: string

  constructor(javaClass: string, message: string) {
    super(message)
    this.javaClass = javaClass
  }
}

interface Waiting {
  resolve(body: Uint8Array): void
  reject(error: unknown): void
}

const CLIENT_ID = Buffer.from('0123456789abcdef')

/** Calls methods of one protocol as one user. */
export class RpcClient {
  readonly #socket: Socket
  readonly #protocol: string
  readonly #waiting = new Map<number, Waiting>()
  #chunks: Buffer = Buffer.alloc(0)
  #callId = 0

  private constructor(socket: Socket, protocol: string) {
    this.#socket = socket
    this.#protocol = protocol
    socket.on('data', (chunk: Buffer) => {
      this.#receive(chunk)
    })
    socket.on('error', error => {
      this.#fail(error)
    })
    socket.on('close', () => {
      this.#fail(new Error('connection closed'))
    })
  }

  static async connect(
    port: number,
    user: string,
    protocol = 'org.apache.hadoop.hdfs.protocol.ClientProtocol',
  ): Promise<RpcClient> {
    const socket = connect({ host: '127.0.0.1', port, noDelay: true })
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve)
      socket.once('error', reject)
    })
    const client = new RpcClient(socket, protocol)
    socket.write(Buffer.from([...Buffer.from('hrpc'), 9, 0, 0]))
    const context = create(IpcConnectionContextProtoSchema, {
      protocol,
      userInfo: { effectiveUser: user },
    })
    client.#send(-3, toBinary(IpcConnectionContextProtoSchema, context))
    return client
  }

  /** Calls a method of a generated service. */
  async call<Input extends DescMessage, Output extends DescMessage>(
    method: DescMethodUnary<Input, Output>,
    request: MessageInitShape<Input>,
  ): Promise<MessageShape<Output>> {
    const body = await this.raw(method.name, toBinary(method.input, create(method.input, request)))
    return fromBinary(method.output, body)
  }

  /** Calls a method by name with the bytes of its request. */
  raw(name: string, request: Uint8Array): Promise<Uint8Array> {
    const callId = this.#callId++
    const header = create(RequestHeaderProtoSchema, {
      methodName: name,
      declaringClassProtocolName: this.#protocol,
      clientProtocolVersion: 1n,
    })
    return new Promise((resolve, reject) => {
      this.#waiting.set(callId, { resolve, reject })
      this.#send(callId, toBinary(RequestHeaderProtoSchema, header), request)
    })
  }

  close(): void {
    this.#socket.destroy()
  }

  #send(callId: number, ...messages: Uint8Array[]): void {
    const header = create(RpcRequestHeaderProtoSchema, {
      rpcKind: RpcKindProto.RPC_PROTOCOL_BUFFER,
      rpcOp: RpcRequestHeaderProto_OperationProto.RPC_FINAL_PACKET,
      callId,
      clientId: CLIENT_ID,
      retryCount: 0,
    })
    const writer = new BinaryWriter()
    writer.bytes(toBinary(RpcRequestHeaderProtoSchema, header))
    for (const message of messages) writer.bytes(message)
    const body = writer.finish()
    const length = Buffer.alloc(4)
    length.writeUInt32BE(body.length)
    this.#socket.write(Buffer.concat([length, body]))
  }

  #receive(chunk: Buffer): void {
    this.#chunks = this.#chunks.length === 0 ? chunk : Buffer.concat([this.#chunks, chunk])
    while (this.#chunks.length >= 4) {
      const length = this.#chunks.readUInt32BE(0)
      if (this.#chunks.length < 4 + length) return
      const reader = new BinaryReader(this.#chunks.subarray(4, 4 + length))
      this.#chunks = this.#chunks.subarray(4 + length)
      const header = fromBinary(RpcResponseHeaderProtoSchema, reader.bytes())
      const waiting = this.#waiting.get(header.callId)
      this.#waiting.delete(header.callId)
      if (header.status === Status.SUCCESS) waiting?.resolve(reader.bytes())
      else waiting?.reject(new RemoteError(header.exceptionClassName, header.errorMsg))
    }
  }

  #fail(error: unknown): void {
    for (const waiting of this.#waiting.values()) waiting.reject(error)
    this.#waiting.clear()
  }
}
