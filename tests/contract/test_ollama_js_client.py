"""The official JavaScript client with a key: over the real model, and over scripted replies for
what that cannot show."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ollama
import pytest

from server.engine.fake import image_text
from server.keys import digest, generate_key
from server.models.manifest import digest_of
from server.models.store import Store
from tests.support.image_registry import ImageRegistry
from tests.support.npm import installed
from tests.support.ports import free_port
from tests.support.serving import TEMPLATE_VARIABLE, Serving, write_gguf
from tests.support.telling_template import TELLING
from tests.support.tiny_vision import picture, write_tiny_projector

FOLDER = Path(__file__).parent / "js"
MODEL = "smollm2:135m"
KEY = generate_key()
PICTURE = picture(3)
Results = dict[str, Any]


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the scripts and the client that their lock names."""
    return installed(FOLDER, tmp_path_factory.mktemp("js"))


def variables(server: Serving) -> dict[str, str]:
    """What the client looks at."""
    return {**os.environ, "OLLAMA_HOST": server.url, "OLLAMA_API_KEY": KEY}


def run(modules: Path, script: str, server: Serving, given: Mapping[str, str]) -> Results:
    """What a script got. The client itself may write lines before it."""
    done = subprocess.run(
        ["node", script],
        cwd=modules,
        env={**variables(server), **given},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found: Results = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def results(
    modules: Path, embedded_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Results:
    """What the client got of the real model."""
    env = {
        "AKASH_LLM_KEYS": f"me:inference:{digest(KEY)}",
        "AKASH_LLM_MODELS": str(embedded_store),
        "AKASH_LLM_PRELOAD": MODEL,
    }
    with Serving(tmp_path_factory.mktemp("serving"), free_port(), env=env, fake=False) as server:
        return run(modules, "ollama.mjs", server, {"MODEL": MODEL})


def test_the_inventory(results: Results) -> None:
    assert results["list"] == [MODEL] and results["ps"] == [MODEL]
    assert results["show"] == {"capabilities": ["completion"], "family": "llama"}
    assert results["loaded"] == "load"


def test_a_stream_says_what_the_whole_reply_says(results: Results) -> None:
    assert results["generate"]["done"] and results["generate"]["has_context"]
    assert len(results["generated"]) > 2
    assert "".join(results["generated"]) == results["generate"]["response"]
    assert results["chat"]["role"] == "assistant"
    assert "".join(results["chatted"]) == results["chat"]["content"]


def test_a_format_holds(results: Results) -> None:
    assert results["formatted"]["colour"] in ("red", "blue")


def test_vectors_and_logprobs(results: Results) -> None:
    assert results["embedded"] == [576, 576] and results["vector"] == 576
    assert results["logprobs"] and set(results["logprobs"]) == {2}


def test_errors_reach_the_caller(results: Results) -> None:
    assert results["unknown"]["message"] == "model 'nobody' not found"
    assert results["unknown"]["status"] == 404
    assert "invalid format" in results["invalid"]["message"]
    assert results["invalid"]["status"] == 400
    assert results["stranger"]["status"] == 401


def test_an_abort_ends_the_stream(results: Results) -> None:
    assert results["aborted"]["name"] == "AbortError"


@pytest.fixture(scope="module")
def server(registry: ImageRegistry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """Over the fake engine: `m` thinks and calls, `sees` sees images; the key is an
    administrator's."""
    folder = tmp_path_factory.mktemp("scripted")
    fields = {"tokenizer.chat_template": TELLING}
    Store(folder / "models").add_file("m", write_gguf(folder / "m.gguf", fields=fields))
    env = {
        "AKASH_LLM_KEYS": f"me:admin:{digest(KEY)}",
        "AKASH_LLM_MODELS": str(folder / "models"),
        "AKASH_LLM_REGISTRIES": registry.url,
        TEMPLATE_VARIABLE: TELLING,
    }
    headers = {"Authorization": f"Bearer {KEY}"}
    with (
        Serving(folder, free_port(), env=env, step_s=0.001) as server,
        ollama.Client(server.url, headers=headers) as client,
    ):
        weights = write_gguf(folder / "sees.gguf", fields={"general.name": "sees"})
        projector = write_tiny_projector(folder / "projector.gguf")
        files = {path.name: client.create_blob(path) for path in (weights, projector)}
        client.create("sees", files=files)
        yield server


WEIGHTS_NAME = "library/js:1b"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The model that is pulled."""
    path = tmp_path_factory.mktemp("pulled") / "w.gguf"
    return write_gguf(path, fields={"general.name": "from afar"}).read_bytes()


@pytest.fixture(scope="module")
def scripted(modules: Path, server: Serving, registry: ImageRegistry, weights: bytes) -> Results:
    """What the client got of the scripted ones."""
    registry.push(WEIGHTS_NAME, [("model", weights)])
    image = modules / "picture.png"
    image.write_bytes(PICTURE)
    given = {
        "PULLED": f"{registry.host}/{WEIGHTS_NAME}",
        "NOWHERE": f"{registry.host}/library/nowhere:1b",
        "IMAGE": str(image),
    }
    return run(modules, "scripted.mjs", server, given)


def test_tools_are_called_and_their_results_sent_back(scripted: Results) -> None:
    found = scripted["tools"]
    calls = [call["function"] for call in found["message"]["tool_calls"]]
    assert calls == [
        {"index": at, "name": "weather", "arguments": {"city": city}}
        for at, city in enumerate(("Łódź", "Rome"))
    ]
    assert [call["function"] for call in found["streamed"]] == calls
    assert found["message"]["content"] == found["words"] == "Let me see."
    assert found["answer"] == "It rains."
    for text in ('"name": "weather", "description"', '{"city": "Łódź"}', "\nrain{", "\nsun{"):
        assert text in found["prompt"], text


def test_thoughts_are_apart(scripted: Results) -> None:
    found = scripted["thoughts"]
    for way in ("unasked", "asked", "streamed", "generated"):
        assert found[way] == ["Well.", "Yes."], way
    assert found["refused"]["message"] == '"sees" does not support thinking'
    assert found["refused"]["status"] == 400


def test_images_are_seen(scripted: Results) -> None:
    found, seen = scripted["images"], image_text(PICTURE)
    assert found["chat"].count(seen) == 2 and seen in found["generate"]
    assert "vision" in found["capabilities"] and found["projector"] == "clip"
    assert "does not support vision" in found["refused"]["message"]


def test_a_model_is_pulled_with_progress(scripted: Results, weights: bytes) -> None:
    steps = scripted["models"]["pulled"]
    assert steps[0] == {"status": "pulling manifest"} and steps[-1] == {"status": "success"}
    layer = digest_of(weights)
    seen = [step for step in steps if step.get("digest") == layer]
    assert seen[-1] == {
        "status": f"pulling {layer[7:19]}", "digest": layer,
        "total": len(weights), "completed": len(weights),
    }  # fmt: skip
    assert scripted["models"]["again"] == {"status": "success"}


def test_models_are_made_copied_and_deleted(scripted: Results) -> None:
    found = scripted["models"]
    assert found["made"][-2:] == ["writing manifest", "success"]
    assert found["system"] == "Be brief."
    for act in ("remade", "copied", "deleted"):
        assert found[act] == {"status": "success"}, act
    assert {"mine:latest", "yours:latest"} <= {*found["names"]}
    assert found["left"] == ["m:latest", "sees:latest"]
    assert (found["gone"]["status"], found["gone"]["message"]) == (404, "model 'mine' not found")


def test_what_cannot_be_pulled_or_pushed(scripted: Results) -> None:
    found = scripted["models"]
    assert found["nowhere"] == {
        "name": "ResponseError", "message": "pull model manifest: file does not exist",
        "status": 404,
    }  # fmt: skip
    assert found["steps"] == ["pulling manifest"]
    assert found["broken"]["message"] == "pull model manifest: file does not exist"
    assert found["refused"]["status"] == 403 and found["pushed"]["status"] == 404


def test_a_stream_that_breaks_is_an_error(modules: Path, server: Serving) -> None:
    with subprocess.Popen(
        ["node", "broken.mjs"],
        cwd=modules,
        env=variables(server),
        stdout=subprocess.PIPE,
        text=True,
    ) as script:
        assert script.stdout is not None and script.stdout.readline() == "begun\n"
        server.kill_runner()
        ended = json.loads(script.stdout.readline())
    assert ended["message"].startswith("the model runner was ended by SIGKILL")
