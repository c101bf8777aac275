/** `lockstep snapshot`: snapshots of directories. */
import type { Command } from 'commander'
import type { SnapshotEntry } from '../../daemon/control.js'
import { Context, storePath } from '../context.js'
import { shortTime } from '../render.js'
import type { Column } from '../render.js'

const COLUMNS: Column<SnapshotEntry>[] = [
  { title: 'NAME', text: snapshot => snapshot.name },
  { title: 'CREATED', text: snapshot => shortTime(snapshot.created) },
  { title: 'EPOCH', text: snapshot => String(snapshot.epoch), right: true },
  { title: 'PATH', text: snapshot => snapshot.path },
]

/** Adds the commands. */
export function addSnapshot(program: Command): void {
  const group = program
    .command('snapshot')
    .description('create, list, delete and rename snapshots of directories')
  addCreate(group)
  addList(group)
  addDelete(group)
  addRename(group)
}

function addCreate(group: Command): void {
  group
    .command('create')
    .description('take a snapshot of PATH, at once, whatever its size')
    .argument('<path>', 'a directory')
    .argument('[name]', 'its name; a time if left out')
    .action(async (path: string, name: string | undefined, _options: unknown, command: Command) => {
      const context = new Context(command)
      const request = { path: storePath(path), name: name ?? defaultName(new Date()) }
      const snapshot = await context.withChange(control => control.createSnapshot(request))
      await context.output.value(snapshot, () => `created ${snapshot.path}`)
    })
}

function addList(group: Command): void {
  group
    .command('list')
    .description('list the snapshots of PATH, oldest first')
    .argument('<path>', 'a directory')
    .action(async (path: string, _options: unknown, command: Command) => {
      const context = new Context(command)
      const snapshots = await context.withControl(control =>
        control.listSnapshots({ path: storePath(path) }),
      )
      await context.output.list(snapshots, COLUMNS, 'no snapshots')
    })
}

function addDelete(group: Command): void {
  group
    .command('delete')
    .description('drop a snapshot; its space is freed in the background')
    .argument('<path>', 'a directory')
    .argument('<name>', "the snapshot's name")
    .action(async (path: string, name: string, _options: unknown, command: Command) => {
      const context = new Context(command)
      const request = { path: storePath(path), name }
      await context.withChange(control => control.deleteSnapshot(request))
      await context.output.value(request, () => `deleted the snapshot ${name} of ${request.path}`)
    })
}

function addRename(group: Command): void {
  group
    .command('rename')
    .description('give a snapshot another name')
    .argument('<path>', 'a directory')
    .argument('<name>', "the snapshot's name")
    .argument('<newname>', 'its new name')
    .action(async (path: string, name: string, to: string, _options: unknown, command: Command) => {
      const context = new Context(command)
      const request = { path: storePath(path), name, to }
      await context.withChange(control => control.renameSnapshot(request))
      await context.output.value(request, () => `renamed the snapshot ${name} to ${to}`)
    })
}

/** A name as HDFS makes one: `s20261122-201408.123`, in UTC. */
export function defaultName(now: Date): string {
  return `s${now.toISOString().replace(/[-:Z]/g, '').replace('T', '-')}`
}
