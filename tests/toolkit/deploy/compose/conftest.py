"""Compose as a target, over a stand-in of docker and, where one answers, the real one."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import docker as dockers
from tests.support.docker import DockerForTests, FakeDocker, RealDocker
from toolkit import paths
from toolkit.deploy.base import Intent
from toolkit.deploy.compose import ComposeTarget
from toolkit.deploy.keeper import Keeper
from toolkit.deploy.ledger import Ledger


@pytest.fixture
def fake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_port: Callable[[], int]
) -> Iterator[FakeDocker]:
    """The stand-in, first on PATH."""
    made = FakeDocker(tmp_path / "docker", free_port())
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    yield made
    made.clean()


@pytest.fixture(scope="session")
def real_images(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The images that the real docker needs, once; skips where there is none."""
    if not dockers.is_real_here():
        pytest.skip("no docker with compose answers here")
    dockers.make_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(params=["fake", "real"])
def docker(request: pytest.FixtureRequest, stocked_home: Path) -> Iterator[DockerForTests]:
    """Either of them."""
    if request.param == "fake":
        yield request.getfixturevalue("fake")
        return
    request.getfixturevalue("real_images")
    made = RealDocker(stocked_home)
    yield made
    made.clean()


@pytest.fixture
def keeper(stocked_home: Path) -> Keeper:
    target = ComposeTarget(stop_grace_s=1, probe_s=5)
    return Keeper(targets={"compose": target}, ledger=Ledger(paths.ledger()))


@pytest.fixture
def intent() -> Intent:
    return Intent(
        name="my.own", target="compose", image=dockers.image("good"), context=512, parallel=2
    )


@pytest.fixture
def without_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stocked_home: Path) -> None:
    """A PATH on which there is none."""
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty") + os.pathsep)
