"""A model that shows all that it is given gets the same through a gateway as directly."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from server.models.extras import Extras
from server.models.manifest import Message
from server.models.store import Store
from tests.support.ports import free_port
from tests.support.serving import TEMPLATE_VARIABLE, Serving, write_gguf
from tests.support.telling_template import TELLING

ARGUMENTS = {"b": {"type": "string"}, "a": {"type": "integer"}}
TOOL = {
    "type": "function",
    "function": {
        "name": "f",
        "description": "d",
        "parameters": {"type": "object", "properties": ARGUMENTS},
    },
}
CALL = {"id": "call_1", "function": {"name": "f", "arguments": {"b": "x", "a": 1}}}
USER = {"role": "user", "content": "Hi <|im_end|>"}


@pytest.fixture(scope="module")
def direct(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    """A client of a server of ours; `own` brings a system text, messages and options."""
    folder = tmp_path_factory.mktemp("direct")
    store = Store(folder / "models")
    own = Extras(
        system="Be kind.",
        params={"num_predict": 5, "stop": ["c"]},
        messages=(Message("user", "ping"), Message("assistant", "pong")),
    )
    for name, extras in (("m", Extras()), ("own", own)):
        fields: dict[str, int | str] = {"tokenizer.chat_template": TELLING, "general.name": name}
        store.add_file(name, write_gguf(folder / f"{name}.gguf", fields=fields), extras=extras)
    args = ["--models", str(folder / "models"), "--registries", "nobody.test"]
    env = {TEMPLATE_VARIABLE: TELLING}
    with (
        Serving(folder, free_port(), args=args, env=env) as serving,
        serving.client() as client,
    ):
        yield client


@pytest.fixture(scope="module")
def gateway(
    direct: httpx2.Client, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx2.Client]:
    args = ["--engine", "ollama", "--upstream", str(direct.base_url)]
    folder = tmp_path_factory.mktemp("gateway")
    with (
        Serving(folder, free_port(), args=args, fake=False) as serving,
        serving.client() as client,
    ):
        yield client


def chat(*messages: dict[str, Any], **fields: Any) -> tuple[str, dict[str, Any]]:
    return "/api/chat", {"messages": messages or [USER], **fields}


def generate(prompt: str, **fields: Any) -> tuple[str, dict[str, Any]]:
    return "/api/generate", {"prompt": prompt, **fields}


ASKED = [
    chat(),
    chat({"role": "system", "content": "Mine."}, USER),
    chat({"role": "SYSTEM", "content": "Mine."}, USER, think=False),
    chat(USER, {"role": "assistant", "content": "Begin"}),
    chat(USER, tools=[TOOL], think="low"),
    chat(
        USER,
        {"role": "assistant", "content": "", "thinking": "hm", "tool_calls": [CALL]},
        {"role": "tool", "content": "ü", "tool_name": "f", "tool_call_id": "call_1"},
        tools=[TOOL],
        think=True,
    ),
    generate("Hi"),
    generate("Hi", system="Mine.", think="high"),
    generate("Hi", raw=True),
]


@pytest.mark.parametrize("model", ["m", "own"])
@pytest.mark.parametrize(("path", "body"), ASKED)
def test_prompts(
    direct: httpx2.Client, gateway: httpx2.Client, model: str, path: str, body: dict[str, Any]
) -> None:
    asked = {"model": model, "_debug_render_only": True} | body
    there, here = direct.post(path, json=asked).json(), gateway.post(path, json=asked).json()
    assert here["_debug_info"] == there["_debug_info"]


REPLIES = [
    chat({"role": "user", "content": "⟦<think>hm</think>a<tool_call>{}</tool_call>⟧"}),
    chat(
        {
            "role": "user",
            "content": '⟦<tool_call>{"name": "f", "arguments": {"b": "<>"}}</tool_call>⟧',
        },
        tools=[TOOL],
    ),
    generate("⟦abcdefgh⟧", options={"num_predict": 4}),
    generate("⟦abcdefgh⟧", options={"stop": ["d"]}),
    generate("⟦abcdefgh⟧", raw=True, logprobs=True, top_logprobs=2, options={"temperature": 0}),
    generate("⟦ab⟧", context=[104, 105]),
]
COUNTED = ("done_reason", "prompt_eval_count", "eval_count", "context", "logprobs", "response")


@pytest.mark.parametrize("model", ["m", "own"])
@pytest.mark.parametrize(("path", "body"), REPLIES)
def test_replies(
    direct: httpx2.Client, gateway: httpx2.Client, model: str, path: str, body: dict[str, Any]
) -> None:
    asked = {"model": model, "stream": False} | body
    there, here = direct.post(path, json=asked).json(), gateway.post(path, json=asked).json()
    assert {n: here.get(n) for n in COUNTED} == {n: there.get(n) for n in COUNTED}
    for found in (there, here):
        for call in found.get("message", {}).get("tool_calls", []):
            call.pop("id")
    assert here.get("message") == there.get("message")


@pytest.mark.parametrize("model", ["m", "own"])
def test_facts(direct: httpx2.Client, gateway: httpx2.Client, model: str) -> None:
    for verbose in (False, True):
        asked = {"model": model, "verbose": verbose}
        there, here = (client.post("/api/show", json=asked).json() for client in (direct, gateway))
        assert here.pop("modified_at")[:19] == there.pop("modified_at")[:19]
        assert here == there
