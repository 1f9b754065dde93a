"""Keys and usage over HTTP, with other processes that change keys meanwhile."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from server.keys import digest
from server.models.store import Store
from server.state import State
from server.usage import Query, UsageFile
from tests.support.ports import free_port
from tests.support.serving import ROOT, ServerEnded, Serving, write_gguf

BOSS = "ak-boss-canary"
KEYS = f"boss:admin:{digest(BOSS)}"
PROMPT = {"model": "m", "prompt": "⟦hello⟧", "stream": False, "raw": True}
SOON_S = 1.0


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("admin")
    store = Store(folder / "models")
    for name in ("m", "hidden-canary:1b"):
        store.add_file(name, write_gguf(folder / "m.gguf"))
    return folder


@pytest.fixture(scope="module")
def guarded(folder: Path) -> Iterator[Serving]:
    with _serving(folder) as server:
        yield server


def _serving(folder: Path, *args: str, **env: str) -> Serving:
    given = {
        "AKASH_LLM_KEYS": KEYS,
        "AKASH_LLM_MODELS": str(folder / "models"),
        "AKASH_LLM_STATE": str(folder / "state"),
        **env,
    }
    return Serving(folder, free_port(), env=given, args=args)


@pytest.fixture
def boss(guarded: Serving) -> Iterator[httpx2.Client]:
    with guarded.client(headers=bearer(BOSS)) as client:
        yield client


@pytest.fixture
def made(boss: httpx2.Client, request: pytest.FixtureRequest) -> Callable[..., dict[str, str]]:
    """A function that makes a key and gives the headers that carry it."""
    count = iter(range(100))

    def make(**body: Any) -> dict[str, str]:
        name = f"{request.node.name[:40].replace('[', '.').rstrip(']')}-{next(count)}"
        response = boss.post("/admin/keys", json={"name": name, **body})
        assert response.status_code == 200, response.text
        return {**bearer(response.json()["key"]), "x-name": name}

    return make


def test_a_key_from_its_making_to_its_end(boss: httpx2.Client) -> None:
    body = {"name": "life", "models": ["M"], "limits": {"parallel": 3}}
    key = boss.post("/admin/keys", json=body).json()["key"]
    mine = bearer(key)
    assert boss.get("/api/version", headers=mine).status_code == 200
    (shown,) = [k for k in boss.get("/admin/keys").json()["keys"] if k["name"] == "life"]
    assert shown["scope"] == "inference" and shown["source"] == "state"
    assert shown["models"] == ["M"] and shown["limits"]["parallel"] == 3
    changed = boss.patch("/admin/keys/life", json={"limits": {"num_ctx": 8}, "models": None})
    assert changed.json()["limits"] == {
        "requests_per_minute": None,
        "tokens_per_minute": None,
        "parallel": 3,
        "num_predict": None,
        "num_ctx": 8,
    }
    assert changed.json()["models"] is None and changed.json()["scope"] == "inference"
    assert boss.get("/admin/keys", headers=mine).status_code == 403
    assert boss.patch("/admin/keys/life", json={"scope": "admin"}).json()["scope"] == "admin"
    assert boss.get("/admin/keys", headers=mine).status_code == 200
    for wrong in ({"scope": "root"}, {"scope": None}, {"limits": {"paralel": 1}}):
        assert boss.patch("/admin/keys/life", json=wrong).status_code == 400
    assert boss.delete("/admin/keys/life").json() == {"name": "life", "revoked": True}
    assert boss.get("/api/version", headers=mine).status_code == 401
    assert boss.delete("/admin/keys/life").status_code == 404
    assert boss.post("/admin/keys", json=body).status_code == 400
    everything = boss.get("/admin/keys").text
    assert key not in everything and digest(key) not in everything


def test_a_key_that_expires(made: Callable[..., dict[str, str]], boss: httpx2.Client) -> None:
    mine = made()
    gone = {"expires_at": "2020-01-01T00:00:00Z"}
    assert boss.patch(f"/admin/keys/{mine['x-name']}", json=gone).status_code == 200
    assert boss.get("/api/version", headers=mine).status_code == 401
    back = {"expires_at": "2999-01-01T00:00:00Z"}
    assert boss.patch(f"/admin/keys/{mine['x-name']}", json=back).status_code == 200
    assert boss.get("/api/version", headers=mine).status_code == 200


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "truncated"),
        (b"{", "truncated"),
        (b"[]", "object"),
        (b'{"name":' + b"[" * 10_000, "name"),
        (b'{"limits":' + b"[" * 10_000, "limits"),
        (b'{"other":' + b"[" * 10_000, "other"),
        (b"\xff\xfe", "malformed"),
        (b"{}", "name"),
        ({"name": "x y"}, "made of"),
        ({"name": "boss"}, "AKASH_LLM_KEYS"),
        ({"name": "new", "scope": "root"}, "root"),
        ({"name": "new", "limit": {}}, "limit"),
        ({"name": "new", "limits": {"paralel": 1}}, "paralel"),
        ({"name": "new", "limits": {"parallel": 0}}, "parallel"),
        ({"name": "new", "limits": {"parallel": "1"}}, "parallel"),
        ({"name": "new", "models": ["a b"]}, "invalid"),
        ({"name": "new", "models": "m"}, "models"),
        ({"name": "new", "expires_at": "2030-01-01T00:00:00"}, "timezone"),
        ({"name": "new", "expires_at": "tomorrow"}, "expires_at"),
        ({"name": "new", "expires_at": "2020-01-01T00:00:00Z"}, "lies in the past"),
    ],
)
def test_what_cannot_be_meant_makes_no_key(boss: httpx2.Client, body: Any, text: str) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = boss.post("/admin/keys", content=content)
    assert response.status_code == 400 and text in response.json()["error"]
    assert "new" not in [key["name"] for key in boss.get("/admin/keys").json()["keys"]]


@pytest.mark.parametrize(("method", "body"), [("DELETE", None), ("PATCH", {"models": []})])
def test_keys_of_the_environment_cannot_be_changed(
    boss: httpx2.Client, method: str, body: Any
) -> None:
    response = boss.request(method, "/admin/keys/boss", json=body)
    assert response.status_code == 400 and "AKASH_LLM_KEYS" in response.json()["error"]
    assert boss.request(method, "/admin/keys/nobody", json=body).status_code == 404


def test_a_model_that_is_not_allowed_does_not_exist(
    made: Callable[..., dict[str, str]], boss: httpx2.Client
) -> None:
    mine = made(models=["M*"])
    boss.post("/api/generate", json={**PROMPT, "model": "hidden-canary:1b"})
    assert {m["name"] for m in boss.get("/api/tags").json()["models"]} == {
        "m:latest",
        "hidden-canary:1b",
    }
    for path in ("/api/tags", "/api/ps"):
        text = boss.get(path, headers=mine).text
        assert "canary" in boss.get(path).text and "canary" not in text
    bodies: dict[str, dict[str, Any]] = {
        "/api/show": {},
        "/api/generate": {"prompt": "x"},
        "/api/chat": {"messages": [{"role": "user", "content": "x"}]},
        "/api/embed": {"input": "x"},
        "/api/embeddings": {"prompt": "x"},
    }
    for path, body in bodies.items():
        hidden, unknown = (
            boss.post(path, json={**body, "model": name}, headers=mine)
            for name in ("hidden-canary:1b", "unknown-canary:1b")
        )
        assert hidden.status_code == unknown.status_code == 404
        assert hidden.text.replace("hidden", "unknown") == unknown.text
        assert hidden.headers.get("x-error-hint") == unknown.headers.get("x-error-hint")
        assert boss.post(path, json={**body, "model": "M"}, headers=mine).status_code == 200


def test_usage_is_counted_and_everybody_sees_their_own(
    made: Callable[..., dict[str, str]], boss: httpx2.Client
) -> None:
    ann, bob = made(), made(scope="read")
    for headers in (ann, ann):
        assert boss.post("/api/generate", json=PROMPT, headers=headers).status_code == 200
    embedding = {"model": "m", "input": ["ab", "cde"]}
    assert boss.post("/api/embed", json=embedding, headers=ann).status_code == 200
    (row,) = boss.get("/usage", headers=ann).json()["usage"]
    assert row["seconds"] > 0
    assert {**row, "seconds": 0, "day": ""} == {
        "key": ann["x-name"],
        "model": "m:latest",
        "day": "",
        "requests": 3,
        "failed": 0,
        "prompt_tokens": 2 * len("⟦hello⟧".encode()) + 5 + 2,
        "output_tokens": 2 * (5 + 1),  # the end counts, as in eval_count
        "seconds": 0,
    }
    assert boss.get("/usage", headers=bob).json() == {"usage": []}
    assert boss.get("/usage", headers=bob, params={"key": ann["x-name"]}).json() == {"usage": []}
    assert boss.get("/admin/usage", params={"key": ann["x-name"]}).json() == {"usage": [row]}
    assert boss.get("/admin/usage", params={"model": "n"}).json() == {"usage": []}
    assert row in boss.get("/admin/usage", params={"model": "M"}).json()["usage"]
    assert row in boss.get("/admin/usage", params={"since": row["day"]}).json()["usage"]
    assert boss.get("/usage", headers=ann, params={"since": "2999-01-01"}).json() == {"usage": []}
    assert boss.get("/usage", headers=ann, params={"since": "today"}).status_code == 400
    assert boss.get("/usage", headers=ann, params={"since": "", "model": ""}).json()["usage"] == [
        row
    ]


def test_an_answer_that_is_cancelled_counts_what_there_was(
    made: Callable[..., dict[str, str]], boss: httpx2.Client
) -> None:
    mine = made()
    body = {**PROMPT, "stream": True, "options": {"ignore_eos": True}}
    with boss.stream("POST", "/api/generate", json=body, headers=mine) as response:
        lines = response.iter_lines()
        for _ in range(10):
            next(lines)
    row = _until(lambda: boss.get("/usage", headers=mine).json()["usage"])[0]
    assert (row["requests"], row["failed"]) == (1, 0)
    assert row["output_tokens"] >= 10 and row["prompt_tokens"] == len("⟦hello⟧".encode())


def test_another_process_makes_and_ends_keys(guarded: Serving, folder: Path) -> None:
    made = _akash_llm("new", "other", "--state", folder / "state", "--model", "m*", "--json")
    mine = bearer(made["key"])
    with guarded.client(headers=mine) as client:
        _until(lambda: client.get("/api/version").status_code == 200)
        _akash_llm("revoke", "other", "--state", folder / "state", "--json")
        begun = time.monotonic()
        # Who asks all the time without a key that is known is told 429 after a while.
        _until(lambda: client.get("/api/version").status_code in (401, 429))
        # Not a measure of speed: the promise is a second, whatever else the machine does.
        assert time.monotonic() - begun < SOON_S + 10


def test_the_command_line_over_http(guarded: Serving, tmp_path: Path, boss: httpx2.Client) -> None:
    key_file = tmp_path / "boss.key"
    key_file.write_text(BOSS)
    where = ("--url", guarded.url, "--key-file", key_file, "--json")
    made = _akash_llm("new", "remote", "--scope", "read", "--parallel", "1", *where)
    assert boss.get("/api/version", headers=bearer(made["key"])).status_code == 200
    lifted = ("--parallel", "none", "--num-ctx", 64, "--days", 2, "--model", "m*")
    changed = _akash_llm("change", "remote", "--scope", "inference", *lifted, *where)
    assert changed == next(
        k for k in boss.get("/admin/keys").json()["keys"] if k["name"] == "remote"
    )
    assert (changed["scope"], changed["models"]) == ("inference", ["m*"])
    assert (changed["limits"]["parallel"], changed["limits"]["num_ctx"]) == (None, 64)
    forever = _akash_llm("change", "remote", "--days", "none", "--every-model", *where)
    assert changed["expires_at"] and forever == {**changed, "expires_at": None, "models": None}
    _akash_llm("revoke", "remote", *where)
    assert boss.get("/api/version", headers=bearer(made["key"])).status_code in (401, 429)


def _akash_llm(*arguments: object) -> dict[str, Any]:
    command = [sys.executable, "-m", "toolkit", "keys", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    decoded: dict[str, Any] = json.loads(done.stdout)
    return decoded


def _until(look: Callable[[], Any], within_s: float = 30) -> Any:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.05)  # asked without a pause, it would be told that it asks too often
    raise AssertionError("it did not come to pass")


def test_a_kill_loses_no_key_and_no_old_usage(folder: Path, tmp_path: Path) -> None:
    state = {"AKASH_LLM_STATE": str(tmp_path / "state")}
    with _serving(folder, **state) as server, server.client(headers=bearer(BOSS)) as boss:
        key = boss.post("/admin/keys", json={"name": "ann"}).json()["key"]
        boss.post("/api/generate", json=PROMPT, headers=bearer(key))
        kept = UsageFile(State(tmp_path / "state"))
        _until(lambda: kept.read(Query(key="ann")))  # written though nobody asked
        (row,) = boss.get("/usage", headers=bearer(key)).json()["usage"]
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait()
    with _serving(folder, **state) as server, server.client(headers=bearer(key)) as ann:
        assert ann.get("/usage").json()["usage"] == [row]
        ann.post("/api/generate", json=PROMPT)
        (again,) = ann.get("/usage").json()["usage"]
        assert again["requests"] == 2 and again["output_tokens"] == 2 * row["output_tokens"]


def test_a_server_that_ends_writes_what_it_counted(folder: Path, tmp_path: Path) -> None:
    state = {"AKASH_LLM_STATE": str(tmp_path / "state")}
    with _serving(folder, **state) as server, server.client(headers=bearer(BOSS)) as boss:
        boss.post("/api/generate", json=PROMPT)
    row = _akash_llm("show-usage", "--key", "boss", "--state", tmp_path / "state", "--json")
    assert (row["requests"], row["output_tokens"]) == (1, 6)


def test_without_a_place_to_write(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    state = {"AKASH_LLM_STATE": str(tmp_path / "file" / "state")}
    with _serving(folder, **state) as server, server.client(headers=bearer(BOSS)) as boss:
        refused = boss.post("/admin/keys", json={"name": "ann"})
        assert refused.status_code == 400 and "nowhere to keep" in refused.json()["error"]
        (key,) = boss.get("/admin/keys").json()["keys"]
        assert (key["name"], key["source"]) == ("boss", "environment")
        boss.post("/api/generate", json=PROMPT)
        (row,) = boss.get("/usage").json()["usage"]
        assert row["requests"] == 1
        assert "usage is kept in memory" in server.log.read_text()


def test_management_off(folder: Path, tmp_path: Path) -> None:
    state = {"AKASH_LLM_STATE": str(tmp_path / "state")}
    off = "--no-management"
    with _serving(folder, off, **state) as server, server.client(headers=bearer(BOSS)) as boss:
        for method, path in (
            ("GET", "/admin/keys"),
            ("POST", "/admin/keys"),
            ("PATCH", "/admin/keys/boss"),
            ("DELETE", "/admin/keys/boss"),
            ("GET", "/admin/usage"),
        ):
            refused = boss.request(method, path, json={"name": "ann"})
            assert refused.status_code == 403 and "switched off" in refused.json()["error"]
        assert boss.post("/api/generate", json=PROMPT).status_code == 200
        assert boss.get("/usage").json()["usage"][0]["requests"] == 1


def test_a_server_that_gets_its_first_key_is_open_no_longer(folder: Path, tmp_path: Path) -> None:
    env = {"AKASH_LLM_KEYS": "", "AKASH_LLM_STATE": str(tmp_path / "state")}
    with _serving(folder, **env) as server, server.client() as client:
        first = {"name": "ann", "scope": "admin"}
        refused = client.post("/admin/keys", json=first)
        assert refused.status_code == 403 and "keys new" in refused.json()["error"]
        where = ("--state", tmp_path / "state", "--json")
        key = _akash_llm("new", "ann", "--scope", "admin", *where)["key"]
        _until(lambda: client.get("/api/version").status_code == 401)
        assert client.get("/api/version").status_code == 401
        assert client.delete("/admin/keys/ann", headers=bearer(key)).status_code == 200
        assert client.get("/api/version").status_code == 401


def test_a_key_that_cannot_be_read_does_not_open_a_server(folder: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "state.db").write_bytes(b"no database" * 1000)
    env = {"AKASH_LLM_KEYS": "", "AKASH_LLM_STATE": str(state)}
    with pytest.raises(ServerEnded), _serving(folder, **env):
        pass
