"""The inference engine: pure scheduling above one C boundary.

`types`, `sequence`, `slots`, `scheduler`, `embedder` and `detokenizer` are values and
policy; `backend` is the seam; `llama` with its parts `llama_batch`, `llama_embed` and
`sampler` are the only ctypes users; `loop` and `runner` live in the child process;
`engine` and `supervisor` in the HTTP process.
"""
