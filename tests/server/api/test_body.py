"""Bodies that are packed, large or made to be slow, and what others notice of them."""

import asyncio
import base64
import gzip
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import psutil
import pytest
import zstandard

from server.api.body import check_values
from server.errors import PayloadTooLarge
from server.limits import MAX_JSON_VALUES
from server.models.store import Store
from tests.support import ports
from tests.support.serving import Serving, write_gguf

ASK = json.dumps({"model": "m", "prompt": "⟦abc⟧", "raw": True, "stream": False}).encode()
LIMIT = 64 << 20


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server that takes large bodies, with slow steps."""
    folder = tmp_path_factory.mktemp("large")
    Store(folder / "models").add_file("m", write_gguf(folder / "m.gguf"))
    args = ["--models", str(folder / "models"), "--preload", "m"]
    args += ["--max-body-bytes", str(LIMIT)]
    with Serving(folder, ports.free_port(), args=args, step_s=0.005) as server:
        yield server


@pytest.fixture
def client(large: Serving) -> Iterator[httpx2.Client]:
    with large.client() as client:
        yield client


def zstd(body: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(body)


def zstd_without_size(body: bytes) -> bytes:
    packer = zstandard.ZstdCompressor().compressobj()
    return packer.compress(body) + packer.flush()


PACKERS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", gzip.compress),
    ("x-gzip", gzip.compress),
    ("GZIP", gzip.compress),
    ("zstd", zstd),
    ("zstd", zstd_without_size),
    ("identity", bytes),
    ("", bytes),
]


@pytest.mark.parametrize(("encoding", "pack"), PACKERS)
def test_packed_bodies(
    client: httpx2.Client, encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    headers = {"content-encoding": encoding}
    response = client.post("/api/generate", content=pack(ASK), headers=headers)
    assert response.json()["response"] == "abc"


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, zstd", "aes128gcm"])
def test_other_packings_are_named_with_what_is_taken(client: httpx2.Client, encoding: str) -> None:
    headers = {"content-encoding": encoding}
    response = client.post("/api/generate", content=ASK, headers=headers)
    assert response.status_code == 415
    assert "gzip, zstd" in response.json()["error"]


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("zstd", zstd)])
@pytest.mark.parametrize("damage", ["plain", "cut", "flipped"])
def test_broken_packings(
    client: httpx2.Client, encoding: str, pack: Callable[[bytes], bytes], damage: str
) -> None:
    packed = pack(ASK)
    broken = {"plain": ASK, "cut": packed[:-9], "flipped": packed[:2] + b"xx" + packed[4:]}[damage]
    headers = {"content-encoding": encoding}
    response = client.post("/api/generate", content=broken, headers=headers)
    assert response.status_code == 400 and response.json()["error"]


@pytest.mark.parametrize("pack", [gzip.compress, zstd, zstd_without_size])
def test_a_bomb_is_not_unpacked(
    large: Serving, client: httpx2.Client, pack: Callable[[bytes], bytes]
) -> None:
    bomb = pack(b" " * (4 * LIMIT))
    assert len(bomb) < LIMIT / 100
    before = psutil.Process(large.process.pid).memory_info().rss
    headers = {"content-encoding": "gzip" if pack is gzip.compress else "zstd"}
    response = client.post("/api/generate", content=bomb, headers=headers)
    assert response.status_code == 413
    assert response.json() == {"error": f"the body unpacks to more than {LIMIT} bytes"}
    assert psutil.Process(large.process.pid).memory_info().rss - before < 2 * LIMIT


def test_a_window_of_the_senders_choice_is_refused(client: httpx2.Client) -> None:
    """Unpacking would take 128 MiB for a few bytes."""
    parameters = zstandard.ZstdCompressionParameters(window_log=27)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    packed = packer.compress(ASK) + packer.flush()
    headers = {"content-encoding": "zstd"}
    response = client.post("/api/generate", content=packed, headers=headers)
    assert response.status_code == 400


def image_body() -> bytes:
    image = base64.b64encode(os.urandom(LIMIT // 2)).decode()
    message = {"role": "user", "content": "x", "images": [image]}
    return json.dumps({"model": "m", "messages": [message]}).encode()


HOSTILE = b'{"messages":[' + b"{}," * (LIMIT // 4) + b"{}]}"
NESTED = b'{"model":"m","options":{"stop":[' + b"[]," * (LIMIT // 4) + b"[]]}}"


@pytest.mark.parametrize(
    ("make", "status"),
    [(image_body, 400), (lambda: HOSTILE, 413), (lambda: NESTED, 413)],
    ids=["image", "messages", "nested"],
)
async def test_a_stream_flows_while_a_large_body_is_read(
    large: Serving, make: Callable[[], bytes], status: int
) -> None:
    """Tokens go on arriving between the last byte of the body and its answer, unless that
    comes within a few of them."""
    endless = {"model": "m", "prompt": "⟦abc⟧", "options": {"ignore_eos": True}}
    body = make()
    async with (
        large.async_client() as client,
        client.stream("POST", "/api/generate", json=endless) as stream,
    ):
        lines = stream.aiter_lines()
        await anext(lines)
        asked = asyncio.create_task(client.post("/api/chat", content=body))
        gaps, last = [], asyncio.get_running_loop().time()
        while not asked.done():
            await anext(lines)
            now = asyncio.get_running_loop().time()
            gaps.append(now - last)
            last = now
        answer = await asked
    assert answer.status_code == status
    assert len(gaps) > 3


def test_as_many_values_as_anything_needs() -> None:
    asyncio.run(check_values(b"[" + b"1," * (MAX_JSON_VALUES - 1) + b"1]"))
    with pytest.raises(PayloadTooLarge):
        asyncio.run(check_values(b"[" + b"1," * MAX_JSON_VALUES + b"1]"))


def test_a_large_prompt_is_decoded_like_a_small_one(client: httpx2.Client) -> None:
    body: dict[str, Any] = {"model": "m", "raw": True, "stream": False}
    body["prompt"] = "x" * 100_000 + "⟦abc⟧"
    assert client.post("/api/generate", json=body).json()["response"] == "abc"
    assert client.post("/api/generate", json={**body, "prompt": ["x" * 100_000]}).json() == {
        "error": "json: cannot unmarshal array into Go struct field GenerateRequest.prompt "
        "of type string"
    }
