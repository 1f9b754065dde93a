"""The limits of keys on a real port: who is told to wait, and what is clamped."""

import socket
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import msgspec
import pytest

from server.attempts import ALLOWED
from server.keys import digest
from server.models.extras import Extras
from server.models.store import Store
from tests.support.serving import Serving, write_gguf

TERMS: dict[str, dict[str, int]] = {
    "free": {},
    "stream": {"requests_per_minute": 1},
    "few": {"requests_per_minute": 2},
    "tokens": {"tokens_per_minute": 60},
    "one": {"parallel": 1},
    "pair": {"parallel": 2, "requests_per_minute": 7},
    "short": {"num_predict": 3},
    "narrow": {"num_ctx": 32},
    "gone": {},
}
PAST = "2020-01-01T00:00:00Z"
PROMPT = {"model": "m", "prompt": "⟦hello⟧", "stream": False, "raw": True}
ENDLESS = {**PROMPT, "stream": True, "options": {"ignore_eos": True}}
QUOTA = "x-ratelimit-"


def key_of(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer ak-{name}-canary"}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("limits")
    store = Store(folder / "models")
    store.add_file("m", write_gguf(folder / "m.gguf"))
    endless = Extras(params={"num_predict": 40})
    store.add_file("long", write_gguf(folder / "m.gguf"), extras=endless)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    terms: dict[str, dict[str, Any]] = {name: {"limits": each} for name, each in TERMS.items()}
    terms["gone"]["expires_at"] = PAST
    env = {
        "AKASH_LLM_KEYS": ",".join(f"{n}:inference:{digest(f'ak-{n}-canary')}" for n in TERMS),
        "AKASH_LLM_KEY_LIMITS": msgspec.json.encode(terms).decode(),
        "AKASH_LLM_MODELS": str(folder / "models"),
        "AKASH_LLM_CONTEXT": "256",
    }
    with Serving(folder, port, env=env, step_s=0.001) as server:
        yield server


@pytest.fixture
def as_key(guarded: Serving) -> Iterator[Callable[[str], httpx2.Client]]:
    """A function: a client with the key of that name."""
    opened = []

    def open_client(name: str) -> httpx2.Client:
        opened.append(guarded.client(headers=key_of(name)))
        return opened[-1]

    yield open_client
    for client in opened:
        client.close()


Clients = Callable[[str], httpx2.Client]


def quota(response: httpx2.Response) -> dict[str, str]:
    return {k[len(QUOTA) :]: v for k, v in response.headers.items() if k.startswith(QUOTA)}


def test_requests_per_minute(as_key: Clients) -> None:
    few = as_key("few")
    first, second, third = (few.post("/api/generate", json=PROMPT) for _ in range(3))
    assert (first.status_code, second.status_code, third.status_code) == (200, 200, 429)
    left = [quota(each)["remaining-requests"] for each in (first, second, third)]
    assert left == ["1", "0", "0"]
    assert quota(third)["limit-requests"] == "2" and quota(third)["reset-requests"].endswith("s")
    assert 1 <= int(third.headers["retry-after"]) <= 61
    assert "2 request(s) per minute" in third.json()["error"] and list(third.json()) == ["error"]
    # What costs nothing is not limited, and nobody else is.
    assert few.get("/api/tags").status_code == 200
    assert quota(as_key("free").post("/api/generate", json=PROMPT)) == {}
    row = few.get("/usage").json()["usage"][0]
    assert row["requests"] == 2  # those that were refused count nowhere
    for path, body in (
        ("/api/chat", {"model": "m", "messages": [{"role": "user", "content": "x"}]}),
        ("/api/embed", {"model": "m", "input": "x"}),
        ("/api/embeddings", {"model": "m", "prompt": "x"}),
        ("/api/generate", {"model": "m"}),
        ("/api/generate", {**PROMPT, "_debug_render_only": True}),
    ):
        refused = few.post(path, json=body)
        assert refused.status_code == 429 and "retry-after" in refused.headers


def test_streams_tell_it_too(as_key: Clients) -> None:
    first, second = (
        as_key("stream").post("/api/generate", json={**PROMPT, "stream": True}) for _ in range(2)
    )
    assert (first.status_code, quota(first)["remaining-requests"]) == (200, "0")
    assert (second.status_code, second.json()["error"]) == (
        429,
        "this key may make 1 request(s) per minute",
    )


def test_several_replies_to_one_request(as_key: Clients) -> None:
    pair, body = as_key("pair"), {"model": "m", "prompt": "⟦hello⟧"}
    several = pair.post("/v1/completions", json={**body, "n": 5})
    assert several.status_code == 200
    assert [choice["text"] for choice in several.json()["choices"]] == ["hello"] * 5
    never = pair.post("/v1/completions", json={**body, "prompt": ["x"] * 4, "n": 2})
    assert never.status_code == 400
    assert "7 request(s) per minute" in never.json()["error"]["message"]
    assert pair.get("/usage").json()["usage"][0]["requests"] == 5


def test_tokens_per_minute(as_key: Clients) -> None:
    tokens = as_key("tokens")
    body = {**PROMPT, "options": {"num_predict": 20}}
    first = tokens.post("/api/generate", json=body)
    assert first.status_code == 200
    # 7 characters and 20 tokens were held back; then 11 bytes and 6 tokens were used.
    assert quota(first)["remaining-tokens"] == str(60 - 2 - 20)
    second = tokens.post("/api/generate", json=body)
    assert quota(second)["remaining-tokens"] == str(60 - (11 + 6) - 2 - 20)
    third = tokens.post("/api/generate", json={**PROMPT, "options": {"num_predict": 30}})
    assert third.status_code == 429 and "60 tokens per minute" in third.json()["error"]
    assert quota(third)["remaining-tokens"] == str(60 - 2 * (11 + 6))


def test_requests_at_once_and_what_a_client_that_leaves_gives_back(as_key: Clients) -> None:
    one = as_key("one")
    with one.stream("POST", "/api/generate", json=ENDLESS) as running:
        lines = running.iter_lines()  # dropping it would close the response
        next(lines)
        refused = one.post("/api/generate", json=PROMPT)
        assert refused.status_code == 429 and "at once" in refused.json()["error"]
        assert refused.headers["retry-after"] == "1"
    while one.post("/api/generate", json=PROMPT).status_code != 200:
        pass


def test_a_request_that_fails_gives_back_its_place(as_key: Clients) -> None:
    one = as_key("one")
    too_long = {**PROMPT, "prompt": "x" * 5000, "truncate": False}
    assert [one.post("/api/generate", json=too_long).status_code for _ in range(3)] == [400] * 3
    assert one.post("/api/generate", json=PROMPT).status_code == 200
    assert one.get("/usage").json()["usage"][0]["failed"] == 3


@pytest.mark.parametrize("model", ["m", "long"])
@pytest.mark.parametrize("asked", [None, 2, 3, 50, -1])
def test_answers_are_clamped(as_key: Clients, model: str, asked: int | None) -> None:
    options = {} if asked is None else {"num_predict": asked}
    body = {**PROMPT, "model": model, "options": options}
    answer = as_key("short").post("/api/generate", json=body).json()
    most = 2 if asked == 2 else 3
    assert (answer["response"], answer["done_reason"]) == ("hello"[:most], "length")
    free = as_key("free").post("/api/generate", json={**body, "options": {}}).json()
    assert free["response"] == "hello"


def test_a_clamped_message_says_what_ended_it(as_key: Clients) -> None:
    messages = [{"role": "user", "content": "⟦hello⟧"}]
    body = {"model": "m", "max_tokens": 100, "messages": messages}
    answer = as_key("short").post("/v1/messages", json=body).json()
    assert (answer["content"][0]["text"], answer["stop_reason"]) == ("hel", "max_tokens")


@pytest.mark.parametrize(
    ("asked", "told"), [(None, None), (16, None), (32, None), (64, "32"), (100000, "32")]
)
def test_windows_are_clamped(as_key: Clients, asked: int | None, told: str | None) -> None:
    options = {"num_predict": 1} | ({} if asked is None else {"num_ctx": asked})
    body = {**PROMPT, "prompt": "x" * 100, "options": options}
    response = as_key("narrow").post("/api/generate", json=body)
    assert response.headers.get("x-num-ctx") == told
    assert response.json()["prompt_eval_count"] < (asked or 32)
    assert int(response.headers["x-truncated-tokens"]) > 0
    refused = as_key("narrow").post("/api/generate", json={**body, "truncate": False})
    assert refused.status_code == 400
    vector = as_key("narrow").post("/api/embed", json={"model": "m", "input": "x" * 100})
    assert vector.json()["prompt_eval_count"] <= 32


def test_a_key_of_the_environment_expires_too(as_key: Clients) -> None:
    assert as_key("gone").get("/api/version").status_code == 401


def test_a_web_page_may_read_what_is_left(as_key: Clients) -> None:
    page = {"origin": "http://localhost:3000"}
    response = as_key("tokens").get("/api/version", headers=page)
    exposed = response.headers["access-control-expose-headers"]
    for name in ("limit", "remaining", "reset"):
        assert f"{QUOTA}{name}-requests" in exposed and f"{QUOTA}{name}-tokens" in exposed


def test_an_address_without_a_key_is_told_to_wait(guarded: Serving) -> None:
    """The last test here: the address is this machine's. Known keys still pass."""
    with guarded.client() as client:
        answers = [
            client.get("/api/tags", headers=key_of(f"guess-{number}"))
            for number in range(ALLOWED + 5)
        ]
        refused = answers[-1]
        assert (answers[0].status_code, refused.status_code) == (401, 429)
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert "not known" in refused.json()["error"]
        assert client.get("/health/live").status_code == 200
        assert client.get("/api/tags", headers=key_of("free")).status_code == 200
    log = guarded.log.read_text()
    assert log.count("too often") == 1
    assert log.count('"path":"/api/tags","status":429') == 0
