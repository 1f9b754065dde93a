"""Images in all dialects with the official clients: which one it is comes back in the reply."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import ollama
import openai
import pytest

from server.engine.fake import IMAGE_ROWS, image_text
from server.limits import MAX_IMAGES
from server.models.store import Store
from tests.support.ports import free_port
from tests.support.serving import Serving, write_gguf
from tests.support.tiny_llama import write_tiny_llama
from tests.support.tiny_vision import picture, write_tiny_projector

ONE, OTHER = picture(1), picture(2, form="JPEG")


def make_seeing(client: ollama.Client, folder: Path, weights: Path) -> None:
    """`sees`: a model with a projector, made over the API."""
    projector = write_tiny_projector(folder / "projector.gguf")
    files = {path.name: client.create_blob(path) for path in (weights, projector)}
    assert client.create("sees", files=files).status == "success"


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("seeing")
    Store(folder / "models").add_file("blind", write_gguf(folder / "blind.gguf"))
    args = ["--models", str(folder / "models"), "--context", "512"]
    with Serving(folder, free_port(), args=args) as server, ollama.Client(server.url) as client:
        weights = write_gguf(folder / "sees.gguf", fields={"general.name": "sees"})
        make_seeing(client, folder, weights)
        yield server


@pytest.fixture(scope="module")
def theirs(endpoint: Serving) -> Iterator[ollama.Client]:
    with ollama.Client(endpoint.url) as client:
        yield client


@pytest.fixture(scope="module")
def openais(endpoint: Serving) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{endpoint.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def anthropics(endpoint: Serving) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=endpoint.url, api_key="none", max_retries=0) as client:
        yield client


def url_of(image: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


def saw(text: str, *images: bytes) -> bool:
    return all(image_text(image) in text for image in images)


def test_its_capabilities_say_that_it_sees(theirs: ollama.Client) -> None:
    assert "vision" in (theirs.show("sees").capabilities or [])
    assert "vision" not in (theirs.show("blind").capabilities or [])


@pytest.mark.parametrize("stream", [False, True])
def test_ollama(theirs: ollama.Client, stream: bool) -> None:
    messages = [{"role": "user", "content": "and", "images": [ONE, OTHER]}]
    if stream:
        chunks = theirs.chat("sees", messages, stream=True)
        text = "".join(chunk.message.content or "" for chunk in chunks)
    else:
        text = theirs.chat("sees", messages).message.content or ""
    assert saw(text, ONE, OTHER)
    reply = theirs.generate("sees", "and", images=[ONE])
    assert saw(reply.response or "", ONE)
    assert reply.context and min(reply.context) >= 0


def test_openai(openais: openai.OpenAI) -> None:
    parts: Any = [
        {"type": "image_url", "image_url": {"url": url_of(ONE)}},
        {"type": "text", "text": "and"},
        {"type": "image_url", "image_url": {"url": url_of(OTHER, "jpeg")}},
    ]
    messages: Any = [{"role": "user", "content": parts}]
    reply = openais.chat.completions.create(model="sees", messages=messages)
    assert saw(reply.choices[0].message.content or "", ONE, OTHER)
    content: Any = [{"type": "input_image", "image_url": url_of(ONE), "detail": "auto"}]
    content.append({"type": "input_text", "text": "and"})
    asked: Any = [{"role": "user", "content": content}]
    assert saw(openais.responses.create(model="sees", input=asked).output_text, ONE)


def test_anthropic(anthropics: anthropic.Anthropic) -> None:
    data = base64.b64encode(ONE).decode()
    source = {"type": "base64", "media_type": "image/png", "data": data}
    content: Any = [{"type": "image", "source": source}, {"type": "text", "text": "and"}]
    messages: Any = [{"role": "user", "content": content}]
    reply = anthropics.messages.create(model="sees", max_tokens=99, messages=messages)
    (block,) = reply.content
    assert block.type == "text" and saw(block.text, ONE)


def test_images_of_past_turns_stay_where_they_were(theirs: ollama.Client) -> None:
    one, other = (base64.b64encode(image).decode() for image in (ONE, OTHER))
    messages = [
        {"role": "user", "content": "first", "images": [one]},
        {"role": "assistant", "content": "seen"},
        {"role": "user", "content": "second", "images": [other]},
    ]
    body = {"model": "sees", "messages": messages, "_debug_render_only": True}
    answer = theirs._client.post("/api/chat", json=body).json()
    rendered = answer["_debug_info"]["rendered_template"]
    assert rendered.count("<__media__>") == 2
    assert rendered.index("first") > rendered.index("<__media__>") < rendered.index("seen")


def test_text_that_looks_like_a_marker_is_no_image(theirs: ollama.Client) -> None:
    messages = [{"role": "user", "content": "<__media__>", "images": [ONE]}]
    text = theirs.chat("sees", messages).message.content or ""
    assert saw(text, ONE) and "<__media__>" in text


def test_a_model_that_does_not_see_says_so(
    theirs: ollama.Client, openais: openai.OpenAI, anthropics: anthropic.Anthropic
) -> None:
    with pytest.raises(ollama.ResponseError, match="does not support vision"):
        theirs.chat("blind", [{"role": "user", "content": "x", "images": [ONE]}])
    parts: Any = [{"type": "image_url", "image_url": {"url": url_of(ONE)}}]
    messages: Any = [{"role": "user", "content": parts}]
    with pytest.raises(openai.BadRequestError, match="does not support vision"):
        openais.chat.completions.create(model="blind", messages=messages)
    source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(ONE).decode()}
    content: Any = [{"role": "user", "content": [{"type": "image", "source": source}]}]
    with pytest.raises(anthropic.BadRequestError, match="does not support vision"):
        anthropics.messages.create(model="blind", max_tokens=9, messages=content)


@pytest.mark.parametrize(
    ("image", "status", "text"),
    [
        (b"GIF87", 400, "image"),
        (b"no image at all", 400, "image"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\1\0\0\0\1\0\0\x08\2\0\0\0", 413, "pixels"),
    ],
)
def test_what_is_no_image_or_too_large(
    theirs: ollama.Client, image: bytes, status: int, text: str
) -> None:
    with pytest.raises(ollama.ResponseError, match=text) as refused:
        theirs.chat("sees", [{"role": "user", "content": "x", "images": [image]}])
    assert refused.value.status_code == status


def test_counting_knows_images(endpoint: Serving) -> None:
    parts: Any = [{"type": "image_url", "image_url": {"url": url_of(ONE)}}]
    parts.append({"type": "text", "text": "seen"})
    body: dict[str, Any] = {"model": "sees", "messages": [{"role": "user", "content": parts}]}
    with endpoint.client() as client:
        found = client.post("/tokenize", json={**body, "return_token_strs": True}).json()
        assert found["count"] == len(found["token_strs"]) == len(found["tokens"])
        assert found["token_strs"].count("") == IMAGE_ROWS
        body["messages"][0]["content"] = parts[:1] * (MAX_IMAGES + 1)
        refused = client.post("/tokenize", json=body)
        assert refused.status_code == 413 and "too many images" in refused.text


@pytest.mark.parametrize("extra", [{"raw": True}, {"suffix": "y"}])
def test_images_without_a_template_have_no_place(endpoint: Serving, extra: dict[str, Any]) -> None:
    images = [base64.b64encode(ONE).decode()]
    body = {"model": "sees", "prompt": "x", "images": images, "stream": False, **extra}
    with endpoint.client() as client:
        refused = client.post("/api/generate", json=body)
    assert refused.status_code == 400 and "images are not supported" in refused.json()["error"]


def test_nothing_is_fetched(openais: openai.OpenAI) -> None:
    parts: Any = [{"type": "image_url", "image_url": {"url": "http://127.0.0.1:9/a.png"}}]
    messages: Any = [{"role": "user", "content": parts}]
    with pytest.raises(openai.BadRequestError, match="image URLs are not currently supported"):
        openais.chat.completions.create(model="sees", messages=messages)


def test_llama_cpp_sees_them_too(tmp_path: Path) -> None:
    args = ["--models", str(tmp_path / "models"), "--context", "512", "--threads", "1"]
    Store(tmp_path / "models").add_file("other", write_gguf(tmp_path / "other.gguf"))
    with (
        Serving(tmp_path, free_port(), args=args, fake=False) as server,
        ollama.Client(server.url) as client,
    ):
        make_seeing(client, tmp_path, write_tiny_llama(tmp_path / "sees.gguf"))
        options = {"temperature": 0, "num_predict": 8, "ignore_eos": True}
        texts: dict[bytes, str] = {}
        for image in (ONE, OTHER, ONE):
            said = client.generate("sees", "look at this", images=[image], options=options)
            assert said.eval_count == 8
            assert texts.setdefault(image, said.response) == said.response
        assert len(set(texts.values())) == 2
