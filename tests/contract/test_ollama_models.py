"""The official `ollama` client makes, pulls, copies and deletes models on a real port."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import httpx2
import ollama
import pytest

from server.keys import digest, generate_key
from server.models.store import Store
from tests.support.image_registry import ImageRegistry
from tests.support.ports import free_port
from tests.support.serving import Serving, write_gguf

ADMIN, READER = generate_key(), generate_key()


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageRegistry]:
    with ImageRegistry(tmp_path_factory.mktemp("registry"), free_port()) as running:
        yield running


@pytest.fixture(scope="module")
def endpoint(
    registry: ImageRegistry, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("endpoint")
    Store(folder / "models").add_file("m", write_gguf(folder / "m.gguf"))
    env = {
        "AKASH_LLM_KEYS": f"me:admin:{digest(ADMIN)},you:inference:{digest(READER)}",
        "AKASH_LLM_MODELS": str(folder / "models"),
        "AKASH_LLM_REGISTRIES": registry.url,
    }
    with Serving(folder, free_port(), env=env) as server:
        yield server


@pytest.fixture
def client(endpoint: Serving, monkeypatch: pytest.MonkeyPatch) -> Iterator[ollama.Client]:
    monkeypatch.setenv("OLLAMA_API_KEY", ADMIN)
    with ollama.Client(host=endpoint.url) as client:
        yield client


def names(client: ollama.Client) -> set[str]:
    return {model.model or "" for model in client.list().models}


def test_a_model_is_pulled_with_progress(
    client: ollama.Client, registry: ImageRegistry, tmp_path: Path
) -> None:
    weights = write_gguf(tmp_path / "w.gguf", fields={"general.name": "pulled"}).read_bytes()
    registry.push("library/pulled:1b", [("model", weights), ("system", b"Be brief.")])
    name = f"{registry.host}/library/pulled:1b"
    steps = list(client.pull(name, insecure=True, stream=True))
    statuses = [step.status or "" for step in steps]
    assert statuses[0] == "pulling manifest" and statuses[-1] == "success"
    layer = hashlib.sha256(weights).hexdigest()
    (last,) = [s for s in steps if s.digest == f"sha256:{layer}" and s.completed == len(weights)][
        -1:
    ]
    assert last.status == f"pulling {layer[:12]}" and last.total == len(weights)
    assert "verifying sha256 digest" in statuses and "writing manifest" in statuses
    assert name in names(client)
    assert "Be brief." in (client.show(name).modelfile or "")
    assert client.pull(name, insecure=True).status == "success"


def test_a_model_that_is_nowhere(client: ollama.Client, registry: ImageRegistry) -> None:
    name = f"{registry.host}/library/nowhere:1b"
    with pytest.raises(ollama.ResponseError) as whole:
        client.pull(name, insecure=True)
    assert whole.value.error == "pull model manifest: file does not exist"
    steps = client.pull(name, insecure=True, stream=True)
    assert next(steps).status == "pulling manifest"
    with pytest.raises(ollama.ResponseError, match="file does not exist"):
        next(steps)


def test_other_registries_are_refused(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError) as refused:
        client.pull("evil.test/library/m")
    assert refused.value.status_code == 403


def test_a_model_is_made_copied_and_deleted(client: ollama.Client) -> None:
    made = client.create(
        "mine", from_="m", system="You are mine.", parameters={"num_predict": 3}, license="Free"
    )
    assert made.status == "success"
    assert (client.show("mine").parameters or "").split() == ["num_predict", "3"]
    said = client.generate("mine", "⟦abcdef⟧")
    assert (said.response, said.done_reason) == ("abc", "length")
    assert client.copy("mine", "Other").status == "success"
    assert {"mine:latest", "Other:latest"} <= names(client)
    assert client.delete("other").status == "success"
    assert "Other:latest" not in names(client)
    with pytest.raises(ollama.ResponseError) as gone:
        client.delete("other")
    assert gone.value.status_code == 404


def test_a_model_is_made_of_a_blob(client: ollama.Client, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "own.gguf", fields={"general.name": "own"})
    blob = client.create_blob(path)
    assert client.create("own", files={"own.gguf": blob}).status == "success"
    assert client.generate("own", "⟦hi⟧").response == "hi"


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({}, 400, "model is required"),
        ({"model": "x"}, 400, "neither 'from' or 'files' was specified"),
        ({"model": "../x", "from": "m"}, 400, "invalid model name"),
        ({"model": "x", "from": "m", "parameters": {"nonsense": 1}}, 400, "unknown parameter"),
        ({"model": "x", "from": "m", "template": "{{ .Prompt }}"}, 400, "template"),
    ],
)
def test_what_cannot_be_made(
    endpoint: Serving, body: dict[str, object], status: int, text: str
) -> None:
    with endpoint.client(headers={"authorization": f"Bearer {ADMIN}"}) as client:
        answer = client.post("/api/create", json=body)
    assert (answer.status_code, text in answer.json()["error"]) == (status, True), answer.text


def test_blobs_say_what_is_wrong_with_them(endpoint: Serving) -> None:
    with endpoint.client(headers={"authorization": f"Bearer {ADMIN}"}) as client:
        right = f"sha256:{hashlib.sha256(b'x').hexdigest()}"
        assert client.head(f"/api/blobs/{right}").status_code == 404
        wrong = client.post(f"/api/blobs/{right}", content=b"y")
        assert wrong.status_code == 400 and "digest mismatch" in wrong.json()["error"]
        assert client.post(f"/api/blobs/{right}", content=b"x").status_code == 201
        assert client.post(f"/api/blobs/{right}", content=b"x").status_code == 200
        assert client.head(f"/api/blobs/{right.replace(':', '-')}").status_code == 200
        assert client.post("/api/blobs/sha256:..", content=b"x").status_code == 400


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/pull"),
        ("POST", "/api/create"),
        ("POST", "/api/copy"),
        ("DELETE", "/api/delete"),
        ("POST", "/api/blobs/sha256:00"),
    ],
)
def test_only_an_admin_changes_models(endpoint: Serving, method: str, path: str) -> None:
    headers = {"authorization": f"Bearer {READER}"}
    with endpoint.client(headers=headers) as client:
        body = {"model": "m", "source": "m", "destination": "n"}
        answer: httpx2.Response = client.request(method, path, json=body)
    assert answer.status_code == 403
