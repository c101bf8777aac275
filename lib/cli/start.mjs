#!/usr/bin/env node
/**
 * `npm start`: brings the checkout up to date, then runs `lockstep start` in this same process, so
 * that signals sent to it reach the daemon.
 */
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { setUpOrExit } from '../setup.mjs'

setUpOrExit()
const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
const { main } = await import(pathToFileURL(join(root, 'dist', 'lib', 'cli', 'main.js')).href)
await main(['start', ...process.argv.slice(2)])
