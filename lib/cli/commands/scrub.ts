/** `lockstep scrub`: reads everything of a store that is in use, and names what is damaged. */
import { setTimeout } from 'node:timers/promises'
import type { Command } from 'commander'
import type { Control } from '../../daemon/control.js'
import { errorFor } from '../../errors.js'
import type { ScrubStatus } from '../../native.js'
import { endedScrub, SCRUB_LOOK_MS } from '../../store.js'
import { Context, usageError } from '../context.js'
import { problemsText } from '../problems.js'
import { byteSize, plural, Share, shortTime, visible } from '../render.js'

interface ScrubFlags {
  rate?: string
  resume?: boolean
  status?: boolean
  stop?: boolean
}

/** Adds the command. */
export function addScrub(program: Command): void {
  program
    .command('scrub')
    .description('read everything while the store is in use, and name what is damaged')
    .option('--rate <bytes>', 'read at most so many bytes a second (suffixes K, M, G)')
    .option('--resume', 'go on where the last scrub was interrupted')
    .option('--status', 'only show how the running scrub stands, or the last one')
    .option('--stop', 'end the running scrub; --resume goes on later')
    .action(async (flags: ScrubFlags, command: Command) => {
      const context = new Context(command)
      const status = await context.withControl(control => act(control, flags, context))
      await context.output.value(status, () => statusText(status))
      if (status === null || status.problemCount === 0) return
      const found = plural(status.problemCount, 'problem')
      throw errorFor('ERR_LOCKSTEP_CORRUPT', `${found} found`)
    })
}

async function act(
  control: Control,
  flags: ScrubFlags,
  { output }: Context,
): Promise<ScrubStatus | null> {
  if (flags.stop === true) await control.stopScrub()
  if (flags.stop === true || flags.status === true) return await control.scrubStatus()
  const rateBytes = flags.rate === undefined ? 0 : rateOf(flags.rate)
  await control.startScrub({ rateBytes, resume: flags.resume === true })
  const share = new Share('scrub', output.json)
  try {
    for (;;) {
      const status = await control.scrubStatus()
      if (status?.running !== true) return endedScrub(status)
      share.show(status)
      await setTimeout(SCRUB_LOOK_MS)
    }
  } finally {
    share.clear()
  }
}

const FACTORS: ReadonlyMap<string, number> = new Map([
  ['', 1],
  ['K', 1024],
  ['M', 1024 ** 2],
  ['G', 1024 ** 3],
])

function rateOf(text: string): number {
  const [, digits = '', suffix = ''] = /^(\d{1,12})([KMG]?)$/i.exec(text) ?? []
  const rate = Number(digits) * (FACTORS.get(suffix.toUpperCase()) ?? 0)
  if (rate > 0 && Number.isSafeInteger(rate)) return rate
  throw usageError(`--rate must be a number of bytes such as 50M, not "${text}"`)
}

function statusText(status: ScrubStatus | null): string {
  if (status === null) return 'never scrubbed'
  const { problems, problemCount, summary } = status
  const lines =
    problems.length > 0 ? problemsText({ problems, problemCount }) : summary.map(visible)
  const counts = [
    plural(status.pages, 'page'),
    plural(status.chunks, 'chunk'),
    plural(status.footers, 'footer'),
    `${byteSize(status.doneBytes)} of ${byteSize(status.totalBytes)}`,
  ]
  const result = problemCount === 0 ? 'no damage' : plural(problemCount, 'problem')
  return [...lines, `${stateText(status)}: ${result} in ${counts.join(', ')}`].join('\n')
}

function stateText({ running, complete, startedMs, updatedMs }: ScrubStatus): string {
  const time = (ms: number): string => shortTime(new Date(ms).toISOString())
  if (running) return `running since ${time(startedMs)}`
  const state = complete ? 'complete' : 'interrupted'
  return `${state}, ${time(startedMs)} to ${time(updatedMs)}`
}
