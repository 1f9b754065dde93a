"""The servers that are compared: how each is found and started.

Every one serves the same weights with the same number of threads, slots and tokens per
request, and is left at its own defaults for all else, its prompt cache too.
"""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from server.models.gguf import read_header
from server.models.name import ModelName
from server.models.store import Store
from tests.performance import peers
from tests.performance.wires import (
    MODEL,
    LlamaCppPythonWire,
    LlamaServerWire,
    OllamaWire,
    VllmWire,
    Wire,
)

_ENDS = ("eos", "eot", "unknown")


class Missing(Exception):
    """A peer that is not on this machine; the text says where it was looked for."""


@dataclass(frozen=True)
class Setting:
    """What a whole run has in common. `home` holds what our server needs, made once."""

    weights: Path
    threads: int
    home: Path


@dataclass(frozen=True)
class Program:
    """A server that can be started on a port. `kv` is the type of its keys and values."""

    name: str
    wire: Wire
    argv: Sequence[str]
    ready: str
    kv: str = "f16"
    env: Mapping[str, str] = field(default_factory=dict)

    def command(self, port: int) -> list[str]:
        return [part.replace("{port}", str(port)) for part in self.argv]


def ours(setting: Setting, slots: int, context: int, *flags: str) -> Program:
    """Our server on a home that holds nothing but the model."""
    store = setting.home / "models"
    if not store.exists():
        Store(store).add_file(ModelName.parse(MODEL), setting.weights)
    given = {
        "--port": "{port}",
        "--models": str(store),
        "--preload": MODEL,
        "--parallel": str(slots),
        "--context": str(context),
        "--threads": str(setting.threads),
    }
    argv = [sys.executable, "-m", "server", *(part for pair in given.items() for part in pair)]
    env = {"AKASH_LLM_HOME": str(setting.home)}
    return Program("akash-llm", OllamaWire(), [*argv, *flags], "/health/ready", env=env)


def llama_cpp_program(name: str) -> Path:
    """A program of llama.cpp: beside $LLAMA_SERVER, in the cache, or on the path. Raises
    `Missing`."""
    chosen = os.environ.get("LLAMA_SERVER")
    built = Path(chosen).with_name(name) if chosen else peers.llama_program(name)
    found = str(built) if built.exists() else shutil.which(name)
    if found is None:
        raise Missing(f"{name} is not here ($LLAMA_SERVER, {built})")
    return Path(found)


def llama_server(setting: Setting, slots: int, context: int, *flags: str) -> Program:
    """llama.cpp's own server. Raises `Missing`."""
    program = llama_cpp_program("llama-server")
    argv = [str(program), "-m", str(setting.weights), "-t", str(setting.threads)]
    argv += ["-np", str(slots), "-c", str(slots * context), "--port", "{port}", *flags]
    env = library_path(program)
    return Program("llama-server", LlamaServerWire(), argv, "/health", env=env)


def library_path(program: Path) -> dict[str, str]:
    """Its libraries lie beside it, wherever the build was moved to."""
    return {"LD_LIBRARY_PATH": str(program.parent)}


def llama_cpp_python(setting: Setting, context: int) -> Program:
    """The server that comes with llama-cpp-python; it has one slot. Raises `Missing`."""
    python = _python("llama-cpp-python", peers.LLAMA_CPP_PYTHON)
    argv = [str(python), "-m", "llama_cpp.server", "--model", str(setting.weights)]
    argv += ["--n_threads", str(setting.threads), "--n_threads_batch", str(setting.threads)]
    argv += ["--n_ctx", str(context), "--port", "{port}"]
    wire = LlamaCppPythonWire(_ends(setting.weights))
    return Program("llama-cpp-python", wire, argv, "/v1/models")


def _ends(weights: Path) -> list[int]:
    """Tokens that end a text; the embedded model's second one is its unknown token."""
    metadata = read_header(weights).metadata
    found = (metadata.get(f"tokenizer.ggml.{name}_token_id") for name in _ENDS)
    return [token for token in found if isinstance(token, int)]


def vllm(setting: Setting, slots: int, context: int) -> Program:
    """vLLM on the CPU, with the weights in bf16. Raises `Missing`."""
    python = _python("vllm", peers.VLLM)
    folder = peers.hugging_face(setting.weights)
    if not folder.exists():
        raise Missing(f"vllm has no form of these weights that it reads ({folder})")
    argv = [str(python.with_name("vllm")), "serve", str(folder), "--served-model-name", MODEL]
    argv += ["--port", "{port}", "--max-num-seqs", str(slots), "--max-model-len", str(context)]
    argv += ["--dtype", "bfloat16", "--enforce-eager"]
    cores = sorted(os.sched_getaffinity(0))[: setting.threads]
    env = {
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CPU_KVCACHE_SPACE": "2",
        # By itself it would leave a core to its HTTP side.
        "VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, cores)),
    }
    return Program("vllm", VllmWire(), argv, "/health", kv="bf16", env=env)


def _python(name: str, environment: Path) -> Path:
    python = peers.python_of(environment)
    if not python.exists():
        raise Missing(f"{name} is not here ({environment})")
    return python
