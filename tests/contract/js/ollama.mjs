// The official client in one run: what it got is one JSON object on standard output.

import { client, clientWith, failure, pieces } from './client.mjs'

const model = process.env.MODEL
const options = { num_predict: 12, temperature: 0, seed: 1 }
const messages = [{ role: 'user', content: 'Name a colour.' }]

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
results.vector = (await client.embeddings({ model, prompt: 'a' })).embedding.length
const likely = await client.generate({
  model, prompt: 'One, two,', raw: true, options, logprobs: true, top_logprobs: 2,
})
results.logprobs = likely.logprobs.map((one) => one.top_logprobs.length)
const loaded = await client.generate({ model, prompt: '', keep_alive: '1h' })
results.loaded = loaded.done_reason
results.ps = (await client.ps()).models.map((one) => one.name)
results.unknown = await failure(() => client.generate({ model: 'nobody', prompt: 'x' }))
results.invalid = await failure(() => client.chat({ model, messages, format: 'xml' }))
results.stranger = await failure(() => clientWith('wrong').list())
results.aborted = await aborted()

console.log(JSON.stringify(results))
