// The official client in one run: what it got is one JSON object on standard output.
// The address and the key come from the environment, as its users give them.

import { Ollama } from 'ollama'

const model = process.env.MODEL
const client = new Ollama({
  host: process.env.OLLAMA_HOST,
  headers: { Authorization: `Bearer ${process.env.OLLAMA_API_KEY}` },
})
const options = { num_predict: 12, temperature: 0, seed: 1 }
const messages = [{ role: 'user', content: 'Name a colour.' }]

async function pieces(stream, text) {
  const found = []
  for await (const part of stream) found.push(text(part))
  return found
}

async function failure(ask) {
  try {
    await ask()
    return null
  } catch (error) {
    return { name: error.name, message: error.message, status: error.status_code ?? null }
  }
}

async function aborted() {
  const stream = await client.generate({
    model, prompt: 'Go on.', stream: true, options: { num_predict: 1000, ignore_eos: true },
  })
  const abort = failure(async () => {
    for await (const _ of stream) stream.abort()
  })
  return await abort
}

const results = {}
results.version = await client.version?.()
results.list = (await client.list()).models.map((one) => one.name)
const shown = await client.show({ model })
results.show = { capabilities: shown.capabilities, family: shown.details.family }
const whole = await client.generate({ model, prompt: 'One, two,', options })
results.generate = {
  response: whole.response, done: whole.done, eval_count: whole.eval_count,
  has_context: Array.isArray(whole.context),
}
results.generated = await pieces(
  await client.generate({ model, prompt: 'One, two,', options, stream: true }),
  (part) => part.response,
)
const chat = await client.chat({ model, messages, options })
results.chat = { role: chat.message.role, content: chat.message.content }
results.chatted = await pieces(
  await client.chat({ model, messages, options, stream: true }),
  (part) => part.message.content,
)
const format = {
  type: 'object', properties: { colour: { enum: ['red', 'blue'] } }, required: ['colour'],
}
const shaped = await client.chat({ model, messages, format, options: { ...options, num_predict: 40 } })
results.formatted = JSON.parse(shaped.message.content)
const embedded = await client.embed({ model, input: ['a', 'b c'] })
results.embedded = embedded.embeddings.map((vector) => vector.length)
results.ps = (await client.ps()).models.map((one) => one.name)
results.unknown = await failure(() => client.generate({ model: 'nobody', prompt: 'x' }))
results.invalid = await failure(() => client.chat({ model, messages, format: 'xml' }))
results.aborted = await aborted()

console.log(JSON.stringify(results))
