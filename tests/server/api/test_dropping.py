"""Conversations that are too long for their window, in the manner of each family."""

from collections.abc import Iterator, Sequence
from typing import Any

import httpx2
import pytest

from server.api.dropping import drop_oldest
from server.chat.messages import Message
from server.errors import InvalidRequest
from server.models.extras import Extras
from server.models.store import Store
from tests.support.chat_templates import FAMILIES
from tests.support.ports import free_port
from tests.support.serving import Serving, write_gguf

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    """A server with a model of each family."""
    folder = tmp_path_factory.mktemp("families")
    store = Store(folder / "models")
    for name, source in FAMILIES.items():
        path = write_gguf(folder / f"{name}.gguf", fields={"general.name": name})
        store.add_file(name, path, extras=Extras(jinja=source))
    args = ["--models", str(folder / "models"), "--context", "2048"]
    with Serving(folder, free_port(), args=args) as server, server.client() as client:
        yield client


def long_conversation(*, with_calls: bool) -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = [{"role": "system", "content": "system"}]
    for number in range(6):
        said.append({"role": "user", "content": f"question {number} " + "x" * 40})
        if with_calls:
            call = {"id": f"c{number}", "function": {"name": "f", "arguments": {"a": "b"}}}
            said.append({"role": "assistant", "content": "", "tool_calls": [call]})
            said.append({"role": "tool", "content": "result", "tool_call_id": f"c{number}"})
        said.append({"role": "assistant", "content": f"answer {number} " + "y" * 40})
    return [*said, {"role": "user", "content": "⟦last⟧"}]


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"command_r_tools"}))
@pytest.mark.parametrize("with_calls", [False, True])
def test_a_template_takes_what_is_left(
    client: httpx2.Client, family: str, with_calls: bool
) -> None:
    body: dict[str, Any] = {
        "model": family,
        "messages": long_conversation(with_calls=with_calls),
        "stream": False,
    }
    if with_calls:
        body["tools"] = [TOOL]
    whole = client.post("/api/chat", json=body)
    if with_calls and "does not support tools" in whole.text:
        return
    assert whole.status_code == 200
    for window in range(150, whole.json()["prompt_eval_count"], 61):
        reply = client.post("/api/chat", json={**body, "options": {"num_ctx": window}})
        assert reply.status_code == 200, (window, reply.text)
        assert reply.json()["truncated"] > 0


def role_of(letter: str) -> str:
    return {"s": "system", "u": "user", "a": "assistant", "t": "tool"}[letter]


@pytest.mark.parametrize(
    ("roles", "room", "left"),
    [
        ("suauau", 4, "suau"),
        ("suauau", 3, "su"),
        ("suauau", 0, "su"),
        ("uasu", 2, "su"),
        ("uuu", 2, "uu"),
        ("uatatat", 6, "atatat"),
        ("uatatat", 3, "at"),
        ("uatatat", 1, "t"),
        ("uauatatat", 7, "uatatat"),
        ("uauatatat", 5, "atat"),
        ("uaua", 2, "ua"),
        ("uaua", 1, "a"),
        ("su", 1, ""),
    ],
)
async def test_what_is_left_begins_with_a_turn(roles: str, room: int, left: str) -> None:
    async def tokens_of(some: Sequence[Message]) -> list[int]:
        return [ord(message.role[0]) for message in some]

    said = [Message(role=role_of(letter)) for letter in roles]
    assert bytes(await drop_oldest(said, room, tokens_of)).decode() == left


@pytest.mark.parametrize(
    ("roles", "room", "left"), [("uauatat", 4, "uatat"), ("uatat", 3, ""), ("uauatat", 9, "uatat")]
)
async def test_no_more_goes_than_the_template_takes(roles: str, room: int, left: str) -> None:
    async def tokens_of(some: Sequence[Message]) -> list[int]:
        if some[0].role != "user":
            raise InvalidRequest("a user has to begin")
        return [ord(message.role[0]) for message in some]

    said = [Message(role=role_of(letter)) for letter in roles]
    assert bytes(await drop_oldest(said, room, tokens_of)).decode() == left
