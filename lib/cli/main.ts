/**
 * The `lockstep` command: reads the arguments, runs one command, sets the exit status.
 *
 * Exit status: 0 done; 1 the operation failed (one line `lockstep: CODE: message` on standard error,
 * with `--json` an object `{"error": {"code", "message"}}`); 2 the command was called wrongly.
 */
import { Command, CommanderError } from 'commander'
import { codeOf } from '../errors.js'
import { VERSION } from '../daemon/version.js'
import { addCat } from './commands/cat.js'
import { addCheck } from './commands/check.js'
import { addClone } from './commands/clone.js'
import { addDiff } from './commands/diff.js'
import { addGet } from './commands/get.js'
import { addInit } from './commands/init.js'
import { addLs } from './commands/ls.js'
import { addMkdir } from './commands/mkdir.js'
import { addPut } from './commands/put.js'
import { addRepair } from './commands/repair.js'
import { addRm } from './commands/rm.js'
import { addScrub } from './commands/scrub.js'
import { addServe } from './commands/serve.js'
import { addSnapshot } from './commands/snapshot.js'
import { addSpace } from './commands/space.js'
import { addStart } from './commands/start.js'
import { addStat } from './commands/stat.js'
import { addVolume } from './commands/volume.js'
import { usageError } from './context.js'
import { printFailure } from './render.js'

const COMMANDS = [
  ...[addInit, addServe, addStart, addSnapshot, addClone, addVolume, addDiff, addLs, addCat],
  ...[addPut, addGet, addRm, addStat, addMkdir, addSpace, addCheck, addScrub, addRepair],
]

/** The program with all its commands. */
export function makeProgram(): Command {
  const program = new Command('lockstep')
  program
    .description(
      'One store for data: versioned in place, served as a POSIX mount and to hdfs:// clients.',
    )
    .version(VERSION)
    .option('--store <dir>', 'the store (also LOCKSTEP_STORE; else ./lockstep-data if it is there)')
    .option('--json', 'print JSON')
    .configureHelp({ showGlobalOptions: true })
    .exitOverride()
    // Errors are printed once, by `main`, in our form.
    .configureOutput({ outputError: () => undefined })
  for (const add of COMMANDS) add(program)
  return program
}

/**
 * Runs the command line and sets the process's exit status.
 *
 * @param args - The arguments, without the program's name.
 */
export async function main(args: string[]): Promise<void> {
  process.stdout.on('error', (error: Error) => {
    // The reader has seen enough (`lockstep ls | head`): nothing is left to say.
    process.exit(codeOf(error) === 'EPIPE' ? 0 : 1)
  })
  process.exitCode = await run(args)
}

async function run(args: string[]): Promise<number> {
  const json = args.includes('--json')
  try {
    await makeProgram().parseAsync(args, { from: 'user' })
    return 0
  } catch (error) {
    if (!(error instanceof CommanderError)) return printFailure(error, json)
    if (error.exitCode === 0) return 0
    // Help that was shown because no command was named has said everything.
    if (error.code === 'commander.help') return 2
    return printFailure(usageError(error.message.replace(/^error: /, '')), json)
  }
}
