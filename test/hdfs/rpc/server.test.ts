import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { BinaryReader } from '@bufbuild/protobuf/wire'
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import t from 'tap'
import type { Test } from 'tap'
import { JavaException } from '../../../lib/java-exceptions.js'
import type { RpcMethod, RpcProtocol } from '../../../lib/hdfs/rpc/protocol.js'
import type { RpcServerOptions } from '../../../lib/hdfs/rpc/server.js'
import { RpcServer } from '../../../lib/hdfs/rpc/server.js'
import { IpcConnectionContextProtoSchema } from '../../../lib/hdfs/proto/gen/connection_context_pb.js'
import { RequestHeaderProtoSchema } from '../../../lib/hdfs/proto/gen/rpc_engine_pb.js'
import type { RpcResponseHeaderProto } from '../../../lib/hdfs/proto/gen/rpc_header_pb.js'
import {
  RpcKindProto,
  RpcRequestHeaderProtoSchema,
  RpcRequestHeaderProto_OperationProto,
  RpcResponseHeaderProtoSchema,
  RpcSaslProtoSchema,
  RpcSaslProto_SaslState,
} from '../../../lib/hdfs/proto/gen/rpc_header_pb.js'

const CLIENT_ID = Buffer.from('0123456789abcdef')

function varint(value: number): Buffer {
  const bytes: number[] = []
  let rest = value
  while (rest >= 128) {
    bytes.push((rest % 128) | 0x80)
    rest = Math.floor(rest / 128)
  }
  bytes.push(rest)
  return Buffer.from(bytes)
}

function frame(...messages: Uint8Array[]): Buffer {
  const parts = messages.flatMap(message => [varint(message.length), message])
  const body = Buffer.concat(parts)
  const length = Buffer.alloc(4)
  length.writeUInt32BE(body.length)
  return Buffer.concat([length, body])
}

function requestHeader(callId: number): Uint8Array {
  return toBinary(
    RpcRequestHeaderProtoSchema,
    create(RpcRequestHeaderProtoSchema, {
      rpcKind: RpcKindProto.RPC_PROTOCOL_BUFFER,
      rpcOp: RpcRequestHeaderProto_OperationProto.RPC_FINAL_PACKET,
      callId,
      clientId: CLIENT_ID,
      retryCount: 0,
    }),
  )
}

function methodHeader(method: string, protocol = 'test.Protocol', version = 1): Uint8Array {
  return toBinary(
    RequestHeaderProtoSchema,
    create(RequestHeaderProtoSchema, {
      methodName: method,
      declaringClassProtocolName: protocol,
      clientProtocolVersion: BigInt(version),
    }),
  )
}

function call(callId: number, method: string, body: string, protocol?: string, version?: number) {
  return frame(requestHeader(callId), methodHeader(method, protocol, version), Buffer.from(body))
}

function context(user: string, realUser?: string): Buffer {
  const message = create(IpcConnectionContextProtoSchema, {
    protocol: 'test.Protocol',
    userInfo: realUser === undefined ? { effectiveUser: user } : { effectiveUser: user, realUser },
  })
  return frame(requestHeader(-3), toBinary(IpcConnectionContextProtoSchema, message))
}

const PREAMBLE = Buffer.from([...Buffer.from('hrpc'), 9, 0, 0])
const PREAMBLE_SASL = Buffer.from([...Buffer.from('hrpc'), 9, 0, 0xdf])

interface Reply {
  header: RpcResponseHeaderProto
  body: string
}

/** Collects everything a socket receives until it ends or enough replies are there. */
class Client {
  readonly socket: Socket
  #bytes = Buffer.alloc(0)
  #ended = false
  #wake: (() => void) | undefined

  constructor(port: number) {
    this.socket = connect({ host: '127.0.0.1', port })
    this.socket.on('data', (chunk: Buffer) => {
      this.#bytes = Buffer.concat([this.#bytes, chunk])
      this.#wake?.()
    })
    this.socket.on('error', () => {
      this.#ended = true
      this.#wake?.()
    })
    this.socket.on('close', () => {
      this.#ended = true
      this.#wake?.()
    })
  }

  async #more(): Promise<void> {
    await new Promise<void>(resolve => {
      this.#wake = resolve
    })
  }

  async text(): Promise<string> {
    while (!this.#ended) await this.#more()
    return this.#bytes.toString()
  }

  async reply(): Promise<Reply | null> {
    for (;;) {
      if (this.#bytes.length >= 4) {
        const length = this.#bytes.readUInt32BE(0)
        if (this.#bytes.length >= 4 + length) {
          const body = this.#bytes.subarray(4, 4 + length)
          this.#bytes = this.#bytes.subarray(4 + length)
          const reader = new BinaryReader(body)
          const header = fromBinary(RpcResponseHeaderProtoSchema, reader.bytes())
          const rest = reader.pos < reader.len ? Buffer.from(reader.bytes()).toString('latin1') : ''
          return { header, body: rest }
        }
      }
      if (this.#ended) return null
      await this.#more()
    }
  }
}

const protocol: RpcProtocol = {
  name: 'test.Protocol',
  version: 1,
  methods: new Map<string, RpcMethod>([
    ['echo', request => request],
    ['whoami', (_request, { user }) => Buffer.from(user)],
    [
      'later',
      async request => {
        await new Promise(resolve => setTimeout(resolve, 20))
        return request
      },
    ],
    [
      'missing',
      () => {
        throw new JavaException('FileNotFound', 'File does not exist: /p')
      },
    ],
    [
      'broken',
      () => {
        throw new TypeError('surprise')
      },
    ],
  ]),
}

async function withServer(test: Test, options: Partial<RpcServerOptions> = {}): Promise<RpcServer> {
  const server = new RpcServer({ host: '127.0.0.1', port: 0, protocols: [protocol], ...options })
  await server.listen()
  test.teardown(() => server.close())
  return server
}

void t.test('calls are answered, with the user of the connection', async test => {
  const server = await withServer(test)
  const client = new Client(server.port)
  client.socket.write(Buffer.concat([PREAMBLE, context('alice'), call(7, 'whoami', '')]))
  const reply = await client.reply()
  test.equal(reply?.body, 'alice')
  test.equal(reply?.header.callId, 7)
  test.equal(reply?.header.serverIpcVersionNum, 9)
  test.equal(reply?.header.retryCount, 0)
  test.same(Buffer.from(reply?.header.clientId ?? []), CLIENT_ID)
  client.socket.destroy()
})

void t.test('frames may arrive byte by byte, or many in one piece', async test => {
  const server = await withServer(test)
  const slow = new Client(server.port)
  for (const byte of Buffer.concat([PREAMBLE, context('bob'), call(1, 'echo', 'slow')])) {
    slow.socket.write(Buffer.from([byte]))
    await new Promise(resolve => setImmediate(resolve))
  }
  test.equal((await slow.reply())?.body, 'slow')
  slow.socket.destroy()

  const fast = new Client(server.port)
  const calls = Array.from({ length: 200 }, (_, index) => call(index, 'echo', `n${index}`))
  fast.socket.write(Buffer.concat([PREAMBLE, context('bob'), ...calls]))
  for (let index = 0; index < 200; index++) {
    test.equal((await fast.reply())?.body, `n${index}`)
  }
  fast.socket.destroy()
})

void t.test('replies come in the order in which they are ready', async test => {
  const server = await withServer(test)
  const client = new Client(server.port)
  client.socket.write(
    Buffer.concat([PREAMBLE, context('bob'), call(1, 'later', 'x'), call(2, 'echo', 'y')]),
  )
  test.equal((await client.reply())?.header.callId, 2)
  test.equal((await client.reply())?.header.callId, 1)
  client.socket.destroy()
})

void t.test('exceptions carry Java class and message, and the connection goes on', async test => {
  const server = await withServer(test)
  const client = new Client(server.port)
  client.socket.write(
    Buffer.concat([
      PREAMBLE,
      context('bob'),
      call(1, 'missing', ''),
      call(2, 'broken', ''),
      call(3, 'nothing', ''),
      call(4, 'echo', '', 'other.Protocol'),
      call(5, 'echo', '', 'test.Protocol', 2),
      frame(requestHeader(-4)),
      call(6, 'echo', 'still here'),
    ]),
  )
  const missing = await client.reply()
  test.equal(missing?.header.exceptionClassName, 'java.io.FileNotFoundException')
  test.equal(missing?.header.errorMsg, 'File does not exist: /p')
  test.equal(missing?.header.errorDetail, 1)
  test.equal((await client.reply())?.header.exceptionClassName, 'java.io.IOException')
  const noMethod = await client.reply()
  test.equal(noMethod?.header.exceptionClassName, 'org.apache.hadoop.ipc.RpcNoSuchMethodException')
  test.equal(noMethod?.header.errorDetail, 2)
  test.equal((await client.reply())?.header.errorDetail, 3)
  test.equal((await client.reply())?.header.errorDetail, 6)
  test.equal((await client.reply())?.body, 'still here')
  client.socket.destroy()
})

void t.test('a client that asks for SASL is switched to simple', async test => {
  const server = await withServer(test)
  const client = new Client(server.port)
  const negotiate = create(RpcSaslProtoSchema, { state: RpcSaslProto_SaslState.NEGOTIATE })
  client.socket.write(
    Buffer.concat([
      PREAMBLE_SASL,
      frame(requestHeader(-33), toBinary(RpcSaslProtoSchema, negotiate)),
    ]),
  )
  const reply = await client.reply()
  test.equal((reply?.header.callId ?? 0) | 0, -33)
  const answer = fromBinary(RpcSaslProtoSchema, Buffer.from(reply?.body ?? '', 'latin1'))
  test.equal(answer.state, RpcSaslProto_SaslState.SUCCESS)
  client.socket.write(Buffer.concat([context('carol'), call(0, 'whoami', '')]))
  test.equal((await client.reply())?.body, 'carol')
  client.socket.destroy()
})

void t.test('fatal errors are told and end their connection only', async test => {
  const server = await withServer(test)
  const witness = new Client(server.port)
  witness.socket.write(Buffer.concat([PREAMBLE, context('bob')]))
  const oversize = Buffer.alloc(4)
  oversize.writeUInt32BE(64 * 1024 * 1024 + 1)
  const cases: [string, Buffer, number][] = [
    ['another version', Buffer.from([...Buffer.from('hrpc'), 7, 0, 0]), 14],
    ['another authentication', Buffer.from([...Buffer.from('hrpc'), 9, 0, 5]), 15],
    ['a call before the context', Buffer.concat([PREAMBLE, call(1, 'echo', '')]), 12],
    ['two contexts', Buffer.concat([PREAMBLE, context('a'), context('a')]), 12],
    ['impersonation', Buffer.concat([PREAMBLE, context('a', 'b')]), 15],
    ['no user', Buffer.concat([PREAMBLE, context('')]), 15],
    ['an oversize frame', Buffer.concat([PREAMBLE, context('a'), oversize]), 12],
    ['a frame of noise', Buffer.concat([PREAMBLE, frame(Buffer.alloc(40, 0xff))]), 13],
    ['an empty frame', Buffer.concat([PREAMBLE, Buffer.alloc(4)]), 13],
  ]
  for (const [what, bytes, detail] of cases) {
    const client = new Client(server.port)
    client.socket.write(bytes)
    const reply = await client.reply()
    test.equal(reply?.header.status, 2, what)
    test.equal(reply?.header.errorDetail, detail, what)
    test.equal(await client.reply(), null, `${what}: the connection ends`)
  }
  witness.socket.write(call(1, 'echo', 'fine'))
  test.equal((await witness.reply())?.body, 'fine')
  witness.socket.destroy()
})

void t.test('HTTP on the port is answered as Hadoop does, noise is cut off', async test => {
  const server = await withServer(test)
  const http = new Client(server.port)
  http.socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
  const text = await http.text()
  test.match(text, /^HTTP\/1\.1 404 Not Found\r\n/)
  test.match(text, /It looks like you are making an HTTP request to a Hadoop IPC port/)
  const noise = new Client(server.port)
  noise.socket.write(Buffer.from('\x16\x03\x01 this is not rpc'))
  test.equal(await noise.text(), '')
})

void t.test('a client over the limit of kept bytes loses its own connection', async test => {
  const server = await withServer(test, { bufferedBytesMax: 1024 * 1024 })
  const witness = new Client(server.port)
  witness.socket.write(Buffer.concat([PREAMBLE, context('bob')]))
  const client = new Client(server.port)
  const length = Buffer.alloc(4)
  length.writeUInt32BE(32 * 1024 * 1024)
  client.socket.write(
    Buffer.concat([PREAMBLE, context('a'), length, Buffer.alloc(4 * 1024 * 1024)]),
  )
  test.equal(await client.reply(), null)
  witness.socket.write(call(1, 'echo', 'fine'))
  test.equal((await witness.reply())?.body, 'fine')
  witness.socket.destroy()
})

void t.test('close answers what is running', async test => {
  const server = await withServer(test)
  const client = new Client(server.port)
  client.socket.write(Buffer.concat([PREAMBLE, context('bob'), call(1, 'later', 'x')]))
  while (server.callCount === 0) await new Promise(resolve => setTimeout(resolve, 1))
  await server.close()
  test.equal((await client.reply())?.body, 'x')
})
