#!/usr/bin/env node
/** `npm run bench`: sets the checkout up if that is needed, then runs the suite. */
import { setUpOrExit } from '../lib/setup.mjs'

setUpOrExit()
await import(new URL('../dist/bench/main.js', import.meta.url).href)
