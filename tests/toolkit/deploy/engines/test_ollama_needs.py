"""What a model takes in Ollama, which serves our own store."""

from pathlib import Path

import pytest

from toolkit import paths
from toolkit.deploy.base import Intent
from toolkit.deploy.engines.base import EngineJob, Place
from toolkit.deploy.engines.ollama import Ollama
from toolkit.errors import UsageError

PROGRAM = Path("/usr/bin/ollama")


def asked(model: str) -> Intent:
    return Intent(name="mine", engine="ollama", model=model)


@pytest.mark.usefixtures("stocked_home")
async def test_a_model_of_our_store_is_measured() -> None:
    needs = await Ollama().needs(asked("smollm2:135m"), PROGRAM)
    assert {row.what for row in needs.resources} == {"model", "context", "memory"}


async def test_another_one_is_pulled_by_ollama() -> None:
    needs = await Ollama().needs(asked("qwen3:0.6b"), PROGRAM)
    assert any("Ollama will pull qwen3:0.6b" in notice for notice in needs.notices)
    told: list[str] = []
    await Ollama().prepare(asked("qwen3:0.6b"), told.append)
    assert told == ["Ollama pulls qwen3:0.6b; that may take long"]


async def test_a_name_that_is_none() -> None:
    with pytest.raises(UsageError):
        await Ollama().needs(asked("no/such/model/at:all:x"), PROGRAM)


async def test_it_never_tidies_a_store_that_is_ours() -> None:
    job = EngineJob("engine", "ollama", "m", environment={"OLLAMA_KEEP_ALIVE": "-1"})
    place = Place("127.0.0.1", 8123, "a-key")
    argv, environment = await Ollama().launch(job, PROGRAM, place, asked("smollm2:135m"))
    assert argv == ("/usr/bin/ollama", "serve")
    assert environment == {
        "OLLAMA_KEEP_ALIVE": "-1",
        "OLLAMA_HOST": "127.0.0.1:8123",
        "OLLAMA_MODELS": str(paths.models()),
        "OLLAMA_NOPRUNE": "1",
    }
