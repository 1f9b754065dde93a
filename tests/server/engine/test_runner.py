"""The runner as a process: what it does with messages and files that nobody expects."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import gguf
import pytest

from server.engine.config import EngineConfig, FakeCosts
from server.engine.frames import Frames
from server.engine.messages import (
    FromRunner,
    Load,
    Loaded,
    LoadRefused,
    Step,
    Submit,
    Tokenize,
    decode_from_runner,
    encode,
)
from server.engine.types import Grammar, Request, Segment

FAKE = EngineConfig(backend="fake")
LIMIT_S = 60


class Started:
    """A runner process and the socket to it."""

    def __init__(self) -> None:
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(LIMIT_S)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "server.engine.runner", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stderr=subprocess.PIPE,
                text=True,
            )
        self._frames = Frames()
        self._bodies: list[bytes] = []

    def answer(self) -> FromRunner:
        """The next message; several may come at once."""
        while not self._bodies:
            data = self.socket.recv(1 << 16)
            assert data, "the runner said nothing"
            self._bodies += self._frames.feed(data)
        message: FromRunner = decode_from_runner(self._bodies.pop(0))
        return message

    def end(self) -> tuple[int, list[str]]:
        """Its exit code and the lines of its log, once it has ended by itself."""
        _, log = self.process.communicate(timeout=LIMIT_S)
        self.socket.close()
        return self.process.returncode, log.splitlines()


def test_it_ends_with_the_other_side() -> None:
    runner = Started()
    runner.socket.sendall(encode(Load("", FAKE)))
    assert isinstance(runner.answer(), Loaded)
    runner.socket.close()
    assert runner.end() == (0, [])


def test_a_format_that_takes_long_to_read_holds_nobody_up() -> None:
    slow = EngineConfig(backend="fake", fake=FakeCosts(grammar_s=3600))
    runner = Started()
    runner.socket.sendall(encode(Load("", slow)))
    assert isinstance(runner.answer(), Loaded)
    for number, grammar in enumerate([Grammar("json"), None]):
        request = Request(tokens=list(b"hello"), grammar=grammar)
        runner.socket.sendall(encode(Submit(number, request)))
    finished: list[int] = []
    while not finished:
        answer = runner.answer()
        assert isinstance(answer, Step)
        finished += [number for number, _ in answer.finished]
    assert finished == [1]
    runner.socket.close()
    assert runner.end() == (0, [])


@pytest.mark.parametrize(
    "sent",
    [
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x01\xc1",
        encode(Tokenize(1, (Segment("x", special="y"),), add_bos=True)),  # type: ignore[arg-type]
    ],
    ids=["a frame beyond reason", "no message", "a message of the wrong types"],
)
def test_what_it_cannot_read_ends_it_instead_of_leaving_it_deaf(sent: bytes) -> None:
    runner = Started()
    runner.socket.sendall(encode(Load("", FAKE)))
    assert isinstance(runner.answer(), Loaded)
    runner.socket.sendall(sent)
    code, log = runner.end()
    assert code == 1
    assert "receiver" in json.loads(log[-1])["message"]


def test_what_a_file_says_cannot_write_a_line_of_the_log(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", 'x\n{"level":"info"}')
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    runner = Started()
    runner.socket.sendall(encode(Load(str(tmp_path / "model.gguf"), EngineConfig())))
    assert isinstance(runner.answer(), LoadRefused)
    _, log = runner.end()
    assert log
    assert {json.loads(line)["level"] for line in log} == {"error"}
