/** Where things lie, for tests that run compiled in `dist/test`. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The top directory of the checkout. */
export const root = fileURLToPath(new URL('../../../', import.meta.url))

/** The compiled command line. */
export const cliPath = join(root, 'lib', 'cli', 'lockstep.mjs')

/** What gives a cleanup to the test: tap's `t`. */
export interface Teardown {
  teardown(handler: () => Promise<void> | void): void
}

/** A fresh directory in the system's temporary one, removed after the test. */
export function temporaryDirectory(t: Teardown): string {
  const path = mkdtempSync(join(tmpdir(), 'lockstep-'))
  t.teardown(() => {
    rmSync(path, { recursive: true, force: true })
  })
  return path
}
