"""A model that only embeds, behind a real server, as the official client sees it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import ollama
import pytest

from server.models.store import Store
from tests.support.serving import Serving
from tests.support.tiny_bert import CONTEXT, WIDTH, write_tiny_bert


@pytest.fixture
def client(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[ollama.Client]:
    """A client of a server with a tiny BERT, loaded."""
    Store(tmp_path / "models").add_file("bert", write_tiny_bert(tmp_path / "bert.gguf"))
    args = ["--models", str(tmp_path / "models"), "--preload", "bert"]
    with (
        Serving(tmp_path, free_port(), args=args, fake=False) as server,
        ollama.Client(host=server.url) as client,
    ):
        yield client


def test_it_embeds_and_does_nothing_else(client: ollama.Client) -> None:
    assert client.show("bert").capabilities == ["embedding"]
    assert client.ps().models[0].context_length == CONTEXT
    reply = client.embed("bert", ["hello world", "", "x" * 200])
    assert [len(vector) for vector in reply.embeddings] == [WIDTH] * 3
    # Each has a token in front and one behind; the last one is cut.
    assert reply.prompt_eval_count == 12 + 2 + CONTEXT
    assert client.embeddings("bert", "hello world").embedding == pytest.approx(
        reply.embeddings[0], abs=1e-4
    )
    with pytest.raises(ollama.ResponseError, match='"bert" does not support generate'):
        client.generate("bert", "hello")
    with pytest.raises(ollama.ResponseError, match='"bert" does not support chat'):
        client.chat("bert", [{"role": "user", "content": "hello"}])
