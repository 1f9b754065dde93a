// The official client as its users set it up: address and key come from the environment.

import { Ollama } from 'ollama'

export const clientWith = (key) => new Ollama({
  host: process.env.OLLAMA_HOST, headers: { Authorization: `Bearer ${key}` },
})
export const client = clientWith(process.env.OLLAMA_API_KEY)

export async function pieces(stream, part = (whole) => whole) {
  const found = []
  for await (const whole of stream) found.push(part(whole))
  return found
}

export async function failure(ask) {
  try {
    await ask()
    return null
  } catch (error) {
    return { name: error.name, message: error.message, status: error.status_code ?? null }
  }
}
