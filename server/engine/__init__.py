"""The inference engine: pure scheduling above one C boundary.

`types`, `sequence`, `slots`, `scheduler` and `detokenizer` are values and policy;
`backend` is the seam; `llama`, `sampler`, `params` and `quantize` are the only users of
llama.cpp; `loop` and `runner` live in the child process; `engine`, `supervisor` and
`requantizer` in the HTTP process.
"""
