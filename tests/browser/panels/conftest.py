"""One JupyterLab for the panels, whose kernels know a home with a model and a simulated account."""

import shutil
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from playwright.async_api import BrowserContext

from tests.browser.conftest import watched
from tests.browser.lab import Lab, running_lab
from tests.browser.panels.desk import THEME, Desk
from tests.goals import Measure
from tests.support.console import renting, samples
from tests.support.console.ingress import Ingress
from tests.support.console.server import ConsoleServer
from tests.support.console.states import BLOCK_MS
from tests.support.console.world import BEGAN_MS, World

CANARY = "hf_canary0f0a0token"
# So that a person sees what is going on; the tests wait for words, not for times.
PACE = msgspec.structs.replace(renting.CALM, first_bid_s=20.0, services_s=60.0)


@dataclass(frozen=True)
class Account:
    """What the kernels can reach: the account, where its leases answer, and their home."""

    world: World
    server: ConsoleServer
    ingress: Ingress
    home: Path

    @property
    def secrets(self) -> list[str]:
        """What must be in no widget and in no file of a notebook."""
        keys = [path.read_text().strip() for path in self.home.glob("endpoints/*/api.key")]
        return [CANARY, self.server.key, *keys]


@pytest.fixture(scope="session")
def account(tmp_path_factory: pytest.TempPathFactory, embedded_store: Path) -> Iterator[Account]:
    folder = tmp_path_factory.mktemp("account")
    home = folder / "home"
    shutil.copytree(embedded_store / "manifests", home / "models" / "manifests")
    (home / "models" / "blobs").mkdir()
    for blob in (embedded_store / "blobs").iterdir():
        (home / "models" / "blobs" / blob.name).symlink_to(blob)
    # Those whose gateways are on loopback, where nobody listens, are the cheapest.
    world = World(hosts=(*renting.hosts(30, 35), *samples.MARKET))
    # The kernels go by the clock of this machine, and so does the world.
    world.height = int((1000 * time.time() - BEGAN_MS) / BLOCK_MS)
    with ConsoleServer(world, blocks_per_look=1) as server, Ingress(world, folder) as ingress:
        yield Account(world, server, ingress, home)


@pytest.fixture(scope="session")
def lab(account: Account, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("panels") / "notebooks"
    folder.mkdir()
    env = {
        "AKASH_LLM_HOME": str(account.home),
        "AKASH_LLM_CONSOLE": account.server.url,
        "AKASH_API_KEY": account.server.key,
        "AKASH_LLM_PACE": msgspec.json.encode(PACE).decode(),
        "AKASH_LLM_CHAIN": "http://127.0.0.1:9",
        "HF_TOKEN": CANARY,
    }
    with running_lab(folder, theme=f"JupyterLab {THEME}", env=env) as running:
        yield running


@pytest.fixture
async def desk(lab: Lab, context: BrowserContext, measured: Measure) -> AsyncIterator[Desk]:
    """A page; at the end no request may have gone beyond loopback."""
    async with watched(context, measured) as page:
        desk = Desk(page, lab)
        yield desk
        await desk.shut_down()
