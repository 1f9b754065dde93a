"""The engines that can be tried on this machine. Another one is a line in `ENGINES`."""

import importlib.metadata
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import httpx2

from server.engines import LOCAL
from server.keys import digest, generate_key
from tests.support import vllm_server
from tests.support.ports import free_port
from tests.support.serving import Serving
from tests.support.vllm_server import VLLMServer

MODEL: Final = "smollm2:135m"
# A vLLM that runs already and is to be used.
VLLM_URL: Final = "VLLM_URL"
# Where this is `all`, an engine that is not here is a failure.
REQUIRED: Final = "ENGINE_TESTS"
KEY: Final = generate_key()
ADMIN_KEY: Final = generate_key()
_KEYS: Final = f"me:inference:{digest(KEY)},owner:admin:{digest(ADMIN_KEY)}"


class Facts(NamedTuple):
    """What an engine tells of the embedded model. Of what it does not know, nothing."""

    quantization: str = ""
    architecture: str = ""
    trained_context: int | None = None
    license: str = ""
    capabilities: tuple[str, ...] = ("completion",)
    gives_embeddings: bool = True
    tells_tokens: bool = True
    tells_stop_strings: bool = True
    counts_cached: bool = True
    holds_grammars: bool = True


class Engine(NamedTuple):
    """`roles` are its models for what the embedded one cannot show (see `tests.engines.stock`).
    `missing` says why it cannot be started here, `upstream` opens the server that it needs
    beside ours and gives its address. It serves a store of ours if it `has_store`."""

    name: str
    facts: Facts
    roles: Mapping[str, str]
    version: Callable[[str], str]
    missing: Callable[[], str] = str
    upstream: Callable[[Path, Path], AbstractContextManager[str]] | None = None
    has_store: bool = True


class RunningEngine:
    """An engine, and servers of ours over it: one for each store. Ends with `stack`."""

    def __init__(self, engine: Engine, folder: Path, stack: ExitStack) -> None:
        self.name = engine.name
        self.facts = engine.facts
        self.roles = engine.roles
        self._engine = engine
        self._folder = folder
        self._stack = stack
        self._upstreams: dict[Path | None, str] = {}
        self._servers: dict[Path, Serving] = {}

    def over(self, store: Path) -> Serving:
        """A server with the models of that store, or with those that its upstream has."""
        if store not in self._servers:
            folder = self._folder / f"{len(self._servers)}"
            folder.mkdir()
            args = ["--engine", self.name, "--preload", MODEL]
            env = {"AKASH_LLM_KEYS": _KEYS, "AKASH_LLM_MODELS": str(store)}
            if url := self._upstream(folder, store):
                args += ["--upstream", url]
            server = Serving(folder, free_port(), args=args, env=env, fake=False)
            self._servers[store] = self._stack.enter_context(server)
        return self._servers[store]

    def version(self) -> str:
        """What runs the models there. A server has to be over it."""
        return self._engine.version(next(iter(self._upstreams.values()), ""))

    def _upstream(self, folder: Path, store: Path) -> str:
        if self._engine.upstream is None:
            return ""
        key = store if self._engine.has_store else None
        if key not in self._upstreams:
            opened = self._stack.enter_context(self._engine.upstream(folder, store))
            self._upstreams[key] = opened
        return self._upstreams[key]


def _version_of_llama_cpp(_: str) -> str:
    return f"llama-cpp-python {importlib.metadata.version('llama-cpp-python')}"


def _version_of_vllm(url: str) -> str:
    version = httpx2.get(f"{url}/version", trust_env=False).json()["version"]
    return f"vLLM {version}, CPU build"


def _no_vllm() -> str:
    return "" if VLLM_URL in os.environ else vllm_server.missing()


@contextmanager
def _vllm(folder: Path, store: Path) -> Iterator[str]:
    if url := os.environ.get(VLLM_URL):
        yield url
        return
    with VLLMServer(folder, free_port()) as server:
        yield server.url


@contextmanager
def _ollama(folder: Path, store: Path) -> Iterator[str]:
    """Ollama itself cannot be had here; our own server answers as one."""
    home = folder / "ollama"
    home.mkdir()
    args = ["--models", str(store)]
    with Serving(home, free_port(), args=args, fake=False) as server:
        yield server.url


def _version_of_ollama(url: str) -> str:
    version = httpx2.get(f"{url}/api/version", trust_env=False).json()["version"]
    return f"a second server of ours, which answers as Ollama {version}"


_OF_THE_FILE: Final = Facts("Q4_1", "llama", 8192, "Apache")
_STOCK: Final = {role: role for role in ("tools", "thinks", "fills", "sees")}
ENGINES: Final = (
    Engine(
        LOCAL,
        _OF_THE_FILE,
        _STOCK,
        _version_of_llama_cpp,
    ),
    # Its one model has a second template, for tools.
    Engine(
        "vllm",
        Facts(
            "bfloat16", "llama", 8192, capabilities=("completion", "tools"), gives_embeddings=False
        ),
        {"tools": MODEL},
        _version_of_vllm,
        missing=_no_vllm,
        upstream=_vllm,
        has_store=False,
    ),
    Engine(
        "ollama",
        _OF_THE_FILE._replace(
            tells_tokens=False, tells_stop_strings=False, counts_cached=False, holds_grammars=False
        ),
        _STOCK,
        _version_of_ollama,
        upstream=_ollama,
    ),
)
