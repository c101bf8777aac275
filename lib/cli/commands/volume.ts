/** `lockstep volume`: volumes of the store. */
import type { Command } from 'commander'
import type { VolumeEntry } from '../../daemon/control.js'
import { Context, storePath } from '../context.js'
import { byteSize, shortTime } from '../render.js'
import type { Column } from '../render.js'

const COLUMNS: Column<VolumeEntry>[] = [
  { title: 'PATH', text: volume => volume.path },
  { title: 'FILES', text: volume => String(volume.inodes), right: true },
  { title: 'SIZE', text: volume => byteSize(volume.bytes), right: true },
  { title: 'CREATED', text: volume => shortTime(volume.created) },
  { title: 'ORIGIN', text: volume => (volume.origin === null ? '-' : `view ${volume.origin}`) },
]

/** Adds the command. */
export function addVolume(program: Command): void {
  const group = program.command('volume').description('create, list and delete volumes')
  group
    .command('create')
    .description('make an empty volume at PATH')
    .argument('<path>', 'where it appears; must not be there yet')
    .action(async (path: string, _options: unknown, command: Command) => {
      const context = new Context(command)
      const volume = await context.withChange(control =>
        control.createVolume({ path: storePath(path) }),
      )
      await context.output.value(volume, () => `made the volume ${volume.path}`)
    })
  group
    .command('list')
    .description('list volumes: all, or those at and below PATH')
    .argument('[path]', 'where to begin', '/')
    .action(async (path: string, _options: unknown, command: Command) => {
      const context = new Context(command)
      const all = await context.withControl(control => control.listVolumes())
      const below = all.filter(volume => isBelow(volume.path, storePath(path)))
      await context.output.list(below, COLUMNS, 'no volumes')
    })
  group
    .command('delete')
    .description('remove a volume and everything in it')
    .argument('<path>', 'where it is attached')
    .action(async (path: string, _options: unknown, command: Command) => {
      const context = new Context(command)
      const target = storePath(path)
      await context.withChange(control => control.deleteVolume({ path: target }))
      await context.output.value({ path: target }, () => `removed the volume ${target}`)
    })
}

function isBelow(path: string, top: string): boolean {
  return top === '/' || path === top || path.startsWith(`${top}/`)
}
