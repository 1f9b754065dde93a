"""What Prometheus is told about requests, and the dashboard and the list that follow it."""

import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from server.body_memory import BodyMemory
from server.histogram import Histogram
from server.keys import NAME, digest
from server.metrics import METRICS, PREFIX, table
from server.models.store import Store
from server.traffic import MOST_KEYS, OTHER, Completion, Traffic
from server.traffic_metrics import TRAFFIC_METRICS, families
from tests.support import ports
from tests.support.serving import ROOT, Serving, write_gguf

KEYS = {name: f"ak-{name}" for name in ("alice", "bob", "root")}
FOLDER = ROOT / "templates" / "grafana"
ORDER = ("model", "key", "end", "method", "route", "status", "reason", "le")


@pytest.fixture
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server of two slots with three keys, and a window of 64 tokens."""
    folder = tmp_path_factory.mktemp("traffic")
    Store(folder / "models").add_file("m", write_gguf(folder / "m.gguf"))
    keys = ",".join(
        f"{name}:{'admin' if name == 'root' else 'inference'}:{digest(key)}"
        for name, key in KEYS.items()
    )
    args = ["--models", str(folder / "models"), "--context", "64", "--parallel", "2"]
    args += ["--max-queue", "1", "--origins", "https://ui.test"]
    env = {"AKASH_LLM_KEYS": keys}
    with Serving(folder, ports.free_port(), args=args, env=env, step_s=0.002) as server:
        yield server


def client_of(serving: Serving, name: str) -> httpx2.Client:
    return serving.client(headers={"x-api-key": KEYS[name]})


def told(serving: Serving) -> dict[str, float]:
    """Every sample by its name, without the prefix, and the values of its labels."""
    with client_of(serving, "root") as client:
        text = client.get("/metrics").text
    return {
        " ".join([sample.name.removeprefix(PREFIX), *_in_order(sample.labels)]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _in_order(labels: dict[str, str]) -> list[str]:
    return [labels[name] for name in ORDER if name in labels]


def generate(client: httpx2.Client, text: str = "abc", **more: Any) -> httpx2.Response:
    body = {"model": "m", "prompt": f"⟦{text}⟧", "raw": True, "stream": False, **more}
    return client.post("/api/generate", json=body)


def test_who_asked_what_and_got_how_much(serving: Serving) -> None:
    with client_of(serving, "alice") as alice, client_of(serving, "bob") as bob:
        generate(alice)
        generate(alice, options={"num_predict": 2})
        generate(bob, "x" * 100)
        assert generate(bob, model="nope").status_code == 404
        bob.post("/api/embed", json={"model": "m", "input": "x"})
        bob.get("/nope/canary")
    seen = told(serving)
    assert seen["completions_total m:latest alice stop"] == 1
    assert seen["completions_total m:latest alice length"] == 1
    assert seen["key_output_tokens_total m:latest alice"] == 3 + 1 + 2
    assert seen["key_prompt_tokens_total m:latest alice"] == 2 * len("⟦abc⟧".encode())
    assert seen["completions_total m:latest bob stop"] == 2
    assert seen["truncated_requests_total m:latest"] == 1
    assert seen["truncated_tokens_total m:latest"] > 40
    assert seen["http_requests_total POST /api/generate 200"] == 3
    assert seen["http_requests_total POST /api/generate 404"] == 1
    assert seen[f"http_requests_total GET {OTHER} 404"] == 1
    assert seen["first_token_seconds_count m:latest"] == 3
    assert seen["inter_token_seconds_count m:latest"] >= 2 + 1
    assert seen["completion_seconds_count m:latest"] == 4
    assert 0 <= seen["idle_seconds m:latest bob"] <= seen["idle_seconds m:latest alice"]
    assert seen["http_requests_in_flight"] == seen["open_connections"] == 1


def test_cancels_crashes_and_a_full_queue(serving: Serving) -> None:
    endless: dict[str, Any] = {"stream": True, "options": {"ignore_eos": True}}
    with client_of(serving, "alice") as alice:
        for _ in range(2):
            body = {"model": "m", "prompt": "⟦abc⟧", **endless}
            with alice.stream("POST", "/api/generate", json=body) as stream:
                next(stream.iter_lines())
        deadline = time.monotonic() + 20
        while told(serving).get("completions_total m:latest alice cancelled") != 2:
            assert time.monotonic() < deadline
        body = {"model": "m", "prompt": "⟦abc⟧", **endless}
        with alice.stream("POST", "/api/generate", json=body) as stream:
            lines = stream.iter_lines()
            next(lines)
            serving.kill_runner()
            for _ in lines:
                pass
    seen = told(serving)
    assert seen["completions_total m:latest alice engine_crashed"] == 1
    assert seen["requests_crashed_total m:latest"] == 1


def test_what_is_refused_is_told_by_reason(serving: Serving) -> None:
    with serving.client() as client:
        assert client.get("/api/tags").status_code == 401
        assert client.get("/api/tags", headers={"host": "evil.test"}).status_code == 403
        assert client.get("/api/tags", headers={"origin": "https://evil.test"}).status_code == 403
    with closing(socket.create_connection(("127.0.0.1", httpx2.URL(serving.url).port))) as raw:
        raw.sendall(b"nonsense\r\n\r\n")
        while raw.recv(1000):
            pass
    seen = told(serving)
    reasons = ("unauthorized", "host", "origin", "bad_request", "body_memory")
    assert [seen[f"refused_total {reason}"] for reason in reasons] == [1, 1, 1, 1, 0]


def test_labels_do_not_grow_without_bound() -> None:
    traffic = Traffic(BodyMemory(1))
    for n in range(3 * MOST_KEYS):
        model, key = traffic.labels(f"m{n}", f"k{n}")
        traffic.used(model, key)
        traffic.completed(
            Completion(
                model=model,
                key=key,
                end="stop",
                prompt_tokens=1,
                output_tokens=2,
                truncated_tokens=0,
                duration_s=1,
            )
        )
        traffic.answered(f"X{n}", "", 200)
    assert traffic.labels("m0", "k0") == ("m0", "k0")
    assert traffic.labels("new", "new") == (OTHER, OTHER)
    assert len(traffic.completions) == len(traffic.last_used_s) == MOST_KEYS + 1
    assert traffic.output_tokens[OTHER, OTHER] == 4 * MOST_KEYS
    assert not NAME.fullmatch(OTHER)  # nobody's key is shown the rest as its own
    assert dict(traffic.requests) == {(OTHER, OTHER, "200"): 3 * MOST_KEYS}


def test_a_value_belongs_to_the_bucket_of_its_bound() -> None:
    histogram = Histogram((0.1, 1))
    for value in (0, 0.1, 0.2, 1, 7):
        histogram.observe(value)
    assert histogram.buckets() == [("0.1", 2), ("1", 4), ("+Inf", 5)]
    assert histogram.total == 8.3


# the list and the dashboard


def full_names() -> set[str]:
    """What a query may name: a histogram by its parts."""
    names = {metric.full_name for metric in METRICS}
    names |= {PREFIX + "models_loaded", PREFIX + "memory_budget_bytes"}
    for metric in TRAFFIC_METRICS:
        name = metric.full_name(PREFIX)
        parts = ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",)
        names |= {name + part for part in parts}
    return names


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "akash-llm.json").read_text())
    return found


def expressions() -> list[str]:
    return [
        target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", [])
    ]


def test_every_metric_of_the_dashboard_exists_and_is_served(serving: Serving) -> None:
    with client_of(serving, "alice") as alice:
        generate(alice)
    with client_of(serving, "root") as client:
        families_told = text_string_to_metric_families(client.get("/metrics").text)
        served = {sample.name for family in families_told for sample in family.samples}
    used = {name for each in expressions() for name in re.findall(rf"\b{PREFIX}\w+", each)}
    assert used and used <= full_names()
    assert used - served <= {PREFIX + "memory_budget_bytes"}


def test_the_dashboard_shows_every_metric_of_traffic() -> None:
    text = " ".join(expressions())
    for metric in TRAFFIC_METRICS:
        assert metric.full_name(PREFIX) in text


def test_every_label_that_the_dashboard_uses_is_one_of_its_metric() -> None:
    labels = {metric.full_name: {"model"} for metric in METRICS}
    for metric in TRAFFIC_METRICS:
        for part in ("", "_bucket", "_sum", "_count"):
            labels[metric.full_name(PREFIX) + part] = {*metric.labels, "le"}
    for each in expressions():
        for name, selector in re.findall(rf"({PREFIX}\w+)\{{([^}}]*)\}}", each):
            used = set(re.findall(r"(\w+)\s*=~?", selector)) - {"job", "instance"}
            assert used <= labels.get(name, set()), each


def test_the_dashboard_takes_its_data_source_from_a_variable() -> None:
    variables = {one["name"]: one["type"] for one in dashboard()["templating"]["list"]}
    assert variables["datasource"] == "datasource"
    ids = [panel["id"] for panel in dashboard()["panels"]]
    assert len(ids) == len(set(ids))
    for panel in dashboard()["panels"]:
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}"
            assert panel["title"] and panel["targets"]


def test_the_list_of_metrics_is_up_to_date() -> None:
    """It is what `server.metrics.table` says."""
    assert table() in (FOLDER / "METRICS.md").read_text()


def test_every_metric_has_a_meaning_and_a_name_of_its_own() -> None:
    names = [metric.full_name for metric in METRICS]
    names += [metric.full_name(PREFIX) for metric in TRAFFIC_METRICS]
    assert len(names) == len(set(names))
    assert all(metric.help for metric in METRICS)
    assert all(metric.help for metric in TRAFFIC_METRICS)
    made = {family.name for family in families(Traffic(BodyMemory(1)), PREFIX)}
    assert made == {PREFIX + metric.name for metric in TRAFFIC_METRICS}
