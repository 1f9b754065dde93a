"""What Prometheus is told about models: on a real port, through crashes and unloads."""

import signal
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import httpx2
import msgspec
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from server.body_memory import BodyMemory
from server.engine.tally import ModelCounts, Tally
from server.engine.types import EngineCounts, EngineStats
from server.keys import digest
from server.metrics import METRICS, Metrics
from server.models.model_files import ModelFiles
from server.models.store import Store
from server.traffic import Traffic
from tests.support.serving import Serving, write_gguf

NAMES = {metric.full_name for metric in METRICS}


ALONE = {"akash_llm_models_loaded", "akash_llm_memory_budget_bytes"}


def values(text: str) -> dict[tuple[str, str], float]:
    """Those of models, by name and model."""
    return {
        (sample.name, sample.labels.get("model", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name in NAMES | ALONE
    }


def counters(text: str) -> dict[tuple[str, str], float]:
    return {key: value for key, value in values(text).items() if key[0].endswith("_total")}


@pytest.fixture
def serving(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Serving]:
    """A server with one model under two names."""
    store = Store(tmp_path / "models")
    store.add_file("m", write_gguf(tmp_path / "m.gguf"))
    store.add_file("alias", write_gguf(tmp_path / "m.gguf"))
    args = ["--models", str(store.root), "--memory", "1GiB"]
    with Serving(tmp_path, free_port(), args=args) as server:
        yield server


@pytest.fixture
def client(serving: Serving) -> Iterator[httpx2.Client]:
    with serving.client() as client:
        yield client


def generate(client: httpx2.Client, model: str = "m", **more: object) -> None:
    body = {"model": model, "prompt": "⟦x⟧", "raw": True, "stream": False, **more}
    assert client.post("/api/generate", json=body).status_code == 200


def scrape(client: httpx2.Client) -> str:
    reply = client.get("/metrics")
    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return reply.text


def kill_runner(serving: Serving) -> None:
    children = psutil.Process(serving.process.pid).children()
    [runner] = [child for child in children if "server.engine.runner" in child.cmdline()]
    runner.send_signal(signal.SIGABRT)
    runner.wait(20)


def test_before_the_first_request(client: httpx2.Client) -> None:
    assert values(scrape(client)) == {
        ("akash_llm_models_loaded", ""): 0,
        ("akash_llm_memory_budget_bytes", ""): 1 << 30,
    }


def test_a_loaded_model(client: httpx2.Client) -> None:
    generate(client)
    told = values(scrape(client))
    assert {name for name, model in told if model == "m:latest"} == NAMES
    assert told["akash_llm_models_loaded", ""] == 1
    assert told["akash_llm_model_loaded", "m:latest"] == 1
    assert told["akash_llm_loads_total", "m:latest"] == 1
    assert told["akash_llm_load_seconds_total", "m:latest"] > 0
    (shown,) = client.get("/api/ps").json()["models"]
    assert told["akash_llm_model_memory_bytes", "m:latest"] == shown["size"] > 0


def test_counters_never_fall(serving: Serving, client: httpx2.Client) -> None:
    seen = []
    for unloads in (False, True, False):
        generate(client)
        seen.append(counters(scrape(client)))
        kill_runner(serving)
        generate(client)
        seen.append(counters(scrape(client)))
        if unloads:
            generate(client, keep_alive=0)
            seen.append(counters(scrape(client)))
    for before, after in pairwise(seen):
        assert all(after[key] >= value for key, value in before.items())
    assert seen[-1]["akash_llm_runner_crashes_total", "m:latest"] == 3
    assert seen[-1]["akash_llm_runner_restarts_total", "m:latest"] == 3
    assert seen[-1]["akash_llm_loads_total", "m:latest"] == 5


def test_one_file_has_one_label_whatever_it_is_called(client: httpx2.Client) -> None:
    generate(client, "alias")
    generate(client, "m")
    assert {model for _, model in values(scrape(client))} == {"", "alias:latest"}


def test_the_scope_that_it_needs(tmp_path: Path, free_port: Callable[[], int]) -> None:
    keys = f"a:inference:{digest('ask')},b:read:{digest('read')}"
    Store(tmp_path / "models").add_file("m", write_gguf(tmp_path / "m.gguf"))
    args = ["--models", str(tmp_path / "models")]
    with Serving(tmp_path, free_port(), args=args, env={"AKASH_LLM_KEYS": keys}) as server:
        statuses = {}
        for key in ("", "ask", "read"):
            with server.client(headers={"x-api-key": key} if key else {}) as client:
                statuses[key] = client.get("/metrics").status_code
    assert statuses == {"": 401, "ask": 200, "read": 200}


class Fixed:
    """A source of two files that had the same name, one after the other."""

    memory_budget_bytes = None

    def counts(self) -> list[tuple[str, ModelCounts]]:
        stats = EngineStats(*range(1, 1 + len(EngineStats.__struct_fields__)))
        tally = Tally(num_loads=2)
        tally.retire(stats)
        return [("m", tally.counts(ModelFiles(Path(path)), None)) for path in ("old", "new")]


def test_files_of_one_name_are_added_up() -> None:
    told = values(Metrics(Fixed(), Traffic(BodyMemory(1))).text().decode())
    assert told["akash_llm_loads_total", "m"] == 4
    fields = EngineStats.__struct_fields__
    assert told["akash_llm_steps_total", "m"] == 2 * (1 + fields.index("num_steps"))
    assert told["akash_llm_requests_running", "m"] == 0


def test_every_counter_of_the_engine_is_told() -> None:
    """Each field changes exactly one metric, of the kind that it is."""
    plain = Tally().counts(ModelFiles(Path("m")), None)
    for field in EngineStats.__struct_fields__:
        counts = msgspec.structs.replace(plain, stats=EngineStats(**{field: 7}))
        moved = [metric for metric in METRICS if metric.read(counts) != metric.read(plain)]
        kind = "counter" if field in EngineCounts.__struct_fields__ else "gauge"
        assert [metric.kind for metric in moved] == [kind]
