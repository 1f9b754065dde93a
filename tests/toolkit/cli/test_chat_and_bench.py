"""`akash-llm chat` and `akash-llm bench` as processes: output, exit codes, Ctrl+C."""

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.support.endpoint import MODEL, Answer, Hold, Received, ScriptedEndpoint, Step, words

KEY = "ak-canary-0ddba11"


class Ended(NamedTuple):
    code: int
    out: str
    err: str


PROGRAM = ("-m", "toolkit")


async def started(*arguments: str, program: Sequence[str] = PROGRAM) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, *program, *arguments, stdin=PIPE, stdout=PIPE, stderr=PIPE
    )


async def ran(*arguments: str, stdin: str = "", program: Sequence[str] = PROGRAM) -> Ended:
    process = await started(*arguments, program=program)
    out, err = await process.communicate(stdin.encode())
    return Ended(process.returncode or 0, out.decode(), err.decode())


def tokens(received: Received) -> Answer:
    steps: list[Step] = ["w "] * received.body["options"]["num_predict"]
    return Answer(steps)


async def test_once_streams_an_answer_and_its_figures() -> None:
    async with ScriptedEndpoint(lambda _: words("one two")) as server:
        ended = await ran("chat", "--url", server.url, "--once", "hi", "--seed", "3")
    assert ended.code == 0, ended.err
    answer, figures = ended.out.splitlines()
    assert answer == "one two"
    assert "tok/s, first token after" in figures and "2 tokens" in figures
    assert server.generations()[0].body["model"] == MODEL
    assert server.generations()[0].body["options"] == {"seed": 3}


async def test_json_is_one_object() -> None:
    async with ScriptedEndpoint(lambda _: words("one two")) as server:
        ended = await ran("chat", "--url", server.url, "--json", stdin="from standard input")
    answer = json.loads(ended.out)
    assert answer["text"] == "one two" and answer["stats"]["output_tokens"] == 2
    assert server.generations()[0].body["messages"][0]["content"] == "from standard input"


async def test_text_that_steers_a_terminal_is_cleaned() -> None:
    async with ScriptedEndpoint(
        lambda _: Answer(["\x1b]0;owned\x07a\x1b[2Jb", "\x1b", "[31mc"])
    ) as s:
        ended = await ran("chat", "--url", s.url, "--once", "hi")
    assert "\x1b" not in ended.out and "\x07" not in ended.out


async def test_an_error_that_steers_a_terminal_is_cleaned() -> None:
    async with ScriptedEndpoint(lambda _: Answer(status=500, error="\x1b]0;owned\x07no")) as s:
        ended = await ran("chat", "--url", s.url, "--once", "hi")
    assert ended.code == 7 and "error: no\n" in ended.err
    assert "\x1b" not in ended.err and "\x07" not in ended.err


async def test_an_empty_prompt_is_not_sent() -> None:
    async with ScriptedEndpoint() as server:
        silent = await ran("chat", "--url", server.url)
        blank = await ran("chat", "--url", server.url, "--once", " ", "--json")
    assert (silent.code, blank.code) == (2, 2) and "--once" in silent.err
    assert server.generations() == []


async def test_the_key_comes_from_its_file_and_is_nowhere_in_the_output(tmp_path: Path) -> None:
    key_file = tmp_path / "api.key"
    key_file.write_text(KEY)
    async with ScriptedEndpoint(key=KEY) as server:
        good = await ran("chat", "--url", server.url, "--key-file", str(key_file), "--once", "hi")
        bad = await ran("chat", "--url", server.url, "--once", "hi")
    assert good.code == 0 and KEY not in good.out + good.err
    assert bad.code == 4 and "key" in bad.err and "Traceback" not in bad.err


async def test_failures_have_their_exit_codes() -> None:
    async with ScriptedEndpoint(lambda _: Answer(status=404, error="model 'x' not found")) as s:
        missing = await ran("chat", "--url", s.url, "--model", "x", "--once", "hi")
        both = await ran("chat", "name", "--url", s.url, "--once", "hi")
    gone = await ran("chat", "--url", s.url, "--once", "hi")
    plain = await ran("chat", "--url", "http://203.0.113.5", "--key-file", __file__, "--once", "hi")
    assert (missing.code, both.code, gone.code, plain.code) == (7, 2, 7, 4)
    assert "model 'x' not found" in missing.err and "Nothing answers" in gone.err
    assert "plain http" in plain.err


async def test_ctrl_c_stops_a_reply() -> None:
    async with ScriptedEndpoint(lambda _: Answer(["a", Hold()])) as server:
        process = await started("chat", "--url", server.url, "--once", "hi")
        await server.until(lambda s: s.active == 1)
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
        assert process.returncode == 130 and b"Traceback" not in err
        await server.until(lambda s: s.active == 0 and s.cancelled == 1)


BENCH = ("bench", "run", "--prompt-words", "4", "--output-tokens", "3", "--requests", "2")


async def test_bench_prints_table_spread_and_formulas(tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    async with ScriptedEndpoint(tokens) as server:
        ended = await ran(*BENCH, "--url", server.url, "--concurrency", "1,2", "--out", str(out))
    assert ended.code == 0, ended.err
    for part in ("tok/s", "(tN - t1) / (n - 1)", "95 % of p50", "Best: ", "2/2"):
        assert part in ended.out
    assert json.loads(out.read_text())["schema"] == 1


async def test_bench_json_is_the_result() -> None:
    async with ScriptedEndpoint(tokens) as server:
        ended = await ran(*BENCH, "--url", server.url, "--concurrency", "1", "--json")
    result = json.loads(ended.out)
    assert result["complete"] and result["summaries"][0]["ok"] == 2


async def test_bench_with_failed_requests_ends_with_seven_and_shows_them() -> None:
    async with ScriptedEndpoint() as server:
        seen = iter(range(100))
        failed = Answer(status=503, error="busy")
        server.script = lambda r: failed if next(seen) == 2 else tokens(r)
        ended = await ran(*BENCH, "--url", server.url, "--concurrency", "1")
    assert ended.code == 7 and "1 × `busy`" in ended.out and "1/2" in ended.out


async def test_an_interrupted_bench_prints_what_it_measured() -> None:
    async with ScriptedEndpoint() as server:
        seen = iter(range(100))
        server.script = lambda r: tokens(r) if next(seen) < 3 else Answer(["a", Hold()])
        process = await started(*BENCH, "--url", server.url, "--concurrency", "1,2")
        await server.until(lambda s: s.active == 2 and len(s.generations()) == 5)
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    assert process.returncode == 130, err
    assert b"partial result" in out and b"2/2" in out


async def test_bench_refuses_what_cannot_be_meant() -> None:
    for arguments in (("--concurrency", "a"), ("--concurrency", "0"), ("--output-tokens", "1")):
        ended = await ran("bench", "run", "--url", "http://127.0.0.1:1", *arguments)
        assert ended.code == 2 and "Traceback" not in ended.err
