"""What a gateway costs, measured on a real one before the stand-in. No time is held against
anything."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.performance import gateway, peers, report
from tests.performance.cases import GATEWAY, GATEWAY_CHAT, STAND_IN, VLLM, Case, Make, chosen
from tests.performance.compare import Comparison, Results
from tests.performance.gateway import Behind, Overhead, real, stand_in
from tests.performance.load import ask
from tests.performance.programs import Missing, Setting
from tests.performance.running import NotStarted, Running, running
from tests.performance.wires import MODEL, OpenAIChatWire, Usage, VllmWire

BOTH = {"first p50", "first p95", "tokens"}
KEYS = {*BOTH, *(f"bare {key}" for key in BOTH), "cpu", "memory"}
FEW = Overhead(firsts=2, tokens=3)


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(tmp_path / "m.gguf", 1, tmp_path / "home")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "STEP_S", 0.0)


async def test_the_stand_in_is_asked_without_a_gateway(
    setting: Setting, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    async with running(stand_in(setting), free_port(), tmp_path / "log") as server:
        answer = await ask(server, "⟦words⟧", 5)
        assert answer.usage == Usage(len("<⟦words⟧".encode()), 5)  # with what begins a text


@pytest.mark.parametrize("wire", [VllmWire(), OpenAIChatWire()])
async def test_a_gateway_is_measured_with_what_is_behind_it(
    wire: VllmWire, setting: Setting, tmp_path: Path
) -> None:
    seen: list[tuple[str, Usage | None]] = []

    async def measure(gateway: Running, bare: Running, seed: int) -> dict[str, float]:
        for server in (gateway, bare):
            seen.append((server.program.name, (await ask(server, "⟦words⟧", 4)).usage))
        return await FEW(gateway, bare, seed)

    side = Behind(stand_in(setting), setting.home, wire, measure)
    assert "--engine vllm" in " ".join(side.command)
    figures = await side.turn(1, tmp_path / "log")
    assert [name for name, _ in seen] == ["gateway", "stand-in"]
    assert [usage and usage.output_tokens for _, usage in seen] == [4, 4]
    assert figures.keys() == KEYS
    assert figures["memory"] > 1 and figures["tokens"] > 0
    assert 0 < figures["first p50"] <= figures["first p95"]


async def test_an_upstream_that_does_not_start_is_the_reason(
    setting: Setting, tmp_path: Path
) -> None:
    broken = replace(stand_in(setting), argv=(sys.executable, "-c", "raise SystemExit('no port')"))
    side = Behind(broken, setting.home, VllmWire(), FEW)
    with pytest.raises(NotStarted, match="stand-in ended with 1: no port"):
        await side.turn(1, tmp_path / "log")


def test_lines_of_a_chat_are_read() -> None:
    wire = OpenAIChatWire()
    text = b'data: {"choices":[{"index":0,"delta":{"content":" a"}}]}\n'
    first = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n'
    last = b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":64}}\n'
    assert wire.has_text(text) and not wire.has_text(first) and not wire.has_text(last)
    assert wire.usage(last, 64) == Usage(9, 64)
    body = wire.body("Hello", 64)
    assert body["messages"] == [{"role": "user", "content": "Hello"}]
    assert "prompt" not in body and body["max_tokens"] == 64


def test_real_vllm_tells_what_a_gateway_needs(
    setting: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "VLLM", tmp_path)
    with pytest.raises(Missing, match="vllm is not here"):
        real(setting)
    monkeypatch.setattr(peers, "hugging_face", lambda weights: tmp_path)
    python = peers.python_of(tmp_path)
    python.parent.mkdir()
    python.touch()
    command = real(setting).command(9)
    assert command[command.index("--max-num-seqs") + 1] == "32"
    assert "--enable-tokenizer-info-endpoint" in command


async def test_the_case_ends_in_what_the_gateway_adds(setting: Setting, tmp_path: Path) -> None:
    (case,) = chosen("gateway")
    sides: dict[str, Make] = {
        GATEWAY: lambda setting: Behind(stand_in(setting), setting.home, VllmWire(), FEW),
    }
    results = Results()
    comparison = Comparison(setting, tmp_path, results, lambda _: None, lambda: None)
    await comparison.run([replace(case, sides=sides)], 1)
    assert results.problems == []
    rows = report.rows([case], results)
    assert [row.name for row in rows] == [f.name for f in case.figures if f.ours == GATEWAY]
    (added,) = rows[0].compared
    assert added == rows[0].ours[0] - rows[0].peer[0]
    assert rows[0].verdict.endswith("≤ +2 ms")
    assert rows[2].verdict.endswith("≥ 0.95")
    assert [row.verdict for row in rows[3:]] == ["", ""]
    assert json.dumps(results.commands["gateway"]).count(MODEL) == 2


def test_both_cases_hold_a_gateway_against_what_is_behind_it() -> None:
    def compared(case: Case) -> set[tuple[str, str | None]]:
        return {(figure.ours, figure.peer) for figure in case.figures if figure.bar is not None}

    first, second = chosen("gateway*")
    assert compared(first) == {(GATEWAY, STAND_IN), (GATEWAY_CHAT, STAND_IN)}
    assert compared(second) == {(GATEWAY, VLLM)}
