"""The official `openai` client against a real server with the real embedded model and a key."""

import asyncio
import base64
import json
import re
from array import array
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from tests.engines.kinds import KEY, MODEL, Facts
from tests.support.serving import Serving

QUESTION: Any = [{"role": "user", "content": "Say hello."}]


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
def client(endpoint: Serving, monkeypatch: pytest.MonkeyPatch) -> Iterator[openai.OpenAI]:
    """The client as a user sets it up: by variables."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", f"{endpoint.url}/v1")
    with openai.OpenAI(max_retries=0) as client:
        yield client


def test_models(client: openai.OpenAI) -> None:
    (listed,) = client.models.list()
    assert (listed.id, listed.owned_by) == (MODEL, "library")
    assert client.models.retrieve(MODEL) == listed


def test_chat_both_ways(client: openai.OpenAI, facts: Facts) -> None:
    fixed: Any = {"model": MODEL, "messages": QUESTION, "max_tokens": 16, "temperature": 0}
    whole = client.chat.completions.create(**fixed)
    text = whole.choices[0].message.content
    assert text and whole.usage is not None and whole.usage.prompt_tokens > 10
    chunks = list(
        client.chat.completions.create(**fixed, stream=True, stream_options={"include_usage": True})
    )
    assert "".join(c.choices[0].delta.content or "" for c in chunks[:-1]) == text
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason
    usage = chunks[-1].usage
    assert usage is not None and usage.total_tokens == whole.usage.total_tokens
    assert usage.prompt_tokens_details is not None
    assert bool(usage.prompt_tokens_details.cached_tokens) == facts.counts_cached


def test_choices_differ_and_can_be_had_again(client: openai.OpenAI) -> None:
    asked: Any = {"model": MODEL, "messages": QUESTION, "max_tokens": 6, "n": 3, "seed": 5}
    first = [c.message.content for c in client.chat.completions.create(**asked).choices]
    again = [c.message.content for c in client.chat.completions.create(**asked).choices]
    assert len(set(first)) > 1 and first == again


def test_a_reply_in_the_form_of_a_pydantic_model(client: openai.OpenAI) -> None:
    messages: Any = [{"role": "user", "content": "Tell me about Canada. Answer in JSON."}]
    asked: Any = {"model": MODEL, "messages": messages, "temperature": 0, "max_tokens": 200}
    parsed = client.chat.completions.parse(**asked, response_format=Country)
    found = parsed.choices[0].message.parsed
    assert found is not None and found.name
    with client.chat.completions.stream(**asked, response_format=Country) as stream:
        for _ in stream:
            pass
        assert stream.get_final_completion().choices[0].message.parsed == found


@pytest.mark.usefixtures("holds_grammars")
def test_formats_beyond_openai(client: openai.OpenAI) -> None:
    def said(**extra: Any) -> str:
        reply = client.chat.completions.create(
            model=MODEL, messages=QUESTION, max_tokens=40, temperature=0, extra_body=extra
        )
        return reply.choices[0].message.content or ""

    assert re.match(r"\s*\{", said(response_format={"type": "json_object"}))
    assert said(guided_choice=["yes", "no"]) in ("yes", "no")
    assert re.fullmatch(r"[0-9]{3}-[a-z]", said(guided_regex="[0-9]{3}-[a-z]"))
    assert said(structured_outputs={"grammar": 'root ::= "a" "b"+ "c"'}).startswith("ab")
    assert said(guided_grammar='start: "left" | "right"') in ("left", "right")
    assert json.loads(said(guided_json={"enum": [1, 2]})) in (1, 2)


def test_a_format_that_is_none(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(
            model=MODEL, messages=QUESTION, extra_body={"guided_regex": "("}
        )


@pytest.mark.usefixtures("tells_tokens")
def test_logprobs_stop_and_bias(client: openai.OpenAI) -> None:
    reply = client.completions.create(
        model=MODEL, prompt="1 2 3 4 5 6 7", temperature=0, max_tokens=12, stop=["12"], logprobs=3
    )
    (choice,) = reply.choices
    assert choice.text.startswith(" 8") and "12" not in choice.text
    logprobs = choice.logprobs
    assert logprobs is not None and logprobs.tokens and logprobs.text_offset
    assert logprobs.text_offset[0] == 0 and (logprobs.token_logprobs or [1])[0] <= 0
    assert all(3 <= len(top) <= 4 for top in logprobs.top_logprobs or [])
    banned = tokens(client, " 8")[0]
    biased = client.completions.create(
        model=MODEL, prompt="1 2 3 4 5 6 7", temperature=0, max_tokens=3,
        logit_bias={str(banned): -100},
    )  # fmt: skip
    assert not biased.choices[0].text.startswith(" 8")


@pytest.mark.usefixtures("tells_tokens")
def test_text_goes_on_as_it_is(client: openai.OpenAI) -> None:
    asked: Any = {"model": MODEL, "temperature": 0, "max_tokens": 5}
    text = "The capital of France is"
    said = client.completions.create(prompt=text, **asked).choices[0].text
    by_tokens = client.completions.create(prompt=tokens(client, text), **asked)
    assert by_tokens.choices[0].text == said and "Paris" in said
    echoed = client.completions.create(prompt=tokens(client, text), echo=True, **asked)
    assert echoed.choices[0].text == text + said


@pytest.mark.usefixtures("gives_embeddings", "tells_tokens")
def test_embeddings(client: openai.OpenAI) -> None:
    texts = ["The cat sat on the mat.", "A cat was sitting on a rug.", "Paris is in France."]
    reply = client.embeddings.create(model=MODEL, input=texts)
    mat, rug, paris = (one.embedding for one in reply.data)
    assert len(mat) == 576 and cosine(mat, rug) > cosine(mat, paris)
    by_tokens = client.embeddings.create(model=MODEL, input=[tokens(client, texts[0])])
    assert cosine(mat, by_tokens.data[0].embedding) > 0.999
    short = client.embeddings.create(model=MODEL, input=texts[0], dimensions=64)
    assert len(short.data[0].embedding) == 64


@pytest.mark.usefixtures("gives_embeddings")
def test_embeddings_as_text_are_the_same(client: openai.OpenAI) -> None:
    asked: Any = {"model": MODEL, "input": "The cat sat on the mat."}
    floats = client.embeddings.create(encoding_format="float", **asked).data[0].embedding
    text: Any = client.embeddings.create(encoding_format="base64", **asked).data[0].embedding
    packed = array("f", base64.b64decode(text) if isinstance(text, str) else text)
    assert cosine(floats, packed.tolist()) > 0.9999


def test_ollamas_options_come_along(client: openai.OpenAI) -> None:
    """And a limit by its newer name is one."""
    asked: Any = {"model": MODEL, "messages": QUESTION, "temperature": 0}
    few = client.chat.completions.create(max_completion_tokens=3, **asked)
    assert few.usage is not None and few.usage.completion_tokens == 3
    assert few.choices[0].finish_reason == "length"
    more: Any = {"options": {"num_predict": 2}, "num_ctx": 64, "keep_alive": "1h"}
    fewer = client.chat.completions.create(extra_body=more, **asked)
    assert fewer.usage is not None and fewer.usage.completion_tokens == 2
    raw = client.chat.completions.with_raw_response.create(
        extra_body={"num_ctx": 1 << 20}, max_tokens=1, **asked
    )
    assert int(raw.headers["x-num-ctx"]) < 1 << 20


def tokens(client: openai.OpenAI, text: str) -> list[int]:
    """The tokens of a text alone."""
    url = str(client.base_url).removesuffix("v1/")
    reply: Any = client.post(f"{url}tokenize", cast_to=object, body={"content": text})
    found: list[int] = reply["tokens"]
    return found


def cosine(one: list[float], other: list[float]) -> float:
    """Of two vectors of length 1."""
    return sum(a * b for a, b in zip(one, other, strict=True))


@pytest.mark.usefixtures("tells_tokens")
def test_tokens_come_back_as_their_text(client: openai.OpenAI) -> None:
    text = "Grüße, <|im_end|> world"
    url = str(client.base_url).removesuffix("v1/")
    reply: Any = client.post(
        f"{url}detokenize", cast_to=object, body={"tokens": tokens(client, text)}
    )
    assert reply["content"] == text


async def test_two_async_clients_at_once(endpoint: Serving) -> None:
    order: list[int] = []

    async def ask(number: int) -> None:
        messages: Any = [{"role": "user", "content": f"Tell a story about {number} cats."}]
        async with openai.AsyncOpenAI(base_url=f"{endpoint.url}/v1", api_key=KEY) as client:
            stream = await client.chat.completions.create(
                model=MODEL, messages=messages, stream=True, max_tokens=60,
                extra_body={"ignore_eos": True},
            )  # fmt: skip
            async for _ in stream:
                order.append(number)

    await asyncio.gather(ask(2), ask(3))
    first_end = min(len(order) - order[::-1].index(number) for number in (2, 3))
    assert {2, 3} == set(order[: first_end // 2]), "one after the other"
