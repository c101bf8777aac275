/**
 * A real data set: thousands of files that other people wrote, and one large file made of them.
 *
 * Invariant: every file's SHA-256 is computed here, from the copy on the host's own file system,
 * before a store has seen a byte of it.
 */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { copyFile, mkdir, open, readdir, stat } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { projectDirectory } from '../clients/process.js'
import { tryRun } from '../clients/process.js'

const NPM_FILES = 2200
const MAVEN_FILES = 800
const FILE_BYTES_MAX = 40 << 20
/** The least size of the one large file. */
export const LARGE_FILE_BYTES = 512 << 20
/** Where the large file lies in the data set. */
export const LARGE_FILE = 'large.bin'

/** A file's length and SHA-256. */
export type LengthAndDigest = [number, string]

/** Files by path relative to the data set's directory. */
export type Contents = Map<string, LengthAndDigest>

/** A directory of real files whose contents are known. */
export interface DataSet {
  directory: string
  contents: Contents
  bytes: number
}

/** Copies real files into `directory` and makes the large one. */
export async function makeDataSet(directory: string): Promise<DataSet> {
  await mkdir(directory, { recursive: true })
  const npm = join(projectDirectory, 'node_modules')
  const maven = join(homedir(), '.m2', 'repository')
  await copyTree(npm, join(directory, 'npm'), NPM_FILES)
  await copyTree(maven, join(directory, 'maven'), MAVEN_FILES)
  await makeLargeFile(join(directory, LARGE_FILE), [npm, maven, ...(await toolchains())])
  const contents = await digestTree(directory)
  const bytes = [...contents.values()].reduce((sum, [length]) => sum + length, 0)
  return { directory, contents, bytes }
}

/** Directories of large programs that this machine has in any case: Node.js and Java. */
async function toolchains(): Promise<string[]> {
  const found = await tryRun('readlink', ['-f', '/usr/bin/java'])
  const java = found.stdout.trim()
  return [dirname(process.execPath), ...(java === '' ? [] : [join(dirname(java), '..', 'lib')])]
}

async function copyTree(from: string, to: string, count: number): Promise<void> {
  const files = await listFiles(from)
  for (const file of files.slice(0, count)) {
    const target = join(to, relative(from, file))
    await mkdir(dirname(target), { recursive: true })
    await copyFile(file, target)
  }
}

/** Regular files below `top` of a moderate size, in the order of their paths. */
async function listFiles(top: string): Promise<string[]> {
  const entries = await readdir(top, { recursive: true, withFileTypes: true }).catch(() => [])
  const files = entries.filter(entry => entry.isFile() && !entry.name.startsWith('.'))
  return files.map(entry => join(entry.parentPath, entry.name)).sort()
}

async function makeLargeFile(target: string, roots: string[]): Promise<void> {
  const sources = (await Promise.all(roots.map(root => listFiles(root)))).flat()
  const output = await open(target, 'w')
  let length = 0
  try {
    // Real files run out on a bare machine: then the next round stands at other offsets.
    for (let round = 0; length < LARGE_FILE_BYTES; round += 1) {
      if (sources.length === 0) throw new Error('no files to make the large one of')
      for (const source of sources) {
        const { size } = await stat(source)
        if (size < 64 << 10 || size > 8 * FILE_BYTES_MAX) continue
        for await (const bytes of createReadStream(source, { highWaterMark: 1 << 20 })) {
          length += (await output.write(bytes as Buffer)).bytesWritten
        }
        if (length >= LARGE_FILE_BYTES) break
      }
      if (round > 1000) throw new Error('the files are too small to make the large one of')
    }
  } finally {
    await output.close()
  }
}

/** Length and SHA-256 of every regular file below `top`. */
export async function digestTree(top: string): Promise<Contents> {
  const entries = await readdir(top, { recursive: true, withFileTypes: true })
  const files = entries.filter(entry => entry.isFile()).map(e => join(e.parentPath, e.name))
  const contents: Contents = new Map()
  for (const file of files.sort()) contents.set(relative(top, file), await digestFile(file))
  return contents
}

/** Length and SHA-256 of one file, read in pieces. */
export async function digestFile(path: string): Promise<LengthAndDigest> {
  const hash = createHash('sha256')
  let length = 0
  for await (const bytes of createReadStream(path, { highWaterMark: 1 << 20 })) {
    hash.update(bytes as Buffer)
    length += (bytes as Buffer).length
  }
  return [length, hash.digest('hex')]
}

/** What is different between two sets of contents, in words; empty if nothing is. */
export function differences(found: Contents, wanted: Contents): string[] {
  const missing = [...wanted.keys()].filter(path => !found.has(path)).map(path => `missing ${path}`)
  const extra = [...found.keys()].filter(path => !wanted.has(path)).map(path => `extra ${path}`)
  const changed = [...wanted].flatMap(([path, [length, digest]]) => {
    const other = found.get(path)
    if (other === undefined || (other[0] === length && other[1] === digest)) return []
    return [`${path} has ${String(other[0])} bytes ${other[1]}, not ${String(length)} ${digest}`]
  })
  return [...missing, ...extra, ...changed]
}

/** Bytes that the files below `top` take on the disk, as `du` counts them. */
export async function diskUsage(top: string): Promise<number> {
  const printed = await tryRun('du', ['-s', '-B1', top])
  return Number(printed.stdout.split('\t')[0])
}
