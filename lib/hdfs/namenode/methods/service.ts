/** Handlers of ClientNamenodeProtocol, by method name; each file of this folder gives some. */

import type { GenServiceMethods } from '@bufbuild/protobuf/codegenv2'
import type { ClientNamenodeProtocol } from '../../proto/gen/client_namenode_pb.js'
import type { Handlers } from '../../rpc/protocol.js'

type MethodsOf<Service> = Service extends { method: infer Methods extends GenServiceMethods }
  ? Methods
  : never

/** A part of the protocol. */
export type ClientHandlers = Handlers<MethodsOf<typeof ClientNamenodeProtocol>>
