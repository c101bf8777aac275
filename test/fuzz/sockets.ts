/** Sends bytes to a server as a client that then has nothing more to say, and waits for the end. */
import { connect } from 'node:net'
import type { NetConnectOpts } from 'node:net'

/** A server that neither answers nor closes by then is stuck. */
const ANSWER_MS_MAX = 10_000

/** What the server sent until it closed. */
export async function talk(to: NetConnectOpts, bytes: Buffer): Promise<Buffer> {
  const socket = connect(to)
  const chunks: Buffer[] = []
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => {
      socket.destroy()
      reject(new Error('neither answered nor closed'))
    }, ANSWER_MS_MAX)
    socket.on('data', (chunk: Buffer) => chunks.push(chunk))
    // A reset is a way to end a connection, too.
    socket.on('error', () => socket.destroy())
    socket.on('close', () => {
      clearTimeout(timer)
      resolve()
    })
    socket.end(bytes)
  })
  return Buffer.concat(chunks)
}
