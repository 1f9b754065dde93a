"""What llama.cpp allocates for a model: `python -m tests.support.layout` in a process of its own.

It lays out its memory without taking any (`no_alloc`), so models of all sizes can be asked
about. Reads lines of JSON, `{"path": …, "configs": […]}`, and answers each with a list.
"""

import ctypes
import re
import sys

import llama_cpp
import msgspec

from server.engine.config import EngineConfig
from server.engine.params import context_params, set_computing
from tests.support.layouts import Asked, Laid

_MIB = 1 << 20
_KEPT = re.compile(r" size = +([\d.]+) MiB \(")  # one line for each cache: keys with values, states
_COMPUTED = re.compile(r"(?:compute|output) buffer size = +([\d.]+) MiB")


def main() -> None:
    """Answer until the input ends."""
    lines: list[str] = []
    note = llama_cpp.llama_log_callback(
        lambda level, text, _data: lines.append(text.decode(errors="replace"))
    )
    llama_cpp.llama_log_set(note, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    for line in sys.stdin:
        asked = msgspec.json.decode(line, type=Asked)
        answer = [_laid(asked.path, config, lines) for config in asked.configs]
        print(msgspec.json.encode(answer).decode(), flush=True)


def _laid(path: str, config: EngineConfig, lines: list[str]) -> Laid:
    params = llama_cpp.llama_model_default_params()
    params.no_alloc, params.load_mode = True, llama_cpp.LLAMA_LOAD_MODE_NONE
    lines.clear()
    model = llama_cpp.llama_model_load_from_file(path.encode(), params)
    if not model:
        raise SystemExit("".join(lines)[-2000:])
    lines.clear()
    opened = context_params(config, config.context)
    set_computing(opened, config)
    context = llama_cpp.llama_init_from_model(model, opened)
    if not context:
        raise SystemExit("".join(lines)[-2000:])
    said = "".join(lines)
    llama_cpp.llama_free(context)
    llama_cpp.llama_model_free(model)
    return Laid(_sum(_KEPT, said), _sum(_COMPUTED, said))


def _sum(pattern: re.Pattern[str], said: str) -> float:
    return _MIB * sum(float(number) for number in pattern.findall(said))


if __name__ == "__main__":
    main()
