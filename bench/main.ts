/**
 * The bench suite: asks each question in turn, prints a table per question and keeps the JSON.
 *
 * Invariants:
 * - Store and plain files lie on the same file system, and subjects take turns in one run.
 * - What a machine cannot do (no FUSE, no Java) is said in one line, never silently left out.
 */
import * as nodeFs from 'node:fs/promises'
import { Store } from '../lib/index.js'
import { creation } from './creation.js'
import { durability } from './durability.js'
import { hadoop } from './hadoop.js'
import { Daemon } from './harness/daemon.js'
import { USAGE, parseOptions } from './harness/options.js'
import type { BenchOptions } from './harness/options.js'
import { PLAIN, save, table } from './harness/result.js'
import type { Figure } from './harness/result.js'
import { FileSystemSubject, WebHdfsSubject } from './harness/subject.js'
import type { Subject } from './harness/subject.js'
import { Workspace } from './harness/workspace.js'
import { memory } from './memory.js'
import { sequential } from './sequential.js'
import { snapshots } from './snapshots.js'

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}

/** Everything that is measured: one library store, one daemon, one plain directory. */
interface Bench {
  readonly options: BenchOptions
  readonly workspace: Workspace
  readonly store: Store
  readonly storeDirectory: string
  readonly plainDirectory: string
  readonly daemon: Daemon
}

function daemonSubjects({ daemon }: Bench): Subject[] {
  const { mount, http } = daemon.ready
  const subjects: Subject[] = []
  if (mount !== null) subjects.push(new FileSystemSubject('mount', nodeFs, mount))
  if (http !== null) subjects.push(new WebHdfsSubject(http))
  return subjects
}

function allSubjects(bench: Bench): Subject[] {
  return [
    new FileSystemSubject(PLAIN, nodeFs, bench.plainDirectory),
    new FileSystemSubject('library', bench.store.fs, '/'),
    ...daemonSubjects(bench),
  ]
}

type Question = (bench: Bench) => Promise<Figure[]>

const QUESTIONS: Readonly<Record<string, Question>> = {
  sequential: bench => sequential(allSubjects(bench), bench.options.sizes),
  creation: bench => creation(allSubjects(bench), bench.options.sizes),
  snapshots: bench => snapshots(bench.store, bench.storeDirectory, bench.options.sizes),
  memory: bench => memory(bench.daemon, daemonSubjects(bench), bench.options.sizes),
  durability: async bench => {
    const { daemon, options, plainDirectory } = bench
    const { mount } = daemon.ready
    const subjects = [new FileSystemSubject(PLAIN, nodeFs, plainDirectory)]
    if (mount !== null) subjects.push(new FileSystemSubject('mount', nodeFs, mount))
    return await durability(subjects, daemon, options.sizes)
  },
  hadoop: async bench => {
    const { hdfs } = bench.daemon.ready
    if (hdfs === null) return []
    return await hadoop(hdfs, bench.plainDirectory, bench.options.sizes)
  },
}

/** Which questions to ask; the tiny run leaves out the one that needs a JVM. */
function questionsOf({ only, scale }: BenchOptions): string[] {
  const unknown = only.find(name => !Object.hasOwn(QUESTIONS, name))
  if (unknown !== undefined) throw new TypeError(`no question is called ${unknown}`)
  if (only.length > 0) return [...only]
  const names = Object.keys(QUESTIONS)
  return scale === 'tiny' ? names.filter(name => name !== 'hadoop') : names
}

async function ask(options: BenchOptions, names: readonly string[]): Promise<Figure[]> {
  await using workspace = await Workspace.make(options.directory)
  const storeDirectory = `${workspace.path}/library-store`
  await using store = await Store.open(storeDirectory, { create: true })
  const mountPoint = await workspace.directory('mount')
  await using daemon = await Daemon.start(`${workspace.path}/daemon-store`, mountPoint)
  if (daemon.ready.mount === null) say('This machine has no /dev/fuse: the mount is not measured.')
  const plainDirectory = await workspace.directory('plain')
  const bench = { options, workspace, store, storeDirectory, plainDirectory, daemon }
  const figures: Figure[] = []
  for (const name of names) {
    const answers = await QUESTIONS[name]?.(bench)
    if (answers === undefined) continue
    say(`\n${name}\n${table(answers)}`)
    figures.push(...answers)
  }
  return figures
}

async function main(): Promise<void> {
  const options = parseOptions(process.argv.slice(2))
  if (options === 'help') {
    say(USAGE)
    return
  }
  const names = questionsOf(options)
  const figures = await ask(options, names)
  const file = await save(options.results, options.scale, figures)
  if (options.json) say(JSON.stringify(figures))
  say(`\nresults: ${file}`)
}

try {
  await main()
} catch (error) {
  const text = error instanceof TypeError ? `${error.message}\n\n${USAGE}` : String(error)
  process.stderr.write(`lockstep bench: ${text}\n`)
  process.exitCode = error instanceof TypeError ? 2 : 1
}
