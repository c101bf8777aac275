/** The program's version, as `package.json` names it. */
import { createRequire } from 'node:module'

const { version } = createRequire(import.meta.url)('lockstep/package.json') as { version: string }

/** The program's version. */
export const VERSION: string = version
