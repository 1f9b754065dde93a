"""Preloaded models that have to be pulled first: tried until it works, and told meanwhile."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from server.errors import Forbidden, NotFound
from server.fetching import Fetching
from server.models.patience import Patience
from server.models.pull import Puller
from server.models.store import Store
from tests.support.gguf_files import write_model
from tests.support.image_registry import ImageRegistry
from tests.support.rough_proxy import Answer, Request, RoughProxy
from tests.support.serving import Serving

ONCE = Patience(tries=1)


@pytest.fixture
def name(registry: ImageRegistry, proxy: RoughProxy, tmp_path: Path) -> str:
    """A model that is in the registry, and how it is called through the network."""
    weights = write_model(tmp_path / "w.gguf", rows=20_000).read_bytes()
    registry.push("library/fetched:1", [("model", weights)])
    return f"{proxy.host}/library/fetched:1"


async def test_it_is_tried_again_until_the_network_is_good(
    new_puller: Callable[..., Puller], proxy: RoughProxy, store: Store, name: str
) -> None:
    fetching = Fetching(new_puller(ONCE), name, patience=Patience(first_wait_s=0.001))
    problems = []

    def bad_at_first(request: Request, answer: Answer) -> Answer:
        problems.append(fetching.problem)
        bad = {1: answer._replace(status=503), 2: answer._replace(cut_after=9)}
        return bad.get(request.number, answer)

    proxy.script = bad_at_first
    await fetching.run()
    assert store.get(name).problem is None
    assert (fetching.problem, fetching.percent) == ("", 100)
    told = list(dict.fromkeys(problems))
    assert told[0] == "" and len(told) > 2
    assert all("tried again in" in problem for problem in told[1:])


async def test_what_is_nowhere_is_not_tried_again(
    puller: Puller, proxy: RoughProxy, store: Store
) -> None:
    with pytest.raises(NotFound):
        await Fetching(puller, f"{proxy.host}/library/nowhere:1").run()
    with pytest.raises(Forbidden):
        await Fetching(puller, "elsewhere.test/library/m:1").run()


def test_a_server_gets_what_it_is_to_preload(
    registry: ImageRegistry, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    weights = write_model(tmp_path / "w.gguf", rows=20_000).read_bytes()
    registry.push("library/coming:1", [("model", weights)])
    name = f"{registry.host}/library/coming:1"
    args = ["--models", str(tmp_path / "models"), "--preload", name, "--pull", "missing"]
    args += ["--registries", registry.url]
    with Serving(tmp_path, free_port(), args=args) as server, server.client() as client:
        assert [model["name"] for model in client.get("/api/tags").json()["models"]] == [name]
        assert client.get("/health/ready").json() == {"status": "ready", "models": {name: "ready"}}
    states = [seen["models"][name] for seen in server.seen]
    assert set(states) <= {"pulling", "loading", "ready"} and states[-1] == "ready"
    with Serving(tmp_path, free_port(), args=args) as server:
        assert "pulling" not in {seen["models"][name] for seen in server.seen}


def test_a_server_waits_for_a_registry_that_is_away(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    weights = write_model(tmp_path / "w.gguf", rows=20_000).read_bytes()
    port = free_port()
    with ImageRegistry(tmp_path, port) as registry:
        registry.push("library/away:1", [("model", weights)])
    name = f"{registry.host}/library/away:1"
    args = ["--models", str(tmp_path / "models"), "--preload", name, "--pull", "missing"]
    args += ["--registries", registry.url]
    server = Serving(tmp_path, free_port(), args=args)
    is_over = threading.Event()

    def come_back() -> None:
        """Once the server has said that it is pulling."""
        while not any("pulling" in seen["models"].values() for seen in server.seen):
            is_over.wait(0.05)
        with ImageRegistry(tmp_path, port):
            is_over.wait(60)

    thread = threading.Thread(target=come_back)
    thread.start()
    try:
        with server:
            assert server.seen[-1] == {"status": "ready", "models": {name: "ready"}}
    finally:
        is_over.set()
        thread.join()


def test_who_tries_for_days_waits_as_long_as_ever() -> None:
    patience = Patience(first_wait_s=0.5, longest_wait_s=60)
    assert [patience.wait_s(failures, 0) for failures in (1, 2, 10, 5000)] == [0.5, 1, 60, 60]
