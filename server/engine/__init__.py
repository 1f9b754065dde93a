"""The inference engine: pure scheduling above one C boundary.

In reading order: `types` and `backend` (the seam) say what there is; `sequence`, `cells`,
`parking`, `slots`, `waiting`, `scheduler`, `pace`, `speculation`, `embedder` and
`detokenizer` are values and policy; `llama` with its parts `llama_batch`, `llama_embed`,
`llama_vocab`, `sampler`, `chain`, `params` and `quantize` alone use llama.cpp; `loop`,
`mover`, `outbox` and `runner` live in the child process; `engine`, `supervisor` and
`requantizer` in the HTTP process.
"""
