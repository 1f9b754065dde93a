"""Completions, embeddings, models and tokens of OpenAI's API on a real port."""

import base64
from array import array
from typing import Any

import httpx2
import pytest

from tests.support import openai_shapes as shapes


def complete(client: httpx2.Client, prompt: Any = "⟦ab⟧", **body: Any) -> httpx2.Response:
    return client.post("/v1/completions", json={"model": "m", "prompt": prompt, **body})


def tokens_of(text: str) -> list[int]:
    return list(text.encode())


@pytest.mark.parametrize(
    ("prompt", "texts"),
    [
        ("⟦ab⟧", ["ab"]),
        (["⟦ab⟧"], ["ab"]),
        (["⟦ab⟧", "⟦c⟧"], ["ab", "c"]),
        (tokens_of("⟦ab⟧"), ["ab"]),
        ([tokens_of("⟦ab⟧"), tokens_of("⟦c⟧")], ["ab", "c"]),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_every_form_of_a_prompt(
    client: httpx2.Client, prompt: Any, texts: list[str], stream: bool
) -> None:
    response = complete(client, prompt, stream=stream)
    if stream:
        pieces = [c for e in shapes.events_of(response.text) for c in e["choices"]]
        said = ["".join(c["text"] for c in pieces if c["index"] == at) for at in range(len(texts))]
    else:
        reply = shapes.text_completion(response.json())
        assert reply.id.startswith("cmpl-") and reply.object == "text_completion"
        said = [choice.text for choice in reply.choices]
    assert said == texts


def test_a_prompt_goes_on_without_a_template(client: httpx2.Client) -> None:
    reply = complete(client, "⟦ab⟧").json()
    assert reply["usage"]["prompt_tokens"] == len("⟦ab⟧".encode())


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "abcdefghijklmnop"),
        ({"max_tokens": 18}, "abcdefghijklmnopqr"),
        ({"options": {"num_predict": 3}}, "abc"),
        ({"model": "user/custom:7b"}, "abc"),
    ],
)
def test_sixteen_tokens_unless_somebody_says_more(
    client: httpx2.Client, fields: dict[str, Any], text: str
) -> None:
    (choice,) = complete(client, "⟦abcdefghijklmnopqrstuvwxyz⟧", **fields).json()["choices"]
    assert (choice["text"], choice["finish_reason"]) == (text, "length")


def test_choices_of_several_prompts(client: httpx2.Client) -> None:
    reply = complete(client, ["⟦ab⟧", "⟦c⟧"], n=2, best_of=2).json()
    assert [choice["text"] for choice in reply["choices"]] == ["ab", "ab", "c", "c"]
    assert [choice["index"] for choice in reply["choices"]] == [0, 1, 2, 3]
    prompts = len("⟦ab⟧".encode()) + len("⟦c⟧".encode())
    assert reply["usage"]["prompt_tokens"] == prompts


def test_more_prompts_than_run_at_once(client: httpx2.Client) -> None:
    prompts = [f"⟦{at}⟧" for at in range(40)]
    reply = complete(client, prompts).json()
    assert [choice["text"] for choice in reply["choices"]] == [str(at) for at in range(40)]


@pytest.mark.parametrize("prompt", ["⟦ab⟧", tokens_of("⟦ab⟧")])
@pytest.mark.parametrize("stream", [False, True])
def test_echo(client: httpx2.Client, prompt: Any, stream: bool) -> None:
    response = complete(client, prompt, echo=True, stream=stream)
    events = shapes.events_of(response.text) if stream else [response.json()]
    assert "".join(c["text"] for e in events for c in e["choices"]) == "⟦ab⟧ab"


@pytest.mark.parametrize("count", [0, 2, 5])
def test_logprobs_of_a_text(client: httpx2.Client, count: int) -> None:
    found = complete(client, logprobs=count).json()["choices"][0]["logprobs"]
    assert found["tokens"] == ["a", "b"] and found["text_offset"] == [0, 1]
    assert [len(top) for top in found["top_logprobs"]] == [max(1, count)] * 2
    assert found["token_logprobs"][0] == found["top_logprobs"][0]["a"]


def test_an_empty_prompt_of_a_model_that_needs_one(client: httpx2.Client) -> None:
    response = complete(client, "")
    assert response.status_code == 400
    assert response.json()["error"]["message"] == "the prompt is empty"


INPUTS = [("a", 1), (["a", "b"], 2), ([1, 2], 1), ([[1, 2], [3]], 2), (["a", ""], 2)]


@pytest.mark.parametrize(("given", "count"), INPUTS)
def test_embeddings(client: httpx2.Client, given: Any, count: int) -> None:
    body = {"model": "embedder", "input": given}
    reply = shapes.embeddings(client.post("/v1/embeddings", json=body).json())
    assert [one.index for one in reply.data] == list(range(count))
    assert reply.model == "embedder" and reply.usage.prompt_tokens == reply.usage.total_tokens > 0
    for one in reply.data:
        assert sum(value * value for value in one.embedding) == pytest.approx(1.0, abs=1e-5)


def test_embeddings_in_base64_are_the_same(client: httpx2.Client) -> None:
    body = {"model": "embedder", "input": ["a", "b"]}
    plain = client.post("/v1/embeddings", json=body).json()["data"]
    coded = client.post("/v1/embeddings", json={**body, "encoding_format": "BASE64"}).json()["data"]
    for one, other in zip(plain, coded, strict=True):
        assert array("f", base64.b64decode(other["embedding"])).tolist() == one["embedding"]


def test_fewer_dimensions(client: httpx2.Client) -> None:
    body = {"model": "embedder", "input": "a", "dimensions": 4}
    (one,) = client.post("/v1/embeddings", json=body).json()["data"]
    assert len(one["embedding"]) == 4


def test_a_text_to_embed_that_is_cut_says_so(client: httpx2.Client) -> None:
    response = client.post("/v1/embeddings", json={"model": "embedder", "input": "x" * 300})
    assert response.json()["truncated"] == int(response.headers["x-truncated-tokens"]) == 45


def test_models_that_can_be_served(client: httpx2.Client) -> None:
    reply = client.get("/v1/models").json()
    assert list(reply) == ["object", "data"] and reply["object"] == "list"
    listed = {shapes.model(one).id: one["owned_by"] for one in reply["data"]}
    assert listed == {
        "m:latest": "library", "user/custom:7b": "user", "embedder:latest": "library",
        "odd:latest": "library",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["m", "m:latest", "user/custom:7b", "user%2Fcustom:7b"])
def test_one_model(client: httpx2.Client, name: str) -> None:
    reply = shapes.model(client.get(f"/v1/models/{name}").json())
    assert reply.id == name.replace("%2F", "/") and reply.created > 1_700_000_000


@pytest.mark.parametrize("name", ["nope", "cut", "user/nope"])
def test_a_model_that_is_not_there(client: httpx2.Client, name: str) -> None:
    response = client.get(f"/v1/models/{name}")
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "model_not_found"


def test_tokens_of_a_text(client: httpx2.Client) -> None:
    body = {"model": "m", "content": "aé<s>", "with_pieces": True}
    assert client.post("/tokenize", json=body).json() == {
        "tokens": [
            {"id": 97, "piece": "a"}, {"id": 195, "piece": "�"}, {"id": 169, "piece": "�"},
            {"id": 256, "piece": "<s>"},
        ],
        "count": 4,
        "max_model_len": 256,
    }  # fmt: skip
    body = {"model": "m", "prompt": "ab", "return_token_strs": True}
    assert client.post("/tokenize", json=body).json() == {
        "tokens": [97, 98], "count": 2, "max_model_len": 256, "token_strs": ["a", "b"],
    }  # fmt: skip


def test_tokens_of_nothing(client: httpx2.Client) -> None:
    reply = client.post("/tokenize", json={"model": "m", "content": ""}).json()
    assert reply == {"tokens": [], "count": 0, "max_model_len": 256}
    text = client.post("/detokenize", json={"model": "m", "tokens": []}).json()
    assert text == {"content": "", "prompt": ""}


def test_tokens_without_a_model_when_there_are_several(client: httpx2.Client) -> None:
    for name in ("m", "embedder"):
        client.post("/tokenize", json={"model": name, "content": "a"})
    response = client.post("/tokenize", json={"content": "a"})
    assert response.status_code == 400 and response.json()["error"]["param"] == "model"
