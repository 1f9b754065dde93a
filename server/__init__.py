"""The inference server: Ollama's API over llama.cpp, private by default.

Nothing here imports `toolkit`. Only `server.engine.llama` and
`server.engine.sampler` import `llama_cpp`; only `server.api` and `server.app`
import litestar.
"""
