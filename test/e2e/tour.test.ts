/**
 * README's five-minute tour, run line by line: blocks marked `sh tour` in one shell, the block
 * marked `js tour` as a program beside it.
 *
 * The commands that a reader has from elsewhere are made available as they are: `hdfs dfs` is
 * Hadoop's FsShell, `npx lockstep` and `npm start` are this checkout's own, run in a directory of
 * their own so that the checkout's `lockstep-data` is left alone.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { chmod, copyFile, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import t from 'tap'
import { javaClasspath } from '../clients/java.js'
import { projectDirectory, tryRun } from '../clients/process.js'
import { hasFuse } from './posix-side.js'

/** The set-up that `npm start` does first may have to build something. */
const READY_WITHIN_MS = 600_000
const STOPS_WITHIN_MS = 30_000

interface Block {
  language: 'sh' | 'js'
  text: string
}

/** The blocks of the tour, in order. */
async function tourBlocks(): Promise<Block[]> {
  const text = await readFile(join(projectDirectory, 'README.md'), 'utf8')
  return [...text.matchAll(/^```(sh|js) tour\n([^]*?)^```$/gm)].map(match => ({
    language: match[1] === 'js' ? 'js' : 'sh',
    text: match[2] ?? '',
  }))
}

/** A program of that name in `bin`. */
async function addCommand(bin: string, name: string, lines: string[]): Promise<void> {
  const path = join(bin, name)
  await writeFile(path, ['#!/bin/sh', ...lines, ''].join('\n'))
  await chmod(path, 0o755)
}

async function prepare(directory: string): Promise<NodeJS.ProcessEnv> {
  const bin = join(directory, 'bin')
  await mkdir(bin)
  const node = process.execPath
  // Every Hadoop distribution brings this file, empty; FsShell insists on it.
  await writeFile(join(bin, 'core-site.xml'), '<configuration/>')
  const classpath = `${await javaClasspath()}:${bin}`
  const shell = 'org.apache.hadoop.fs.FsShell'
  await addCommand(bin, 'hdfs', [`shift; exec java -cp '${classpath}' ${shell} "$@"`])
  const program = join(projectDirectory, 'lib', 'cli', 'lockstep.mjs')
  await addCommand(bin, 'npx', [`shift; exec '${node}' '${program}' "$@"`])
  for (const name of ['README.md', 'package.json']) {
    await copyFile(join(projectDirectory, name), join(directory, name))
  }
  return { ...process.env, PATH: `${bin}:${process.env['PATH'] ?? ''}` }
}

/** Starts what `npm start` starts, in `directory`; resolves once it says that it is ready. */
function start(directory: string): Promise<ChildProcess> {
  const program = join(projectDirectory, 'lib', 'cli', 'start.mjs')
  const child = spawn(process.execPath, [program], {
    cwd: directory,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const lines: string[] = []
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill('SIGKILL')
      reject(new Error(`npm start is not ready\n${lines.join('\n')}`))
    }, READY_WITHIN_MS)
    const heard = (line: string): void => {
      lines.push(line)
      if (!line.startsWith('ready ')) return
      clearTimeout(timer)
      resolve(child)
    }
    createInterface({ input: child.stdout }).on('line', heard)
    createInterface({ input: child.stderr }).on('line', heard)
    child.once('exit', () => {
      clearTimeout(timer)
      reject(new Error(`npm start ended\n${lines.join('\n')}`))
    })
  })
}

function stop(child: ChildProcess): Promise<number | null> {
  return new Promise(resolve => {
    const timer = setTimeout(() => child.kill('SIGKILL'), STOPS_WITHIN_MS)
    child.once('exit', status => {
      clearTimeout(timer)
      resolve(status)
    })
    child.kill('SIGINT')
  })
}

const directory = await mkdtemp(join(tmpdir(), 'lockstep-tour-'))
t.teardown(() => rm(directory, { recursive: true, force: true }))
const env = await prepare(directory)
const blocks = await tourBlocks()
t.ok(blocks.filter(block => block.language === 'sh').length >= 4, 'the tour has its blocks')

await t.test('the shell part', async t => {
  const child = await start(directory)
  try {
    const script = blocks.filter(block => block.language === 'sh').map(block => block.text)
    if (!(await hasFuse())) t.comment('no /dev/fuse here: lines that use the mount are left out')
    const lines = (await hasFuse()) ? script : script.map(withoutMount)
    const words = ['-euxo', 'pipefail', '-c', lines.join('\n')]
    const result = await tryRun('bash', words, { cwd: directory, env, timeoutMs: 180_000 })
    t.equal(result.status, 0, 'every command succeeds', {
      output: `${result.stdout.slice(-4000)}\n${result.stderr.slice(-6000)}`,
    })
    t.match(result.stdout, /one more line\n/)
    t.match(result.stdout, /"FileStatuses"/)
    t.match(result.stdout, /package\.json -> renamed\.json/)
  } finally {
    t.equal(await stop(child), 0, 'Ctrl-C ends it in order')
  }
})

/** The lines that work without the mount; a snapshot is then taken by the command line. */
function withoutMount(text: string): string {
  const lines = text.split('\n').map(line => {
    if (line.startsWith('mkdir lockstep-mnt'))
      return 'npx lockstep snapshot create /training monday'
    return line.includes('lockstep-mnt') ? '' : line
  })
  return lines.join('\n')
}

await t.test('the library part', async t => {
  const text = blocks.find(block => block.language === 'js')?.text ?? ''
  const cwd = join(directory, 'program')
  await mkdir(join(cwd, 'node_modules'), { recursive: true })
  await symlink(projectDirectory, join(cwd, 'node_modules', 'lockstep'))
  await writeFile(join(cwd, 'package.json'), '{"private": true, "type": "module"}')
  const file = join(cwd, 'tour.mjs')
  await writeFile(file, text)
  const result = await tryRun(process.execPath, [file], { cwd, timeoutMs: 60_000 })
  t.equal(result.status, 0, 'the program ends well', { stderr: result.stderr })
  t.match(result.stdout, /^first\n/)
  t.match(result.stdout, /modified notes\.txt/)
})
