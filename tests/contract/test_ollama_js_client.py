"""The official JavaScript client against a real server with the real model and a key."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from server.keys import digest, generate_key
from tests.support.ports import free_port
from tests.support.serving import Serving

FOLDER = Path(__file__).parent / "js"
MODEL = "smollm2:135m"
KEY = generate_key()


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the script and the client that its lock names."""
    folder = tmp_path_factory.mktemp("js")
    for path in FOLDER.iterdir():
        if path.is_file():
            shutil.copy(path, folder)
    install = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
    subprocess.run(install, cwd=folder, check=True, capture_output=True, timeout=300)
    return folder


@pytest.fixture(scope="module")
def results(
    modules: Path, embedded_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What the script got."""
    env = {
        "AKASH_LLM_KEYS": f"me:inference:{digest(KEY)}",
        "AKASH_LLM_MODELS": str(embedded_store),
        "AKASH_LLM_PRELOAD": MODEL,
    }
    with Serving(tmp_path_factory.mktemp("serving"), free_port(), env=env, fake=False) as server:
        asked = {"OLLAMA_HOST": server.url, "OLLAMA_API_KEY": KEY, "MODEL": MODEL}
        done = subprocess.run(
            ["node", "ollama.mjs"],
            cwd=modules,
            env={**os.environ, **asked},
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_inventory(results: dict[str, Any]) -> None:
    assert results["list"] == [MODEL] and results["ps"] == [MODEL]
    assert results["show"] == {"capabilities": ["completion"], "family": "llama"}


def test_a_stream_says_what_the_whole_reply_says(results: dict[str, Any]) -> None:
    assert results["generate"]["done"] and results["generate"]["has_context"]
    assert len(results["generated"]) > 2
    assert "".join(results["generated"]) == results["generate"]["response"]
    assert results["chat"]["role"] == "assistant"
    assert "".join(results["chatted"]) == results["chat"]["content"]


def test_a_format_holds(results: dict[str, Any]) -> None:
    assert results["formatted"]["colour"] in ("red", "blue")


def test_vectors(results: dict[str, Any]) -> None:
    assert results["embedded"] == [576, 576]


def test_errors_reach_the_caller(results: dict[str, Any]) -> None:
    assert results["unknown"]["message"] == "model 'nobody' not found"
    assert results["unknown"]["status"] == 404
    assert "invalid format" in results["invalid"]["message"]
    assert results["invalid"]["status"] == 400


def test_an_abort_ends_the_stream(results: dict[str, Any]) -> None:
    assert results["aborted"]["name"] == "AbortError"
