"""The benchmark itself: its client on a real server, its ratios and verdicts."""

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from server.models.name import ModelName
from server.models.store import Store
from tests.performance import report
from tests.performance.cases import METRICS
from tests.performance.load import Answer, Batch, ask, prompt_of
from tests.performance.servers import (
    MODEL,
    LlamaServerWire,
    OllamaWire,
    Program,
    Setting,
    ours,
    running,
)
from tests.support.serving import STEP_VARIABLE, write_gguf


def test_prompts_share_no_beginning_and_come_again() -> None:
    assert prompt_of(10, 1) == prompt_of(10, 1)
    assert prompt_of(10, 1)[0] != prompt_of(10, 2)[0]
    assert len(prompt_of(10, 1).split()) == 11


async def test_a_stream_is_counted_by_the_client(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    Store(tmp_path / "models").add_file(ModelName.parse(MODEL), write_gguf(tmp_path / "m.gguf"))
    flags = ("--port", "{port}", "--models", str(tmp_path / "models"), "--preload", MODEL)
    program = Program(
        "fake",
        OllamaWire(),
        (sys.executable, "-m", "tests.support.serving", *flags),
        "/health/ready",
        {STEP_VARIABLE: "0.001"},
    )
    async with running(program, free_port(), tmp_path / "log") as server:
        answer = await ask(server, "⟦words⟧", 12)
    assert answer.tokens == 12
    assert 0 < answer.first_s < answer.last_s


async def test_our_server_starts_from_a_home_of_its_own_and_ends(
    embedded_store: Path, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    weights, _ = Store(embedded_store).get(ModelName.parse("smollm2:135m")).check()
    program = ours(Setting(weights, threads=1, slots=2, context=256), tmp_path / "home")
    async with running(program, free_port(), tmp_path / "log") as server:
        assert server.rss_bytes() > weights.stat().st_size
        assert (await ask(server, "Hello", 5)).tokens == 5
        port = server.port
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_a_program_that_ends_at_once_is_said_to_have(tmp_path: Path) -> None:
    program = Program("broken", OllamaWire(), ("/bin/false",), "/health")
    with pytest.raises(RuntimeError, match="broken ended with 1"):
        async with running(program, 1, tmp_path / "log"):
            pass


def test_lines_of_llama_server_are_read() -> None:
    wire = LlamaServerWire()
    text = b'data: {"index":0,"content":" a","tokens":[1],"stop":false}\n'
    last = b'data: {"index":0,"content":"","stop":true,"tokens_predicted":64}\n'
    assert wire.has_text(text) and not wire.has_text(last) and not wire.has_text(b"2f\r\n")
    assert wire.tokens(text) is None
    assert wire.tokens(last) == 64


def test_a_batch_is_timed_as_a_whole() -> None:
    answers = [Answer(0.1 * i, 1.0, 10) for i in range(1, 21)]
    batch = Batch(answers, wall_s=2.0)
    assert batch.tokens_per_s == 100
    assert batch.first_s(0.95) == 2.0


def test_ratios_are_of_the_same_round_and_held_against_the_bar(tmp_path: Path) -> None:
    ours_ = {metric.name: [1.0, 2.0, 4.0] for metric in METRICS}
    peer = {metric.name: [2.0, 2.0, 2.0] for metric in METRICS}
    found = report.rows(ours_, peer)
    assert list(found[0].ratios) == [0.5, 1.0, 2.0]
    verdicts = {row.metric: row.verdict for row in found}
    assert verdicts["8 streams"] == "meets ≥ 1"
    assert verdicts["first token p95, 8 streams, shared new prefix"] == "misses ≤ 0.35"
    assert verdicts["process start to first token"] == ""
    report.save(tmp_path, {"rounds": 3}, found, report.table(found, "peer"))
    saved = json.loads((tmp_path / "bench.json").read_text())
    assert saved["schema"] == 1 and saved["rows"][0]["ratios"] == [0.5, 1.0, 2.0]
    assert "1.00 (0.50 to 2.00)" in (tmp_path / "bench.md").read_text()
    assert (tmp_path / "bench.svg").read_text().startswith("<?xml")
