/** How fast is one large file written (synced before it is closed) and read again (warm)? */
import { Checksum, PIECE_BYTES } from './harness/payload.js'
import { figure, seconds } from './harness/result.js'
import type { Figure } from './harness/result.js'
import type { Subject } from './harness/subject.js'
import type { Sizes } from './harness/options.js'

/** What one subject was seen to do. */
interface Seen {
  readonly subject: Subject
  readonly writes: number[]
  readonly reads: number[]
  readonly checksum: Checksum
}

/** Writes and reads one file per run; the subjects take turns, so that all see the same machine. */
export async function sequential(subjects: readonly Subject[], sizes: Sizes): Promise<Figure[]> {
  const pieceCount = Math.ceil(sizes.fileBytes / PIECE_BYTES)
  const all: Seen[] = subjects.map(subject => ({
    subject,
    writes: [],
    reads: [],
    checksum: new Checksum(),
  }))
  for (let run = 0; run < sizes.runs; run++) {
    for (const seen of all) await writeAndRead(seen, pieceCount, run === sizes.runs - 1)
  }
  return all.flatMap(seen => figuresOf(seen, mebibytes(pieceCount)))
}

async function writeAndRead(seen: Seen, pieceCount: number, isLast: boolean): Promise<void> {
  const { subject } = seen
  const path = 'sequential'
  const size = mebibytes(pieceCount)
  seen.writes.push(size / (await seconds(() => subject.writePieces(path, pieceCount))))
  seen.reads.push(size / (await seconds(() => subject.readPieces(path))))
  if (isLast) await subject.readPieces(path, seen.checksum)
  await subject.remove(path)
}

function mebibytes(pieceCount: number): number {
  return (pieceCount * PIECE_BYTES) / (1024 * 1024)
}

function figuresOf({ subject, writes, reads, checksum }: Seen, mebibytes: number): Figure[] {
  const common = {
    question: 'sequential',
    subject: subject.name,
    unit: 'MiB/s',
    checksum: checksum.digest(),
  }
  const size = `${String(mebibytes)} MiB`
  return [
    figure({ ...common, work: `write ${size}`, durability: 'synced', samples: writes }),
    figure({ ...common, work: `read ${size}, warm`, durability: 'read only', samples: reads }),
  ]
}
