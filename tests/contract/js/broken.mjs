// A stream that ends in an error: says `begun` behind its first piece, then how it ended.

import { client, failure } from './client.mjs'

const options = { ignore_eos: true }
let count = 0
const ended = await failure(async () => {
  for await (const _ of await client.generate({ model: 'm', prompt: '⟦ab⟧', options, stream: true })) {
    if (count++ === 0) console.log('begun')
  }
})
console.log(JSON.stringify(ended))
