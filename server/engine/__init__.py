"""The inference engine: pure scheduling above one C boundary.

`types`, `sequence`, `slots`, `scheduler` and `detokenizer` are values and policy;
`backend` is the seam; `llama` and `sampler` are the only ctypes users; `loop` and
`runner` live in the child process; `engine` and `supervisor` in the HTTP process.
"""
