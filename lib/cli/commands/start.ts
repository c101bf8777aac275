/** `lockstep start` (`npm start`): a store to try, without a question asked. */
import { existsSync, mkdirSync, readdirSync } from 'node:fs'
import { relative, resolve } from 'node:path'
import type { Command } from 'commander'
import type { Daemon } from '../../daemon/daemon.js'
import { codeOf, guard } from '../../errors.js'
import { NativeStore } from '../../native.js'
import { DEFAULT_STORE } from '../context.js'
import { hasStoreMount } from '../../posix/mount.js'
import { addServeOptions, serve } from './serve.js'
import type { ServeOptions } from './serve.js'

const DEFAULT_MOUNT = 'lockstep-mnt'

/** Adds the command. */
export function addStart(program: Command): void {
  const command = program
    .command('start')
    .description(
      `serve ./${DEFAULT_STORE} (made if missing), mounted at ./${DEFAULT_MOUNT} where this machine can`,
    )
    .option('--mount <path>', 'mount it here instead')
  addServeOptions(command, 'warn').action(async (options: ServeOptions) => {
    initIfMissing(DEFAULT_STORE)
    const wish = options.mount
    if (typeof wish === 'string') await run(options, { path: wish, required: true })
    else if (wish === false) await run(options, {})
    else await run(options, { path: makeMountPoint(DEFAULT_MOUNT), required: false })
  })
}

async function run(
  options: ServeOptions,
  mount: { path?: string; required?: boolean },
): Promise<void> {
  await serve(DEFAULT_STORE, options, mount, daemon => {
    process.stdout.write(greeting(daemon))
  })
}

function initIfMissing(dir: string): void {
  if (existsSync(dir) && readdirSync(dir).length > 0) return
  const path = resolve(dir)
  guard({ syscall: 'init', path }, () => {
    NativeStore.create(path)
  })
}

function makeMountPoint(path: string): string {
  // One whose daemon is away would not answer.
  if (hasStoreMount(resolve(path))) return path
  try {
    mkdirSync(path, { recursive: true })
  } catch (error) {
    // A dead mount is there but answers to nothing; mounting cleans it up.
    if (codeOf(error) !== 'EEXIST' && codeOf(error) !== 'ENOTCONN') throw error
  }
  return path
}

/** What to try next. */
function greeting(daemon: Daemon): string {
  const { mount, hdfs, webhdfs, http } = daemon.ready
  const lines = ['', `Lockstep serves ./${DEFAULT_STORE}. Ctrl-C stops it.`, '']
  if (mount !== null) lines.push(`  files      ${near(mount)}`)
  else lines.push(`  files      not mounted: ${daemon.mountFailure ?? 'not asked for'}`)
  if (hdfs !== null) lines.push(`  hdfs       ${hdfs}`)
  lines.push(`  webhdfs    ${webhdfs}`, '', 'Try, in another terminal in this directory:', '')
  lines.push(...(mount === null ? throughCommands() : throughMount(near(mount))))
  lines.push('  npx lockstep diff / first .')
  if (hdfs !== null) lines.push(`  hdfs dfs -ls ${hdfs}/.snapshot/first`)
  lines.push(`  curl -s '${http}/webhdfs/v1/?op=LISTSTATUS'`, '')
  return `${lines.join('\n')}\n`
}

function throughMount(mount: string): string[] {
  return [
    `  cp README.md ${mount}/`,
    '  npx lockstep snapshot create / first',
    `  echo changed >> ${mount}/README.md`,
    `  cmp README.md ${mount}/.snapshot/first/README.md && echo kept`,
  ]
}

function throughCommands(): string[] {
  return [
    '  npx lockstep put README.md /',
    '  npx lockstep snapshot create / first',
    '  npx lockstep put package.json /README.md',
    '  npx lockstep cat /.snapshot/first/README.md',
  ]
}

function near(path: string): string {
  const text = relative(process.cwd(), path)
  return text.startsWith('..') ? path : `./${text}`
}
