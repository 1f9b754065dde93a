"""Conversations that end with the assistant's words: the reply goes on from them, in a thought
too, and does not say them again."""

import json
from typing import Any

import httpx2
import pytest

from tests.support.named_events import events_of

CASES = [
    ("<think>\nI", " see</think>\n\nab", " see", "ab"),
    ("<think>\nI see", " more", " more", ""),
    ("<think>I see.</think>\n\na", "b", "", "b"),
    ("It is", " <think>b</think>", "", " <think>b</think>"),
]
Told = tuple[str, str]

pytestmark = pytest.mark.parametrize(("words", "said", "thought", "answer"), CASES)


def body(words: str, said: str, **more: Any) -> dict[str, Any]:
    """The engine says what is between the brackets."""
    messages = [
        {"role": "user", "content": f"⟦{said}⟧"},
        {"role": "assistant", "content": words},
    ]
    return {"model": "m", "messages": messages, **more}


def all_of(parts: list[dict[str, Any]], *names: str) -> Told:
    thought, answer = ("".join(part.get(name) or "" for part in parts) for name in names)
    return thought, answer


def test_ollama(teller: httpx2.Client, words: str, said: str, thought: str, answer: str) -> None:
    whole = teller.post("/api/chat", json=body(words, said, stream=False)).json()
    lines = teller.post("/api/chat", json=body(words, said)).text.splitlines()
    chunks = [json.loads(line)["message"] for line in lines]
    for parts in ([whole["message"]], chunks):
        assert all_of(parts, "thinking", "content") == (thought, answer)


def test_openai(teller: httpx2.Client, words: str, said: str, thought: str, answer: str) -> None:
    path = "/v1/chat/completions"
    whole = teller.post(path, json=body(words, said)).json()["choices"][0]["message"]
    frames = teller.post(path, json=body(words, said, stream=True)).text.split("\n\n")
    data = [frame.removeprefix("data: ") for frame in frames if frame.startswith("data: {")]
    deltas = [choice["delta"] for each in data for choice in json.loads(each)["choices"]]
    for parts in ([whole], deltas):
        assert all_of(parts, "reasoning", "content") == (thought, answer)


def test_anthropic(teller: httpx2.Client, words: str, said: str, thought: str, answer: str) -> None:
    asked = body(words, said, max_tokens=99, thinking={"type": "enabled", "budget_tokens": 1024})
    whole = teller.post("/v1/messages", json=asked).json()["content"]
    events = events_of(teller.post("/v1/messages", json={**asked, "stream": True}).text)
    deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    for parts in (whole, deltas):
        assert all_of(parts, "thinking", "text") == (thought, answer)
