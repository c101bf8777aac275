/**
 * What the HDFS service tells WebHDFS, so that both name the same blocks and neither lets two
 * clients write one file.
 *
 * Invariant: services do not import one another; the daemon, which runs both, hands this over.
 */
import { blockIdOf, FIRST_GENERATION, generationStampOf } from '../hdfs/datanode/block-id.js'
import type { HdfsService } from '../hdfs/index.js'
import { alreadyBeingCreated } from '../hdfs/namenode/exceptions.js'
import type { HdfsFacts, WriterTable } from '../webhdfs/options.js'

/** Renewed well within the soft limit of leases. */
const RENEW_MS = 20_000

/** The facts of a running HDFS service. */
export function hdfsFacts(hdfs: HdfsService): HdfsFacts {
  const { host, datanodeUuid, blockPoolId } = hdfs.config
  return {
    rpcAddress: `${host}:${hdfs.rpcPort}`,
    dataNode: {
      host,
      transferPort: hdfs.dataPort,
      ipcPort: hdfs.ipcPort,
      uuid: datanodeUuid,
      poolId: blockPoolId,
      blockName: (view, inode, index) => ({
        blockId: blockIdOf(inode, index),
        generationStamp: generationStampOf(view, FIRST_GENERATION),
      }),
      blockChecksum: (...range) => hdfs.datanode.blockChecksum(...range),
    },
    writers: writerTable(hdfs),
  }
}

/** The leases of HDFS as the table of writers of WebHDFS: an upload is a client of its own. */
function writerTable({ leases, config }: HdfsService): WriterTable {
  let uploads = 0
  return {
    claim(view, inode, path, user) {
      uploads += 1
      const client = `DFSClient_WEBHDFS_${user}_${uploads}`
      const other = leases.find(view, inode)
      if (other !== undefined && !leases.isSoftExpired(other)) {
        throw alreadyBeingCreated(
          'CREATE_FILE',
          path,
          client,
          config.host,
          other.client,
          other.address,
        )
      }
      const writer = { client, address: config.host, blockSize: config.blockSize, base: 0 }
      const open = leases.open({ view, inode, path, blocks: [], ...writer })
      const timer = setInterval(() => {
        leases.renew(client)
      }, RENEW_MS)
      timer.unref()
      return {
        release() {
          clearInterval(timer)
          leases.close(open)
        },
      }
    },
  }
}
