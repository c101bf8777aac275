/**
 * hdfs-native and fsspec's webhdfs, as child processes of a Python environment of our own.
 *
 * Invariant: the environment is built once per `requirements.txt`, under `test/.cache`, and nothing
 * is installed into the machine's Python.
 */
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { cacheDirectory, clientsDirectory, exclusively, run } from './process.js'

const PROJECT = join(clientsDirectory, 'python')
const ENVIRONMENT = join(cacheDirectory, 'venv')
const STAMP_FILE = join(ENVIRONMENT, 'requirements.txt')
const PYTHON = join(ENVIRONMENT, 'bin', 'python')

/** Which client speaks: the Rust one over `hdfs://`, or fsspec over `webhdfs://`. */
export type PythonClient = 'hdfs-native' | 'webhdfs'

/** A file's length and SHA-256, as `client.py` prints them. */
export type LengthAndDigest = [number, string]

let ready: Promise<void> | undefined

/** Runs one command of `test/clients/python/client.py` and returns what it printed. */
export async function python(
  client: PythonClient,
  url: string,
  command: string,
  ...words: string[]
): Promise<unknown> {
  ready ??= exclusively('python', prepare)
  await ready
  const script = join(PROJECT, 'client.py')
  const printed = await run(PYTHON, [script, client, url, command, ...words])
  return JSON.parse(printed)
}

/** Every file below `path`, with its length and digest, read through `client`. */
export async function pythonWalk(
  client: PythonClient,
  url: string,
  path: string,
): Promise<Map<string, LengthAndDigest>> {
  const files = (await python(client, url, 'walk', path)) as Record<string, LengthAndDigest>
  return new Map(Object.entries(files))
}

async function prepare(): Promise<void> {
  const wanted = await readFile(join(PROJECT, 'requirements.txt'), 'utf8')
  const present = await readFile(STAMP_FILE, 'utf8').catch(() => '')
  if (wanted === present) return
  await rm(ENVIRONMENT, { recursive: true, force: true })
  await mkdir(cacheDirectory, { recursive: true })
  await run('python3', ['-m', 'venv', ENVIRONMENT])
  await run(PYTHON, ['-m', 'pip', 'install', '-q', '-r', join(PROJECT, 'requirements.txt')])
  await writeFile(STAMP_FILE, wanted)
}
