"""A simulated account of the Akash Console, and a home with the embedded model, for kernels."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

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

    @property
    def variables(self) -> dict[str, str]:
        """What a kernel has to have in its environment."""
        return {
            "AKASH_LLM_HOME": str(self.home),
            "AKASH_LLM_CONSOLE": self.server.url,
            "AKASH_API_KEY": self.server.key,
            "AKASH_LLM_PACE": msgspec.json.encode(PACE).decode(),
            "AKASH_LLM_CHAIN": "http://127.0.0.1:9",
            "HF_TOKEN": CANARY,
        }


@contextmanager
def simulated_account(folder: Path, store: Path) -> Iterator[Account]:
    """An account, with its home below `folder` and the models of `store` in it."""
    home = folder / "home"
    shutil.copytree(store / "manifests", home / "models" / "manifests")
    (home / "models" / "blobs").mkdir()
    for blob in (store / "blobs").iterdir():
        (home / "models" / "blobs" / blob.name).symlink_to(blob)
    # Those whose gateways are on loopback, where nobody listens, are the cheapest.
    world = World(hosts=(*renting.hosts(30, 35), *samples.MARKET))
    # The kernels go by the clock of this machine, and so does the world.
    world.height = int((1000 * time.time() - BEGAN_MS) / BLOCK_MS)
    with ConsoleServer(world, blocks_per_look=1) as server, Ingress(world, folder) as ingress:
        yield Account(world, server, ingress, home)
