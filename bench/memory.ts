/** How much memory does the daemon take while a large file is written and read? */
import type { Daemon } from './harness/daemon.js'
import { Checksum, PIECE_BYTES } from './harness/payload.js'
import { figure } from './harness/result.js'
import type { Figure } from './harness/result.js'
import type { Subject } from './harness/subject.js'
import type { Sizes } from './harness/options.js'

const MIB = 1024 * 1024

/** Peak resident memory of the daemon during a write and a read through each of its views. */
export async function memory(
  daemon: Daemon,
  subjects: readonly Subject[],
  sizes: Sizes,
): Promise<Figure[]> {
  const pieceCount = Math.ceil(sizes.memoryBytes / PIECE_BYTES)
  const figures: Figure[] = []
  for (const subject of subjects) {
    await daemon.resetPeakMemory()
    await subject.writePieces('memory', pieceCount)
    const written = await daemon.memory('VmHWM')
    const checksum = new Checksum()
    await subject.readPieces('memory', checksum)
    const read = await daemon.memory('VmHWM')
    await subject.remove('memory')
    const common = {
      question: 'memory',
      subject: subject.name,
      unit: 'MiB',
      checksum: checksum.digest(),
    }
    const size = `${String(pieceCount)} MiB`
    figures.push(
      figure({
        ...common,
        work: `peak memory of the daemon, ${size} written`,
        durability: 'synced',
        samples: [written / MIB],
      }),
      figure({
        ...common,
        work: `peak memory of the daemon, ${size} read too`,
        durability: 'read only',
        samples: [read / MIB],
      }),
    )
  }
  return figures
}
