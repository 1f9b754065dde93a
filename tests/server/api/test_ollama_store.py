"""Ollama's routes that list and change models: what they say on the way and in the end."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from server.models.store import Store
from tests.support.serving import Serving, write_gguf

BLOB = b"some bytes"
DIGEST = f"sha256:{hashlib.sha256(BLOB).hexdigest()}"
SHOWN = [
    "license", "modelfile", "parameters", "template", "system", "details", "messages",
    "model_info", "capabilities", "modified_at",
]  # fmt: skip


def names(client: httpx2.Client) -> list[str]:
    return [model["name"] for model in client.get("/api/tags").json()["models"]]


def test_making_tells_its_steps_unless_told_not_to(teller: httpx2.Client) -> None:
    body = {
        "model": "made", "from": "m", "system": "Be brief.", "license": ["One", "Two"],
        "parameters": {"stop": ["<a>", "<b>"], "num_predict": 7},
        "messages": [{"role": "user", "content": "ping"}],
    }  # fmt: skip
    response = teller.post("/api/create", json=body)
    assert response.headers["content-type"] == "application/x-ndjson"
    steps = [json.loads(line) for line in response.text.splitlines()]
    assert all(list(step) == ["status"] for step in steps)
    told = [step["status"].partition(" sha256:")[0] for step in steps]
    assert told[0] == "using existing layer" and "creating new layer" in told
    assert told[-2:] == ["writing manifest", "success"]
    whole = teller.post("/api/create", json={**body, "stream": False})
    assert whole.content == b'{"status":"success"}'
    assert whole.headers["content-type"] == "application/json; charset=utf-8"
    shown = teller.post("/api/show", json={"model": "made"}).json()
    assert list(shown) == SHOWN
    assert shown["license"] == "One\nTwo" and shown["system"] == "Be brief."
    assert shown["messages"] == [{"role": "user", "content": "ping"}]
    assert sorted(shown["parameters"].splitlines()) == [
        "num_predict                    7",
        'stop                           "<a>"',
        'stop                           "<b>"',
    ]
    lines = shown["modelfile"].splitlines()
    assert {"FROM", "TEMPLATE", "SYSTEM", "PARAMETER"} <= {line.split(" ")[0] for line in lines}
    assert shown["capabilities"] == ["completion", "tools", "thinking"]


def test_what_only_ollamas_own_engine_reads_is_ignored(teller: httpx2.Client) -> None:
    fields = {"renderer": "x", "parser": "x", "requires": "0.1", "draft_files": {}, "info": {}}
    body = {"model": "other", "from": "m", "remote_host": "x", "stream": False, **fields}
    assert teller.post("/api/create", json=body).json() == {"status": "success"}
    shown = teller.post("/api/show", json={"model": "other"}).json()
    assert not {*fields} & {*shown}


def test_the_newest_model_is_the_first(teller: httpx2.Client) -> None:
    for name in ("older", "newer"):
        teller.post("/api/create", json={"model": name, "from": "m", "stream": False})
    assert names(teller)[:2] == ["newer:latest", "older:latest"]


def test_copying_and_deleting_say_nothing(teller: httpx2.Client) -> None:
    body = {"source": "m", "destination": "You/Copy:2b"}
    copied = teller.post("/api/copy", json=body)
    assert (copied.status_code, copied.content) == (200, b"")
    assert "You/Copy:2b" in names(teller)
    deleted = teller.request("DELETE", "/api/delete", json={"name": "you/copy:2B"})
    assert (deleted.status_code, deleted.content) == (200, b"")
    assert "You/Copy:2b" not in names(teller) and "m:latest" in names(teller)


def test_a_model_that_is_deleted_is_unloaded(teller: httpx2.Client) -> None:
    asked = {"model": "gone", "from": "plain", "system": "x", "stream": False}
    teller.post("/api/create", json=asked)
    teller.post("/api/generate", json={"model": "gone"})
    teller.request("DELETE", "/api/delete", json={"model": "gone"})
    loaded = [model["name"] for model in teller.get("/api/ps").json()["models"]]
    assert "gone:latest" not in loaded


@pytest.mark.parametrize("form", ["sha256:", "sha256-"])
def test_blobs(teller: httpx2.Client, form: str) -> None:
    own = f"{form}|".encode() + BLOB
    path = f"/api/blobs/{form}{hashlib.sha256(own).hexdigest()}"
    assert teller.head(path).status_code == 404
    assert [teller.post(path, content=own).status_code for _ in range(2)] == [201, 200]
    assert (teller.head(path).status_code, teller.head(path).content) == (200, b"")


def test_a_blob_that_is_not_there_is_told_on_the_way(teller: httpx2.Client) -> None:
    body = {"model": "x", "files": {"x.gguf": DIGEST}}
    response = teller.post("/api/create", json=body)
    assert response.status_code == 200
    *steps, last = [json.loads(line) for line in response.text.splitlines()]
    assert [list(step) for step in steps] == [["status"]] and list(last) == ["error"]
    assert DIGEST in last["error"] and "x:latest" not in names(teller)


@pytest.mark.parametrize("more", [{"files": {}}, {"adapters": {}, "from": "m"}])
def test_a_file_that_is_no_model_is_the_clients_mistake(
    teller: httpx2.Client, more: dict[str, Any]
) -> None:
    digest = f"sha256:{hashlib.sha256(b'no GGUF').hexdigest()}"
    teller.post(f"/api/blobs/{digest}", content=b"no GGUF")
    named = {field: {"x.gguf": digest} if given == {} else given for field, given in more.items()}
    response = teller.post("/api/create", json={"model": "x", "stream": False, **named})
    assert response.status_code == 400 and "GGUF" in response.json()["error"]


def test_a_server_without_models(tmp_path: Path, free_port: Callable[[], int]) -> None:
    """No list is ever null. (A store that is empty from the start gets the embedded model.)"""
    Store(tmp_path / "models").add_file("m", write_gguf(tmp_path / "m.gguf"))
    args = ["--models", str(tmp_path / "models")]
    with Serving(tmp_path, free_port(), args=args) as server, server.client() as client:
        client.request("DELETE", "/api/delete", json={"model": "m"})
        found: dict[str, Any] = {
            path: client.get(path).json() for path in ("/api/tags", "/api/ps", "/v1/models")
        }
    assert found == {
        "/api/tags": {"models": []},
        "/api/ps": {"models": []},
        "/v1/models": {"object": "list", "data": []},
    }
