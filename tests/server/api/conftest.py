"""Servers over the fake engine for all tests of this folder: one with models of every kind,
and one whose model thinks and calls tools."""

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from server.models.extras import Extras
from server.models.manifest import Message
from server.models.store import Store
from tests.support.ports import free_port
from tests.support.serving import TEMPLATE_VARIABLE, Serving, write_gguf
from tests.support.telling_template import TELLING


def stock(root: Path, folder: Path) -> Store:
    """A store with a plain model, one that brings defaults, one that embeds, one that is
    cut short and one with a parameter that makes no sense."""
    store = Store(root)
    plain = write_gguf(folder / "plain.gguf")
    store.add_file("m", plain)
    store.add_file(
        "user/custom:7b",
        write_gguf(folder / "custom.gguf", fields={"general.name": "custom"}),
        extras=Extras(
            system="You are a test.",
            params={"num_predict": 3, "stop": ["STOP"], "temperature": 0.5},
            messages=(Message("user", "ping"), Message("assistant", "pong")),
            licenses=("Free",),
        ),
    )
    store.add_file(
        "embedder", write_gguf(folder / "embedder.gguf", fields={"llama.pooling_type": 1})
    )
    store.add_file(
        "odd",
        write_gguf(folder / "odd.gguf", fields={"general.name": "odd"}),
        extras=Extras(params={"num_ctx": "many"}),
    )
    cut = store.add_file("cut", write_gguf(folder / "cut.gguf", fields={"general.name": "cut"}))
    weights, _ = cut.check()
    weights.write_bytes(weights.read_bytes()[:-40])
    return store


@pytest.fixture(scope="session")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """The server. Its engine says again what is between ⟦ and ⟧, byte by byte."""
    folder = tmp_path_factory.mktemp("serving")
    stock(folder / "models", folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    args = ["--models", str(folder / "models"), "--context", "256", "--max-body-bytes", "200000"]
    args += ["--registries", "nobody.test"]
    with Serving(folder, port, args=args, step_s=0.001) as server:
        yield server


@pytest.fixture
def client(serving: Serving) -> Iterator[httpx2.Client]:
    """A client of the shared server."""
    with serving.client() as client:
        yield client


@pytest.fixture(scope="session")
def telling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server whose template shows what it is given. Its model `m` thinks and calls tools,
    `plain` does neither, `embedder` only embeds; nothing can be pulled."""
    folder = tmp_path_factory.mktemp("telling")
    store = Store(folder / "models")
    models: dict[str, dict[str, int | str]] = {
        "m": {"tokenizer.chat_template": TELLING},
        "plain": {"general.name": "plain"},
        "embedder": {"llama.pooling_type": 1},
    }
    for name, fields in models.items():
        store.add_file(name, write_gguf(folder / f"{name}.gguf", fields=fields))
    args = ["--models", str(folder / "models"), "--registries", "nobody.test"]
    env = {TEMPLATE_VARIABLE: TELLING}
    with Serving(folder, free_port(), args=args, env=env, step_s=0.001) as server:
        yield server


@pytest.fixture
def teller(telling: Serving) -> Iterator[httpx2.Client]:
    """A client of that server."""
    with telling.client() as client:
        yield client
