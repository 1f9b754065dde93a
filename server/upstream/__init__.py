"""Engines that run elsewhere: the same core, keys, limits and dialects over another server.

`wire` speaks HTTP with it and gives its failures names, `base` is what such engines have in
common, `listed` is a model as they know it. `vllm` and `ollama` are the engines themselves.
"""
