/** Messages with every field set, made from their descriptors: seeds for decoders of any of them. */
import { create, ScalarType, toBinary } from '@bufbuild/protobuf'
import { FeatureSet_FieldPresence } from '@bufbuild/protobuf/wkt'
import type { DescField, DescMessage, Message } from '@bufbuild/protobuf'

/** Numbers and texts that mean something to a NameNode. */
const TEXTS: Readonly<Record<string, string>> = {
  src: '/fuzz/file',
  path: '/fuzz/file',
  dst: '/fuzz/other',
  trg: '/fuzz/other',
  snapshotRoot: '/fuzz',
  target: '/fuzz/file',
  link: '/fuzz/link',
  clientName: 'client',
  username: 'root',
  groupname: 'root',
}
const DEPTH_MAX = 6

/** The bytes of a message of `descriptor`; optional fields are left out if `minimal`. */
export function sampleOf(descriptor: DescMessage, minimal: boolean): Buffer {
  return Buffer.from(toBinary(descriptor, sample(descriptor, minimal, 0)))
}

function sample(descriptor: DescMessage, minimal: boolean, depth: number): Message {
  const message = create(descriptor) as Message & Record<string, unknown>
  for (const field of descriptor.fields) {
    const isRequired = field.presence === FeatureSet_FieldPresence.LEGACY_REQUIRED
    if ((minimal || depth > DEPTH_MAX) && !isRequired) continue
    const value = valueOf(field, minimal, depth)
    if (field.fieldKind === 'list') message[field.localName] = [value]
    else if (field.fieldKind !== 'map' && field.oneof === undefined)
      message[field.localName] = value
  }
  return message
}

function valueOf(field: DescField, minimal: boolean, depth: number): unknown {
  if (field.message !== undefined) return sample(field.message, minimal, depth + 1)
  if (field.enum !== undefined) return field.enum.values[0]?.number ?? 0
  switch (field.scalar) {
    case ScalarType.STRING:
      return TEXTS[field.localName] ?? 'name'
    case ScalarType.BYTES:
      return new Uint8Array([1, 2, 3, 4])
    case ScalarType.BOOL:
      return true
    case ScalarType.INT64:
    case ScalarType.UINT64:
    case ScalarType.SINT64:
    case ScalarType.FIXED64:
    case ScalarType.SFIXED64:
      return 1n
    default:
      return 1
  }
}
