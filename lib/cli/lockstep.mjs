#!/usr/bin/env node
/**
 * The `lockstep` command. In a fresh checkout it does the set-up first; everywhere else it only
 * hands over to the compiled program.
 */
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
const program = join(root, 'dist', 'lib', 'cli', 'main.js')

if (!existsSync(program)) {
  const { setUpOrExit } = await import('../setup.mjs')
  setUpOrExit()
}
const { main } = await import(pathToFileURL(program).href)
await main(process.argv.slice(2))
