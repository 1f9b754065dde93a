"""The inference engine: pure scheduling above one C boundary.

`types`, `sequence`, `slots`, `scheduler` and `detokenizer` are values and policy;
`backend` is the seam; `llama`, `sampler` and `params` are the only users of llama.cpp;
`loop` and `runner` live in the child process; `engine` and `supervisor` in the HTTP process.
"""
