"""The engines that this machine can run behind our server. Another one is a module and a line.

`base` says what such an engine is, `program` where its program is found, `vllm_flags` what of an
SDL reaches vLLM. Of an SDL only values travel: which program runs is decided here.
"""

from collections.abc import Mapping
from typing import Final

from toolkit.deploy.engines.base import LocalEngine
from toolkit.deploy.engines.ollama import Ollama
from toolkit.deploy.engines.vllm import VLLM

ENGINES: Final[Mapping[str, LocalEngine]] = {"vllm": VLLM(), "ollama": Ollama()}
