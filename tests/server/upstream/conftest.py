"""A gateway in a process of its own before something that stands in for a vLLM."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest

from tests.support.ports import free_port
from tests.support.serving import Serving
from tests.support.vllm_stand_in import VLLMStandIn

Gateway = Callable[..., Serving]


@pytest.fixture
def upstream() -> Iterator[VLLMStandIn]:
    """The stand-in. Its model is called `m`."""
    with VLLMStandIn() as stand_in:
        yield stand_in


@pytest.fixture
def socket_path() -> Iterator[Path]:
    """Where a socket may be made: `tmp_path` may be too long for one."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder, "s")


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    """Starts gateways before a URL; they end with the test."""
    with ExitStack() as stack:

        def start(url: str, *args: str, engine: str = "vllm", **env: str) -> Serving:
            command = ["--engine", engine, "--upstream", url, *args]
            serving = Serving(tmp_path, free_port(), args=command, env=env, fake=False)
            return stack.enter_context(serving)

        yield start


@pytest.fixture(scope="module")
def shared_upstream() -> Iterator[VLLMStandIn]:
    """One for all tests of a module that only ask."""
    with VLLMStandIn() as stand_in:
        yield stand_in


@pytest.fixture(scope="module")
def shared(
    shared_upstream: VLLMStandIn, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx2.Client]:
    """A client of a gateway before it."""
    args = ["--engine", "vllm", "--upstream", shared_upstream.url, "--preload", "m"]
    folder = tmp_path_factory.mktemp("gateway")
    with (
        Serving(folder, free_port(), args=args, fake=False) as serving,
        serving.client() as client,
    ):
        yield client
