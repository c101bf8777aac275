/** How fast does Hadoop's own Java client put and get a file, checksums on? */
import { JavaClient } from '../test/clients/java.js'
import { PLAIN, figure } from './harness/result.js'
import type { Durability, Figure } from './harness/result.js'
import type { Sizes } from './harness/options.js'

const MIB = 1024 * 1024

/** Written and read once before the clock counts, so that the JVM has compiled its loops. */
const WARM_UP_BYTES = 64 * MIB

/** The client against the store, and against the plain directory by its own local file system. */
export async function hadoop(hdfs: string, directory: string, sizes: Sizes): Promise<Figure[]> {
  return [
    ...(await through('hdfs://', hdfs, '/hadoop-bench', sizes)),
    ...(await through(PLAIN, 'file:///', `${directory}/hadoop-bench`, sizes)),
  ]
}

async function through(
  subject: string,
  uri: string,
  path: string,
  sizes: Sizes,
): Promise<Figure[]> {
  await using client = await JavaClient.start(uri)
  await client.throughput(path, Math.min(WARM_UP_BYTES, sizes.hadoopBytes))
  const [puts, gets]: [number[], number[]] = [[], []]
  let checksum = ''
  for (let run = 0; run < sizes.runs; run++) {
    const result = await client.throughput(path, sizes.hadoopBytes)
    if (result.crc32cRead !== result.crc32cWritten) throw new Error(`${subject}: wrong bytes read`)
    puts.push(sizes.hadoopBytes / MIB / result.putSeconds)
    gets.push(sizes.hadoopBytes / MIB / result.getSeconds)
    checksum = `crc32c:${result.crc32cRead}`
  }
  // The store answers `complete` when the bytes are durable; a local file is only with the kernel.
  const written: Durability = subject === PLAIN ? 'acknowledged' : 'synced'
  const common = { question: 'hadoop', subject, unit: 'MiB/s', checksum }
  const size = `${String(sizes.hadoopBytes / MIB)} MiB by Hadoop's Java client`
  return [
    figure({ ...common, work: `put ${size}`, durability: written, samples: puts }),
    figure({ ...common, work: `get ${size}`, durability: 'read only', samples: gets }),
  ]
}
