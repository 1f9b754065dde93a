"""The smoke test itself: against the simulated account always, against the real one on request."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.smoke import Recorder, smoke
from tests.support.console import renting
from tests.support.console.ingress import Ingress
from tests.support.console.server import ConsoleServer
from tests.support.console.world import World

WANTED = ("AKASH_API_KEY", "AKASH_LLM_LIVE_IMAGE")
# Other tests run without what the machine has set.
GIVEN = {name: os.environ[name] for name in WANTED if os.environ.get(name)}


@pytest.fixture
def world() -> World:
    return World(hosts=renting.hosts(100, 110, 120))


@pytest.fixture
def server(world: World, tmp_path: Path) -> Iterator[ConsoleServer]:
    with ConsoleServer(world, blocks_per_look=1) as server, Ingress(world, tmp_path):
        yield server


async def test_it_rents_asks_closes_and_keeps_a_scrubbed_cassette(
    server: ConsoleServer, world: World, tmp_path: Path, stocked_home: Path
) -> None:
    cassette = tmp_path / "cassette.json"
    image = "example.org/akash-llm-server:1"
    answer = await smoke(server.key, image, cassette, url=server.url, pace=renting.HASTE)
    assert answer == "Hi"
    assert not any(each.is_active for each in world.deployments.values())
    text = cassette.read_text()
    paths = [entry["path"] for entry in json.loads(text)]
    assert "/v1/deployments" in paths and "/v1/leases" in paths
    for secret in (server.key, "akash1owner", "tester@example.org"):
        assert secret not in text


def test_what_belongs_to_somebody_is_taken_out() -> None:
    recorder = Recorder()
    address = "akash1" + "q" * 38
    found = recorder.scrubbed({"email": "a@b.c", "owner": address, "list": [f"x {address}", None]})
    assert found == {"email": "(hidden)", "owner": "akash1-1", "list": ["x akash1-1", None]}


@pytest.mark.skipif(len(GIVEN) < len(WANTED), reason=f"pays for a lease: needs {WANTED}")
def test_the_real_network(tmp_path: Path) -> None:
    environment = {**os.environ, **GIVEN, "AKASH_LLM_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "tests.live.smoke"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=3000)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
