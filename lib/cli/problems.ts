/** How problems of a store are told to people: what is wrong, then whom it takes. */
import type { Affected, Problem } from '../native.js'
import { plural, visible } from './render.js'

/** Files named under one problem; `--json` has more. */
const AFFECTED_SHOWN = 20

/** The lines of one problem. */
export function problemLines(problem: Problem): string[] {
  const shown = problem.affected.slice(0, AFFECTED_SHOWN)
  const more = problem.affectedCount - shown.length
  return [
    visible(problem.message),
    ...shown.map(affected => `  ${visible(affectedText(affected))}`),
    ...(more > 0 ? [`  and ${String(more)} more (--json lists them)`] : []),
  ]
}

/** All problems, and how many there are beyond those that are listed. */
export function problemsText(report: { problems: Problem[]; problemCount: number }): string[] {
  const more = report.problemCount - report.problems.length
  const lines = report.problems.flatMap(problemLines)
  return more > 0 ? [...lines, `and ${plural(more, 'problem')} more`] : lines
}

function affectedText({ path, inode, snapshot, volume, offset, length }: Affected): string {
  const where = snapshot ?? `volume ${volume}`
  const file = path ?? `inode ${String(inode)} of ${where}`
  if (offset === undefined || length === undefined) return file
  return `${file}: bytes ${String(offset)} to ${String(offset + length - 1)}`
}
