"""The official clients before `--engine ollama`: a private gateway to a server of ours with the
real embedded model, which stands in for an Ollama."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anthropic
import ollama
import openai
import pytest
from pydantic import BaseModel

from server.keys import digest, generate_key
from server.models.store import Store
from tests.support.chat_templates import FAMILIES
from tests.support.ports import free_port
from tests.support.serving import Serving
from tests.support.tiny_llama import write_tiny_llama

MODEL = "smollm2:135m"
KEY = generate_key()
ASK: Any = [{"role": "user", "content": "What is the capital of France?"}]


class Country(BaseModel):
    """What the model is made to answer."""

    name: str
    capital: str


@contextmanager
def before(models: Path, folder: Path, preload: str) -> Iterator[Serving]:
    """A gateway to a server with these models."""
    with Serving(folder, free_port(), args=["--models", str(models)], fake=False) as behind:
        args = ["--engine", "ollama", "--upstream", behind.url, "--preload", preload]
        env = {"AKASH_LLM_KEYS": f"me:inference:{digest(KEY)}"}
        with Serving(folder, free_port(), args=args, env=env, fake=False) as gateway:
            yield gateway


@pytest.fixture(scope="module")
def endpoint(embedded_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with before(embedded_store, tmp_path_factory.mktemp("gateway"), MODEL) as gateway:
        yield gateway


def test_ollama(endpoint: Serving) -> None:
    headers = {"authorization": f"Bearer {KEY}"}
    with ollama.Client(host=endpoint.url, headers=headers) as client:
        assert [model.model for model in client.list().models] == [MODEL]
        assert "Apache" in (client.show(MODEL).license or "")
        options = {"num_predict": 16, "temperature": 0}
        whole = client.chat(MODEL, ASK, options=options)
        parts = client.chat(MODEL, ASK, options=options, stream=True)
        text = "".join(part.message.content or "" for part in parts)
        assert text and text == whole.message.content
        assert whole.eval_count and whole.prompt_eval_duration and whole.done_reason
        first = client.generate(MODEL, "Say hello.", options=options)
        assert first.context
        assert client.generate(MODEL, "Again.", context=first.context, options=options).response
        formed = client.chat(MODEL, ASK, format=Country.model_json_schema(), options={"seed": 1})
        assert Country.model_validate_json(formed.message.content or "").name
        assert len(client.embed(MODEL, ["a", "b"]).embeddings) == 2
        (running,) = client.ps().models
        assert running.model == MODEL and running.expires_at is not None
        with pytest.raises(ollama.ResponseError, match="not found") as missing:
            client.chat("nobody", ASK)
        assert missing.value.status_code == 404


def test_openai(endpoint: Serving) -> None:
    with openai.OpenAI(base_url=f"{endpoint.url}/v1", api_key=KEY, max_retries=0) as client:
        fixed: Any = {"model": MODEL, "messages": ASK, "max_tokens": 16, "temperature": 0}
        whole = client.chat.completions.create(**fixed)
        chunks = client.chat.completions.create(**fixed, stream=True)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert text and text == whole.choices[0].message.content
        assert whole.usage is not None and whole.usage.prompt_tokens > 10
        parsed = client.chat.completions.parse(
            model=MODEL, messages=ASK, max_tokens=200, seed=1, response_format=Country
        )
        assert parsed.choices[0].message.parsed is not None
        reply = client.responses.create(model=MODEL, input="Say hello.", max_output_tokens=16)
        assert reply.output_text and reply.usage is not None and reply.usage.output_tokens
        said = client.completions.create(
            model=MODEL, prompt="1 2 3 4 5 6 7", temperature=0, max_tokens=3, logprobs=2
        )
        assert said.choices[0].text.startswith(" 8") and said.choices[0].logprobs is not None
        assert len(client.embeddings.create(model=MODEL, input="a", dimensions=8).data) == 1


def test_a_call_that_must_be_made(tmp_path: Path) -> None:
    """Of a model that says noise: Ollama has no `tool_choice`, what it is held to is a schema."""
    weights = write_tiny_llama(tmp_path / "m.gguf", context=4096, templates={"": FAMILIES["qwen"]})
    Store(tmp_path / "models").add_file("m", weights)
    city = {"type": "string", "enum": ["Bonn", "Paris"]}
    schema = {"type": "object", "properties": {"city": city}, "required": ["city"]}
    tool: Any = {"type": "function", "function": {"name": "weather", "parameters": schema}}
    with (
        before(tmp_path / "models", tmp_path, "m") as gateway,
        openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0) as client,
    ):
        asked: Any = {"model": "m", "messages": ASK, "tools": [tool], "tool_choice": "required"}
        (choice,) = client.chat.completions.create(**asked, reasoning_effort="none").choices
        (call,) = choice.message.tool_calls or []
        assert call.type == "function" and choice.finish_reason == "tool_calls"
        assert json.loads(call.function.arguments)["city"] in ("Bonn", "Paris")


def test_anthropic(endpoint: Serving) -> None:
    asked: Any = {"model": MODEL, "messages": ASK, "max_tokens": 16}
    with anthropic.Anthropic(base_url=endpoint.url, api_key=KEY, max_retries=0) as client:
        whole = client.messages.create(**asked)
        assert whole.content[0].type == "text" and whole.usage.input_tokens > 10
        with client.messages.stream(**asked) as stream:
            assert "".join(stream.text_stream) and stream.get_final_message().usage.output_tokens
        counted = client.messages.count_tokens(model=MODEL, messages=ASK)
        assert counted.input_tokens == whole.usage.input_tokens
        with pytest.raises(anthropic.NotFoundError):
            client.messages.create(**asked | {"model": "nobody"})
