"""Silence is bridged: proxies on the way cut what says nothing."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from litestar.types import Message

from server.api.events import Delta, Event, Events
from server.api.stream import reply_with_events
from server.errors import ServerError
from server.models.store import Store
from tests.support.serving import Serving, write_gguf

ASK = {"model": "m", "prompt": "⟦abc⟧"}


@pytest.fixture
def start(tmp_path: Path, free_port: Callable[[], int]) -> Callable[..., Serving]:
    """A function that makes a server whose model loads slowly; enter it."""
    Store(tmp_path / "models").add_file("m", write_gguf(tmp_path / "m.gguf"))

    def make(*args: str, **options: Any) -> Serving:
        args = ("--models", str(tmp_path / "models"), *args)
        return Serving(tmp_path, free_port(), args=args, **options)

    return make


def told(server: Serving, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    with server.client() as client, client.stream("POST", path, json=body) as response:
        assert response.status_code == 200
        return [json.loads(line) for line in response.iter_lines()]


def text(chunk: dict[str, Any]) -> str:
    found: str = chunk["message"]["content"] if "message" in chunk else chunk["response"]
    return found


@pytest.mark.parametrize("path", ["/api/generate", "/api/chat"])
def test_before_the_first_token_and_between_two(start: Callable[..., Serving], path: str) -> None:
    chat = {"model": "m", "messages": [{"role": "user", "content": "⟦abc⟧"}]}
    with start("--heartbeat", "0.05", load_s=0.6, step_s=0.3) as server:
        chunks = told(server, path, chat if path == "/api/chat" else ASK)
    texts = [text(chunk) for chunk in chunks]
    assert "".join(texts) == "abc"
    assert [chunk["done"] for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    first, last = texts.index("a"), texts.index("c")
    assert first >= 2 and "" in texts[first:last]
    assert set(chunks[0]) == set(chunks[first])


def test_without_it_nothing_is_said(start: Callable[..., Serving]) -> None:
    with start("--heartbeat", "0", load_s=0.3, step_s=0.1) as server:
        assert [text(chunk) for chunk in told(server, "/api/generate", ASK)] == ["a", "b", "c", ""]


def test_an_error_after_it_is_one_in_the_stream(start: Callable[..., Serving]) -> None:
    with start("--heartbeat", "0.05", load_s=60) as server, server.client() as client:
        with client.stream("POST", "/api/generate", json=ASK) as response:
            lines = response.iter_lines()
            assert text(json.loads(next(lines))) == ""
            server.kill_runner()
            *_, last = lines
        assert response.status_code == 200
        assert json.loads(last)["error"].startswith("the model runner was ended by SIGKILL")


class Plain:
    """An encoder without a heartbeat."""

    stream_type = "text/plain"

    def frame(self, event: Event) -> bytes:
        return event.text.encode() if isinstance(event, Delta) else b""

    def whole(self, events: list[Event]) -> bytes:
        return b"".join(map(self.frame, events))

    def heartbeat(self) -> bytes:
        return b""

    def failure(self, error: ServerError) -> bytes:
        return error.message.encode()

    error = failure


async def test_a_dialect_without_one_stays_silent_and_keeps_its_status() -> None:
    messages: list[Message] = []
    waited = asyncio.Event()

    async def events() -> Events:
        await asyncio.wait_for(waited.wait(), 10)
        raise ServerError("no")
        yield Delta("")

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Message) -> None:
        messages.append(message)

    app = reply_with_events(events(), Plain(), stream=True, heartbeat_s=0.001)
    asyncio.get_running_loop().call_later(0.05, waited.set)
    scope: Any = {"type": "http"}
    await app(scope, receive, send)
    assert [message.get("status") for message in messages] == [500, None]
    assert messages[1]["body"] == b"no"  # type: ignore[typeddict-item]
