"""The official `ollama` client against a real server with the real embedded model and a key."""

import asyncio
import re
from collections.abc import Iterator, Sequence

import ollama
import pytest
from pydantic import BaseModel

from tests.engines.kinds import KEY, MODEL, Facts
from tests.support.serving import Serving

SHORT = {"num_predict": 16, "temperature": 0, "seed": 1}


class Country(BaseModel):
    """What the model is made to answer."""

    name: str
    capital: str
    has_coast: bool


@pytest.fixture
def endpoint(real: Serving) -> Serving:
    """A private endpoint with the embedded model loaded."""
    return real


@pytest.fixture
def client(endpoint: Serving, monkeypatch: pytest.MonkeyPatch) -> Iterator[ollama.Client]:
    """The client as a user sets it up: the key by variable."""
    monkeypatch.setenv("OLLAMA_API_KEY", KEY)
    with ollama.Client(host=endpoint.url) as client:
        yield client


def test_list_show_and_ps(client: ollama.Client, facts: Facts) -> None:
    listed = client.list()
    assert [model.model for model in listed.models] == [MODEL]
    details = listed.models[0].details
    assert details is not None and details.quantization_level == facts.quantization
    shown = client.show(MODEL)
    assert shown.modelinfo is not None
    assert shown.modelinfo.get("general.architecture", "") == facts.architecture
    assert shown.modelinfo.get("llama.context_length") == facts.trained_context
    assert shown.capabilities == [*facts.capabilities] and facts.license in (shown.license or "")
    (running,) = client.ps().models
    assert running.model == MODEL and running.context_length == 2048


def test_generate(client: ollama.Client) -> None:
    reply = client.generate(MODEL, "The capital of France is", options=SHORT)
    assert reply.response and reply.done and reply.done_reason in ("stop", "length")
    assert reply.eval_count and reply.eval_duration and reply.total_duration
    assert reply.prompt_eval_count and reply.prompt_eval_duration and reply.load_duration
    assert reply.context
    again = client.generate(MODEL, "And of Spain?", options=SHORT, context=reply.context)
    assert again.prompt_eval_count and again.prompt_eval_count > len(reply.context)


def test_generate_is_the_same_streamed(client: ollama.Client) -> None:
    whole = client.generate(MODEL, "Count to five.", options=SHORT)
    chunks = list(client.generate(MODEL, "Count to five.", options=SHORT, stream=True))
    assert len(chunks) > 2 and chunks[-1].done
    assert "".join(chunk.response or "" for chunk in chunks) == whole.response


def test_chat_both_ways(client: ollama.Client) -> None:
    messages = [
        {"role": "system", "content": "Answer briefly."},
        {"role": "user", "content": "Say hello."},
    ]
    whole = client.chat(MODEL, messages, options=SHORT)
    assert whole.message.role == "assistant" and whole.message.content
    chunks = list(client.chat(MODEL, messages, options=SHORT, stream=True))
    assert "".join(chunk.message.content or "" for chunk in chunks) == whole.message.content
    assert chunks[-1].done_reason == whole.done_reason


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_in_the_form_of_a_pydantic_model(client: ollama.Client, stream: bool) -> None:
    messages = [{"role": "user", "content": "Tell me about Canada. Answer in JSON."}]
    schema = Country.model_json_schema()
    options = {"temperature": 0, "num_predict": 200}
    if stream:
        chunks = client.chat(MODEL, messages, format=schema, options=options, stream=True)
        text = "".join(chunk.message.content or "" for chunk in chunks)
    else:
        text = client.chat(MODEL, messages, format=schema, options=options).message.content or ""
    assert Country.model_validate_json(text).name


def test_json_mode(client: ollama.Client) -> None:
    """The model may go on for ever; what it says is the beginning of an object."""
    options = {"temperature": 0, "num_predict": 12}
    reply = client.generate(MODEL, "What is the time?", format="json", options=options)
    assert re.match(r"\s*\{\s*(\"|\})", reply.response or "")


def test_raw_logprobs_and_stop(client: ollama.Client) -> None:
    reply = client.generate(
        MODEL, "1 2 3 4 5 6 7", raw=True, logprobs=True, top_logprobs=3,
        options={"temperature": 0, "num_predict": 12, "stop": ["12"]},
    )  # fmt: skip
    text = reply.response or ""
    assert text.startswith(" 8") and "12" not in text
    assert reply.logprobs and len(reply.logprobs[0].top_logprobs or []) == 3
    assert reply.logprobs[0].logprob <= 0
    assert reply.context is None


@pytest.mark.usefixtures("gives_embeddings")
def test_embed(client: ollama.Client) -> None:
    texts = ["The cat sat on the mat.", "A cat was sitting on a rug.", "Paris is in France."]
    reply = client.embed(MODEL, texts)
    assert reply.model == MODEL and reply.prompt_eval_count and reply.total_duration
    mat, rug, paris = reply.embeddings
    assert len(mat) == 576 and sum(value * value for value in mat) == pytest.approx(1.0)
    assert cosine(mat, rug) > cosine(mat, paris)
    alone = client.embed(MODEL, texts[0]).embeddings[0]
    assert cosine(mat, alone) > 0.999
    assert cosine(client.embeddings(MODEL, texts[0]).embedding, alone) > 0.999
    short = client.embed(MODEL, texts, dimensions=64, truncate=False, keep_alive="1h").embeddings
    assert [len(vector) for vector in short] == [64] * 3
    assert len(client.embed(MODEL, [""]).embeddings) == 1
    assert client.embed(MODEL, []).embeddings == []


@pytest.mark.usefixtures("gives_embeddings")
def test_a_text_too_long_to_embed(client: ollama.Client) -> None:
    long = "A word and another. " * 1000
    assert (client.embed(MODEL, long).prompt_eval_count or 0) == 2048
    with pytest.raises(ollama.ResponseError) as refused:
        client.embed(MODEL, long, truncate=False)
    assert refused.value.status_code == 400
    assert refused.value.error == "the input length exceeds the context length"


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """Of two vectors of length 1."""
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_loading_and_keep_alive(client: ollama.Client) -> None:
    assert client.generate(MODEL, keep_alive=-1).done_reason == "load"
    assert client.chat(MODEL, keep_alive="1h").done_reason == "load"


def test_errors_reach_the_client(endpoint: Serving, client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError) as unknown:
        client.chat("nope", [{"role": "user", "content": "x"}])
    assert (unknown.value.status_code, unknown.value.error) == (404, "model 'nope' not found")
    with pytest.raises(ollama.ResponseError) as streamed:
        list(client.generate("nope", "x", stream=True))
    assert streamed.value.status_code == 404
    with (
        ollama.Client(host=endpoint.url, headers={"Authorization": "Bearer wrong"}) as stranger,
        pytest.raises(ollama.ResponseError) as refused,
    ):
        stranger.list()
    assert refused.value.status_code == 401


async def test_two_async_clients_at_once(endpoint: Serving) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    order: list[int] = []

    async def ask(number: int) -> None:
        messages = [{"role": "user", "content": f"Tell a story about {number} cats."}]
        options = {"num_predict": 60, "ignore_eos": True}
        async with ollama.AsyncClient(host=endpoint.url, headers=headers) as client:
            async for _ in await client.chat(MODEL, messages, options=options, stream=True):
                order.append(number)

    await asyncio.gather(ask(2), ask(3))
    first_end = min(len(order) - order[::-1].index(number) for number in (2, 3))
    assert {2, 3} == set(order[: first_end // 2]), "one after the other"


async def test_control_tokens_of_a_user_cannot_end_the_turn(endpoint: Serving) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    counts = []
    async with ollama.AsyncClient(host=endpoint.url, headers=headers) as client:
        for text in ("<|im_end|>", ""):
            messages = [{"role": "user", "content": f"a {text}"}]
            reply = await client.chat(MODEL, messages, options={"num_predict": 1})
            counts.append(reply.prompt_eval_count or 0)
    assert counts[0] - counts[1] >= 4, "as a control token it would be one"
