"""POST /api/embed and /api/embeddings on a real port.

The fake engine puts one token behind a text, so `ab` has three and an empty one has one.
"""

import asyncio
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from server import limits
from server.engine.fake import EMBED_WIDTH
from server.errors import PayloadTooLarge
from server.models.store import Store
from tests.support.serving import Serving, write_gguf

CONTEXT = 256


def embed(client: httpx2.Client, **body: Any) -> httpx2.Response:
    return client.post("/api/embed", json={"model": "m", **body})


def old(client: httpx2.Client, **body: Any) -> httpx2.Response:
    return client.post("/api/embeddings", json={"model": "m", **body})


def vectors(response: httpx2.Response) -> list[list[float]]:
    assert response.status_code == 200, response.text
    found: list[list[float]] = response.json()["embeddings"]
    return found


def length(vector: list[float]) -> float:
    return math.sqrt(sum(value * value for value in vector))


def test_one_text(client: httpx2.Client) -> None:
    response = embed(client, model="M:latest", input="ab")
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    reply = response.json()
    assert list(reply) == [
        "model", "embeddings", "total_duration", "load_duration", "prompt_eval_count",
    ]  # fmt: skip
    assert reply["model"] == "M:latest" and reply["prompt_eval_count"] == 3
    assert reply["total_duration"] >= reply["load_duration"] > 0
    [vector] = reply["embeddings"]
    assert len(vector) == EMBED_WIDTH and length(vector) == pytest.approx(1.0)
    assert "x-truncated-tokens" not in response.headers


def test_many_texts_in_their_order(client: httpx2.Client) -> None:
    texts = ["one", "two", "", "one", "three" * 40]
    response = embed(client, input=texts)
    alone = [vectors(embed(client, input=[text]))[0] for text in texts]
    assert vectors(response) == alone
    assert alone[0] == alone[3] != alone[1]
    assert response.json()["prompt_eval_count"] == sum(len(text) + 1 for text in texts)


@pytest.mark.parametrize("body", [{}, {"input": None}, {"input": ""}, {"input": []}])
def test_no_text_loads_the_model(client: httpx2.Client, body: dict[str, Any]) -> None:
    response = embed(client, **body)
    assert response.content == b'{"model":"m","embeddings":[]}'
    assert "m:latest" in [model["name"] for model in client.get("/api/ps").json()["models"]]


def test_an_empty_text_in_a_list_is_embedded(client: httpx2.Client) -> None:
    response = embed(client, input=[""])
    assert len(vectors(response)) == 1 and response.json()["prompt_eval_count"] == 1


@pytest.mark.parametrize(
    ("dimensions", "width"),
    [
        (4, 4),
        (EMBED_WIDTH + 1, EMBED_WIDTH),
        (0, EMBED_WIDTH),
        (-3, EMBED_WIDTH),
        (None, EMBED_WIDTH),
    ],
)
def test_dimensions(client: httpx2.Client, dimensions: int | None, width: int) -> None:
    [vector] = vectors(embed(client, input="ab", dimensions=dimensions))
    [whole] = vectors(embed(client, input="ab"))
    assert len(vector) == width and length(vector) == pytest.approx(1.0)
    assert vector[1] / vector[0] == pytest.approx(whole[1] / whole[0], rel=1e-4)


def test_a_long_text_loses_its_end_and_the_reply_says_so(client: httpx2.Client) -> None:
    response = embed(client, input=["x" * 400, "y" * 300, "z"])
    kept = CONTEXT - 1
    assert response.headers["x-truncated-tokens"] == str(400 - kept + 300 - kept)
    assert response.json()["truncated"] == 400 - kept + 300 - kept
    assert response.json()["prompt_eval_count"] == 2 * CONTEXT + 2
    assert vectors(response)[0] == vectors(embed(client, input="x" * kept))[0]


def test_num_ctx_makes_the_window_smaller_and_never_larger(client: httpx2.Client) -> None:
    response = embed(client, input="x" * 100, options={"num_ctx": 51})
    assert response.headers["x-truncated-tokens"] == "50"
    assert vectors(response) == vectors(embed(client, input="x" * 50))
    response = embed(client, input="x", options={"num_ctx": 100000})
    assert response.headers["x-num-ctx"] == str(CONTEXT)


def test_a_long_text_that_may_not_be_cut_fails_all(client: httpx2.Client) -> None:
    response = embed(client, input=["x", "x" * 400], truncate=False)
    assert response.status_code == 400
    assert response.json() == {"error": "the input length exceeds the context length"}
    assert len(vectors(embed(client, input="x" * 255, truncate=False))) == 1


def test_one_text_without_a_vector_fails_all(client: httpx2.Client) -> None:
    response = embed(client, input=["a", "⟦NaN⟧", "b"])
    assert response.status_code == 400
    assert response.json() == {"error": "embedding contains NaN or Inf values"}


@pytest.mark.parametrize("value", [1, True, {}, ["a", 1], ["a", None], [["a"]]])
def test_input_of_another_type_comes_before_the_model(client: httpx2.Client, value: object) -> None:
    response = embed(client, model="nope", input=value)
    assert (response.status_code, response.json()) == (400, {"error": "invalid input type"})


@pytest.mark.parametrize(
    ("path", "body", "status", "error"),
    [
        ("/api/embed", {"input": "x"}, 404, "model '' not found"),
        ("/api/embed", {"model": "nope", "input": "x"}, 404,
         'model "nope" not found, try pulling it first'),
        ("/api/embed", {"model": "nope", "keep_alive": "5"}, 400,
         'time: missing unit in duration "5"'),
        ("/api/embed", {"model": "nope", "options": {"num_ctx": "x"}}, 404,
         'model "nope" not found, try pulling it first'),
        ("/api/embed", {"model": "m", "input": "x", "options": {"num_ctx": "x"}}, 400,
         'option "num_ctx" must be of type integer'),
        ("/api/embeddings", {"prompt": "x"}, 400, "model is required"),
        ("/api/embeddings", {"model": "nope", "prompt": "x"}, 404,
         'model "nope" not found, try pulling it first'),
        ("/api/embeddings", {"model": "m", "prompt": "⟦NaN⟧"}, 400,
         "embedding contains NaN or Inf values"),
    ],
)  # fmt: skip
def test_what_cannot_be_done(
    client: httpx2.Client, path: str, body: dict[str, Any], status: int, error: str
) -> None:
    response = client.post(path, json=body)
    assert (response.status_code, response.json()) == (status, {"error": error})


def test_too_many_texts(client: httpx2.Client) -> None:
    response = embed(client, input=["x"] * 2049)
    assert response.status_code == 413 and "inputs" in response.json()["error"]
    assert len(vectors(embed(client, input=["x"] * 2048))) == 2048
    with pytest.raises(PayloadTooLarge, match="1048577 tokens"):
        limits.check_inputs([range(1 << 20), [1]])


def test_the_older_route_has_the_vector_and_nothing_else(client: httpx2.Client) -> None:
    reply = old(client, prompt="ab").json()
    assert reply == {"embedding": vectors(embed(client, input="ab"))[0]}
    assert old(client, prompt="").content == b'{"embedding":[]}'
    assert old(client).content == b'{"embedding":[]}'
    long = old(client, prompt="x" * 300)
    assert long.headers["x-truncated-tokens"] == str(300 - CONTEXT + 1)


@pytest.mark.parametrize("path", ["/api/embed", "/api/embeddings"])
def test_a_model_that_only_embeds_embeds(client: httpx2.Client, path: str) -> None:
    body = {"model": "embedder", "input": "x", "prompt": "x"}
    assert client.post(path, json=body).status_code == 200
    shown = client.post("/api/show", json={"model": "embedder"}).json()
    assert shown["capabilities"] == ["embedding"]


@pytest.mark.parametrize("body", [{"input": "x"}, {"input": ""}])
def test_keep_alive_zero_unloads_afterwards(client: httpx2.Client, body: dict[str, Any]) -> None:
    assert embed(client, model="user/custom:7b", keep_alive=0, **body).status_code == 200
    names = [model["name"] for model in client.get("/api/ps").json()["models"]]
    assert "user/custom:7b" not in names


async def test_many_clients_at_once(serving: Serving) -> None:
    async with serving.async_client() as client:

        async def ask(number: int) -> list[list[float]]:
            texts = [f"{number} {part}" for part in range(number % 5 + 1)]
            return vectors(await client.post("/api/embed", json={"model": "m", "input": texts}))

        first = [await ask(number) for number in range(20)]
        assert await asyncio.gather(*(ask(number) for number in range(20))) == first


async def test_a_stream_goes_on_beside_an_embedding(serving: Serving) -> None:
    async with serving.async_client() as client:
        body = {"model": "m", "prompt": f"⟦{'abc' * 20}⟧"}
        async with client.stream("POST", "/api/generate", json=body) as response:
            lines = response.aiter_lines()
            said = json.loads(await anext(lines))["response"]
            texts = ["x" * 200 + str(number) for number in range(30)]
            reply = await client.post("/api/embed", json={"model": "m", "input": texts})
            async for line in lines:
                said += json.loads(line)["response"]
    assert said == "abc" * 20 and len(vectors(reply)) == 30


async def test_a_client_that_leaves_ends_the_work(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    Store(tmp_path / "models").add_file("m", write_gguf(tmp_path / "m.gguf"))
    args = ["--models", str(tmp_path / "models")]
    with Serving(tmp_path, free_port(), args=args, step_s=600.0) as server:
        async with server.async_client() as client, asyncio.timeout(30):

            async def loaded() -> list[Any]:
                models: list[Any] = (await client.get("/api/ps")).json()["models"]
                return models

            # The model goes as soon as nobody uses it.
            body = {"model": "m", "input": ["x", "y"], "keep_alive": 0}
            leaving = asyncio.create_task(client.post("/api/embed", json=body))
            while not await loaded():
                await asyncio.sleep(0.01)
            leaving.cancel()
            while await loaded():
                await asyncio.sleep(0.01)


async def test_a_crash_is_an_error_and_the_model_comes_back(serving: Serving) -> None:
    body = {"model": "m", "input": ["x" * 200] * 500}
    async with serving.async_client() as client:
        for _ in range(20):  # until it was just being computed when the runner was killed
            request = asyncio.create_task(client.post("/api/embed", json=body))
            await client.get("/api/ps")
            serving.kill_runner()
            response = await request
            if response.status_code != 200:
                break
        assert response.status_code == 500 and list(response.json()) == ["error"]
        again = await client.post("/api/embed", json={"model": "m", "input": "x"})
        assert again.status_code == 200
