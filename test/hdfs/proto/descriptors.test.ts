/**
 * Our messages against the descriptors inside Hadoop's own jar: every field that we name must have
 * the number, type and label that Hadoop gives it.
 */

import { fromBinary, toBinary } from '@bufbuild/protobuf'
import type { DescFile } from '@bufbuild/protobuf'
import type {
  DescriptorProto,
  EnumDescriptorProto,
  FieldDescriptorProto,
  FileDescriptorProto,
} from '@bufbuild/protobuf/wkt'
import { FieldDescriptorProto_Label, FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt'
import { readFileSync, readdirSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { inflateRawSync } from 'node:zlib'
import { file_acl } from '../../../lib/hdfs/proto/gen/acl_pb.js'
import { file_client_datanode } from '../../../lib/hdfs/proto/gen/client_datanode_pb.js'
import { file_client_namenode } from '../../../lib/hdfs/proto/gen/client_namenode_pb.js'
import { file_connection_context } from '../../../lib/hdfs/proto/gen/connection_context_pb.js'
import { file_datatransfer } from '../../../lib/hdfs/proto/gen/datatransfer_pb.js'
import { file_encryption } from '../../../lib/hdfs/proto/gen/encryption_pb.js'
import { file_erasure_coding } from '../../../lib/hdfs/proto/gen/erasure_coding_pb.js'
import { file_ha_service } from '../../../lib/hdfs/proto/gen/ha_service_pb.js'
import { file_hdfs } from '../../../lib/hdfs/proto/gen/hdfs_pb.js'
import { file_rpc_engine } from '../../../lib/hdfs/proto/gen/rpc_engine_pb.js'
import { file_rpc_header } from '../../../lib/hdfs/proto/gen/rpc_header_pb.js'
import { file_security } from '../../../lib/hdfs/proto/gen/security_pb.js'
import { file_xattr } from '../../../lib/hdfs/proto/gen/xattr_pb.js'

const HDFS = 'org/apache/hadoop/hdfs/protocol/proto'
const IPC = 'org/apache/hadoop/ipc/protobuf'

const FILES: readonly [DescFile, string][] = [
  [file_acl, `${HDFS}/AclProtos`],
  [file_client_datanode, `${HDFS}/ClientDatanodeProtocolProtos`],
  [file_client_namenode, `${HDFS}/ClientNamenodeProtocolProtos`],
  [file_connection_context, `${IPC}/IpcConnectionContextProtos`],
  [file_datatransfer, `${HDFS}/DataTransferProtos`],
  [file_encryption, `${HDFS}/EncryptionZonesProtos`],
  [file_erasure_coding, `${HDFS}/ErasureCodingProtos`],
  [file_ha_service, 'org/apache/hadoop/ha/proto/HAServiceProtocolProtos'],
  [file_hdfs, `${HDFS}/HdfsProtos`],
  [file_rpc_engine, `${IPC}/ProtobufRpcEngine2Protos`],
  [file_rpc_header, `${IPC}/RpcHeaderProtos`],
  [file_security, 'org/apache/hadoop/security/proto/SecurityProtos'],
  [file_xattr, `${HDFS}/XAttrProtos`],
]

/** The newest hadoop-client-api jar in the Maven repository, if there is one. */
function findJar(): string | undefined {
  const root = join(homedir(), '.m2/repository/org/apache/hadoop/hadoop-client-api')
  let versions: string[]
  try {
    versions = readdirSync(root)
  } catch {
    return undefined
  }
  for (const version of versions.sort().reverse()) {
    const name = `hadoop-client-api-${version}.jar`
    if (readdirSync(join(root, version)).includes(name)) return join(root, version, name)
  }
  return undefined
}

/** Reads members of a zip archive by its central directory. */
class Zip {
  readonly #bytes: Buffer
  readonly #members = new Map<string, { offset: number; size: number }>()

  constructor(path: string) {
    this.#bytes = readFileSync(path)
    const end = this.#bytes.lastIndexOf(Buffer.from('PK\x05\x06', 'latin1'))
    let position = this.#bytes.readUInt32LE(end + 16)
    for (let count = this.#bytes.readUInt16LE(end + 10); count > 0; count--) {
      const nameLength = this.#bytes.readUInt16LE(position + 28)
      const name = this.#bytes.toString('utf8', position + 46, position + 46 + nameLength)
      this.#members.set(name, {
        offset: this.#bytes.readUInt32LE(position + 42),
        size: this.#bytes.readUInt32LE(position + 20),
      })
      position +=
        46 +
        nameLength +
        this.#bytes.readUInt16LE(position + 30) +
        this.#bytes.readUInt16LE(position + 32)
    }
  }

  read(name: string): Buffer {
    const member = this.#members.get(name)
    if (member === undefined) throw new Error(`${name} is not in the archive`)
    const { offset, size } = member
    const start =
      offset + 30 + this.#bytes.readUInt16LE(offset + 26) + this.#bytes.readUInt16LE(offset + 28)
    const data = this.#bytes.subarray(start, start + size)
    return this.#bytes.readUInt16LE(offset + 8) === 0 ? data : inflateRawSync(data)
  }
}

const CONSTANT_BYTES: Readonly<Record<number, number>> = {
  3: 4,
  4: 4,
  5: 8,
  6: 8,
  7: 2,
  8: 2,
  9: 4,
  10: 4,
  11: 4,
  12: 4,
  15: 3,
  16: 2,
  17: 4,
  18: 4,
  19: 2,
  20: 2,
}

/** The string constants of a class, as bytes where every character is one. */
function strings(classFile: Buffer): Buffer[] {
  const found: Buffer[] = []
  let position = 10
  for (let index = 1; index < classFile.readUInt16BE(8); index++) {
    const tag = classFile[position++] ?? 0
    if (tag === 1) {
      const length = classFile.readUInt16BE(position)
      found.push(latin1(classFile.subarray(position + 2, position + 2 + length)))
      position += 2 + length
    } else {
      position += CONSTANT_BYTES[tag] ?? 0
      // Long and double constants take two places.
      if (tag === 5 || tag === 6) index++
    }
  }
  return found
}

/** Undoes Java's modified UTF-8, for characters up to 255. */
function latin1(encoded: Buffer): Buffer {
  const bytes: number[] = []
  for (let index = 0; index < encoded.length; index++) {
    const byte = encoded[index] ?? 0
    if (byte < 0x80) bytes.push(byte)
    else bytes.push(((byte & 0x1f) << 6) | ((encoded[++index] ?? 0) & 0x3f))
  }
  return Buffer.from(bytes)
}

/** The descriptor inside a generated class; long ones are cut into several constants. */
function embeddedDescriptor(classFile: Buffer): FileDescriptorProto {
  const all = strings(classFile)
  const first = all.findIndex(text => text[0] === 0x0a && text.includes('.proto\x12'))
  for (let count = 1; count < 20; count++) {
    // The parts follow each other among the long constants.
    const parts = all.slice(first).filter((text, index) => index === 0 || text.length > 100)
    try {
      const bytes = Buffer.concat(parts.slice(0, count))
      const file = fromBinary(FileDescriptorProtoSchema, bytes)
      if (toBinary(FileDescriptorProtoSchema, file).length === bytes.length && file.options) {
        return file
      }
    } catch {
      continue
    }
  }
  throw new Error('the class holds no descriptor')
}

function fieldText(field: FieldDescriptorProto): string {
  const { number, type, label, typeName, defaultValue } = field
  const options = field.options?.packed === true ? ' packed' : ''
  return `${field.name} = ${number}: ${type} ${label} ${typeName} ${defaultValue}${options}`
}

/** Problems of a message, its inner messages and enums included. */
function compareMessage(ours: DescriptorProto, theirs: DescriptorProto | undefined): string[] {
  if (theirs === undefined) return [`${ours.name}: Hadoop has no such message`]
  const known = new Map(theirs.field.map(field => [field.name, fieldText(field)]))
  const problems = ours.field
    .filter(field => known.get(field.name) !== fieldText(field))
    .map(field => `${ours.name}.${fieldText(field)}, Hadoop: ${known.get(field.name) ?? 'nothing'}`)
  const required = theirs.field.filter(field => field.label === FieldDescriptorProto_Label.REQUIRED)
  for (const field of required) {
    if (!ours.field.some(own => own.name === field.name)) {
      problems.push(`${ours.name}.${field.name} is required and missing`)
    }
  }
  for (const inner of ours.nestedType) {
    problems.push(
      ...compareMessage(
        inner,
        theirs.nestedType.find(m => m.name === inner.name),
      ),
    )
  }
  for (const inner of ours.enumType) {
    problems.push(
      ...compareEnum(
        inner,
        theirs.enumType.find(e => e.name === inner.name),
      ),
    )
  }
  return problems
}

function compareEnum(ours: EnumDescriptorProto, theirs: EnumDescriptorProto | undefined): string[] {
  const known = new Map(theirs?.value.map(value => [value.name, value.number]))
  return ours.value
    .filter(value => known.get(value.name) !== value.number)
    .map(value => `${ours.name}.${value.name} = ${value.number}`)
}

const jar = findJar()

void t.test(
  'messages and enums are those of Hadoop',
  { skip: jar === undefined && 'hadoop-client-api is not in the Maven repository' },
  test => {
    const zip = new Zip(jar ?? '')
    for (const [file, className] of FILES) {
      const ours = file.proto
      const theirs = embeddedDescriptor(zip.read(`${className}.class`))
      test.equal(ours.package, theirs.package)
      const problems = ours.messageType.flatMap(message =>
        compareMessage(
          message,
          theirs.messageType.find(candidate => candidate.name === message.name),
        ),
      )
      for (const own of ours.enumType) {
        problems.push(
          ...compareEnum(
            own,
            theirs.enumType.find(candidate => candidate.name === own.name),
          ),
        )
      }
      const services = new Map(
        theirs.service.flatMap(service =>
          service.method.map(m => [`${service.name}.${m.name}`, `${m.inputType} ${m.outputType}`]),
        ),
      )
      for (const service of ours.service) {
        for (const m of service.method) {
          if (services.get(`${service.name}.${m.name}`) !== `${m.inputType} ${m.outputType}`) {
            problems.push(`${service.name}.${m.name}`)
          }
        }
      }
      test.same(problems, [], `${file.name}: ${ours.messageType.length} messages`)
    }
    test.end()
  },
)
