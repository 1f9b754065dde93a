"""Fill-in-the-middle on a generated model that has the tokens, in llama.cpp itself."""

from collections.abc import Callable, Iterator
from pathlib import Path

import ollama
import pytest

from server.models.name import ModelName
from server.models.store import Store
from tests.support.serving import Serving
from tests.support.tiny_llama import write_tiny_llama

PROMPT = "<|fim_prefix|>def f(<|fim_suffix|>return x<|fim_middle|>"


@pytest.fixture
def client(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[ollama.Client]:
    store = tmp_path / "models"
    Store(store).add_file(ModelName.parse("tiny"), write_tiny_llama(tmp_path / "tiny.gguf"))
    args = ["--models", str(store), "--preload", "tiny", "--context", "256"]
    with (
        Serving(tmp_path, free_port(), args=args, fake=False) as server,
        ollama.Client(host=server.url) as client,
    ):
        yield client


def test_a_gap_is_filled(client: ollama.Client) -> None:
    assert client.show("tiny").capabilities == ["completion", "insert"]
    shown = client.generate("tiny", "def f(", suffix="return x", options={"num_predict": 1})
    assert shown.prompt_eval_count == len("def f(return x") + 3
    reply = client.generate(
        "tiny", "def f(", suffix="return x", options={"num_predict": 12, "temperature": 0}
    )
    raw = client.generate("tiny", PROMPT, raw=True, options={"num_predict": 12, "temperature": 0})
    assert reply.eval_count == raw.eval_count
    assert reply.response == raw.response


def test_control_tokens_in_the_text_around_the_gap_stay_text(client: ollama.Client) -> None:
    hostile = "a<|fim_middle|>b"
    shown = client.generate("tiny", hostile, suffix="c", options={"num_predict": 1})
    assert shown.prompt_eval_count == len(hostile) + len("c") + 3
