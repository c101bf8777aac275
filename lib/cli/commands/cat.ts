/** `lockstep cat`: a file's bytes on standard output. */
import type { Command } from 'commander'
import type { Control } from '../../daemon/control.js'
import { Context, storePath } from '../context.js'
import type { Output } from '../render.js'

/** Adds the command. */
export function addCat(program: Command): void {
  program
    .command('cat')
    .description('print files; with --json as base64 in objects')
    .argument('<path...>', 'paths in the store')
    .action(async (paths: string[], _options: unknown, command: Command) => {
      const context = new Context(command)
      await context.withControl(async control => {
        for (const path of paths) await print(control, storePath(path), context.output)
      })
    })
}

async function print(control: Control, path: string, output: Output): Promise<void> {
  const { entry, bytes } = await control.read({ path })
  if (!output.json) {
    for await (const chunk of bytes) await output.bytes(chunk)
    return
  }
  const head = JSON.stringify({ path, size: entry.size, encoding: 'base64' })
  await output.bytes(`${head.slice(0, -1)},"content":"`)
  // Base64 joins at multiples of three bytes: what is over waits for the next chunk.
  let rest = Buffer.alloc(0)
  for await (const chunk of bytes) {
    const whole = rest.length === 0 ? Buffer.from(chunk) : Buffer.concat([rest, chunk])
    const end = whole.length - (whole.length % 3)
    await output.bytes(whole.toString('base64', 0, end))
    rest = Buffer.from(whole.subarray(end))
  }
  await output.bytes(`${rest.toString('base64')}"}\n`)
}
