"""The bounds of one request: how long it may take, and how much may come back."""

import threading

import pytest

from tests.support.console.faults import Canned, Fault, answered, held
from tests.support.console.server import ConsoleServer
from toolkit.deploy.console import wire
from toolkit.deploy.console.account import User
from toolkit.deploy.console.decoding import Data
from toolkit.deploy.console.wire import Call, Wire
from toolkit.errors import EndpointError, ReplyLost, ToolkitError

PATH = "/v1/user/me"


async def failed(server: ConsoleServer, call: Call) -> ToolkitError:
    sender = Wire(server.url, server.key)
    try:
        with pytest.raises(EndpointError) as caught:
            await sender.send(call, Data[User])
    finally:
        await sender.aclose()
    return caught.value


@pytest.mark.parametrize("look", [None, "Look there."])
async def test_silence_has_an_end(server: ConsoleServer, look: str | None) -> None:
    gate = threading.Event()
    server.script.add(*[held("GET", PATH, gate) for _ in range(3)])
    try:
        error = await failed(server, Call(method="GET", path=PATH, look=look, read_s=0.1))
    finally:
        gate.set()
    assert isinstance(error, ReplyLost) is (look is not None)
    assert len(server.seen) == (1 if look else 3)


async def test_all_of_it_has_an_end(server: ConsoleServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where no single silence is too long."""
    monkeypatch.setattr(Call, "total_s", 0.1)
    gate = threading.Event()
    server.script.add(held("GET", PATH, gate))
    try:
        error = await failed(server, Call(method="GET", path=PATH, look="Look there."))
    finally:
        gate.set()
    assert isinstance(error, ReplyLost)


@pytest.mark.parametrize("look", [None, "Look there."])
async def test_an_answer_has_a_largest_size(
    server: ConsoleServer, monkeypatch: pytest.MonkeyPatch, look: str | None
) -> None:
    monkeypatch.setattr(wire, "MAX_BODY_BYTES", 1000)
    server.script.add(answered("GET", PATH, 200, b"[" * 2000))
    error = await failed(server, Call(method="GET", path=PATH, look=look))
    assert isinstance(error, ReplyLost) is (look is not None)
    assert "1000 bytes" in error.message
    assert len(server.seen) == 1


async def test_compressed_answers_are_not_unpacked(server: ConsoleServer) -> None:
    canned = Canned(200, b"\x1f\x8b\x08\x00", {"content-encoding": "gzip"})
    server.script.add(Fault(method="GET", path=PATH, answer=canned))
    assert "cannot be read" in (await failed(server, Call(method="GET", path=PATH))).message
    assert server.seen[0].headers["accept-encoding"] == "identity"
