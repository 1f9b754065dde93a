// What a small model cannot show: tools, thoughts, images, and the making of models. The model
// `m` says what is between ⟦ and ⟧, `sees` says which image it saw. One JSON object on standard
// output, in its last line.

import { readFileSync } from 'node:fs'

import { client, failure, pieces } from './client.mjs'

const { PULLED, NOWHERE, IMAGE } = process.env
const model = 'm'
const weather = {
  type: 'function',
  function: {
    name: 'weather',
    description: 'The weather of a city',
    parameters: {
      type: 'object', required: ['city'],
      properties: { city: { type: 'string', description: 'Its name' } },
    },
  },
}
const call = (city) =>
  `<tool_call>{"name": "weather", "arguments": {"city": "${city}"}}</tool_call>`
const user = (content, images) => ({ role: 'user', content, ...(images && { images }) })

async function tools() {
  const messages = [user(`⟦Let me see. ${call('Łódź')}${call('Rome')}⟧`)]
  const { message } = await client.chat({ model, messages, tools: [weather] })
  const stream = await client.chat({ model, messages, tools: [weather], stream: true })
  const chunks = await pieces(stream, (part) => part.message)
  const answered = [
    ...messages, message,
    { role: 'tool', content: 'rain', tool_name: 'weather' },
    { role: 'tool', content: 'sun', tool_name: 'weather' },
    user('⟦It rains.⟧'),
  ]
  const asked = { model, messages: answered, tools: [weather] }
  const { _debug_info } = await client.chat({ ...asked, _debug_render_only: true })
  return {
    message, streamed: chunks.flatMap((part) => part.tool_calls ?? []),
    words: chunks.map((part) => part.content).join(''),
    answer: (await client.chat(asked)).message.content,
    prompt: _debug_info.rendered_template,
  }
}

async function thoughts() {
  const said = '⟦<think>Well.</think>Yes.⟧'
  const both = (part) => [part.message.thinking ?? '', part.message.content]
  const asked = { model, messages: [user(said)] }
  const parts = await pieces(await client.chat({ ...asked, think: 'high', stream: true }), both)
  const generated = await client.generate({ model, prompt: said, think: true })
  return {
    unasked: both(await client.chat(asked)),
    asked: both(await client.chat({ ...asked, think: true })),
    streamed: [0, 1].map((at) => parts.map((part) => part[at]).join('')),
    generated: [generated.thinking, generated.response],
    refused: await failure(() => client.chat({ ...asked, model: 'sees', think: true })),
  }
}

async function images() {
  const bytes = new Uint8Array(readFileSync(IMAGE))
  const text = readFileSync(IMAGE).toString('base64')
  const seen = await client.chat({ model: 'sees', messages: [user('and', [bytes, text])] })
  const generated = await client.generate({ model: 'sees', prompt: 'and', images: [bytes] })
  const shown = await client.show({ model: 'sees' })
  return {
    chat: seen.message.content, generate: generated.response,
    capabilities: shown.capabilities, projector: shown.projector_info['general.architecture'],
    refused: await failure(() => client.generate({ model, prompt: 'and', images: [bytes] })),
  }
}

async function models() {
  const found = {}
  const names = async () => (await client.list()).models.map((one) => one.name).sort()
  found.pulled = await pieces(await client.pull({ model: PULLED, insecure: true, stream: true }))
  found.again = await client.pull({ model: PULLED, insecure: true })
  found.made = await pieces(
    await client.create({
      model: 'mine', from: PULLED, system: 'Be mine.', parameters: { num_predict: 3 }, stream: true,
    }),
    (part) => part.status,
  )
  found.remade = await client.create({ model: 'mine', from: model, system: 'Be brief.' })
  found.system = (await client.show({ model: 'mine' })).system
  found.copied = await client.copy({ source: 'mine', destination: 'yours' })
  found.names = await names()
  for (const name of ['mine', 'yours', PULLED]) found.deleted = await client.delete({ model: name })
  found.left = await names()
  found.gone = await failure(() => client.delete({ model: 'mine' }))
  found.nowhere = await failure(() => client.pull({ model: NOWHERE, insecure: true }))
  found.refused = await failure(() => client.pull({ model: 'evil.test/a/b' }))
  found.pushed = await failure(() => client.push({ model }))
  const steps = []
  found.broken = await failure(async () => {
    const stream = await client.pull({ model: NOWHERE, insecure: true, stream: true })
    for await (const step of stream) steps.push(step.status)
  })
  found.steps = steps
  return found
}

console.log(JSON.stringify({
  tools: await tools(), thoughts: await thoughts(), images: await images(), models: await models(),
}))
