"""What is known of an upstream while it is looked at, and while it changes: the engine itself, in
this process, before something that stands in for a vLLM."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable

import pytest

from server.api.engines import Engine
from server.errors import UpstreamGone
from server.models.name import ModelName
from server.settings import load
from server.upstream import base
from server.upstream.vllm import open_engine
from tests.support.upstream_stand_in import Asked, Reply
from tests.support.vllm_stand_in import TEMPLATE, VLLMStandIn
from tests.support.waiting import until

NAME = ModelName.parse("m")
OTHER = TEMPLATE.replace("<|im_start|>", "<s>")


@pytest.fixture
async def engine(upstream: VLLMStandIn) -> AsyncIterator[Engine]:
    """It looks only when it is asked."""
    engine = open_engine(load(["--engine", "vllm", "--upstream", upstream.url], {}))
    yield engine
    await engine.close()


async def template_of(engine: Engine) -> str | None:
    """The chat template of the model as it is used."""
    async with engine.use(await engine.find(NAME), keep_alive_s=None) as lease:
        return lease.model.info.chat_template


async def until_asked(upstream: VLLMStandIn, path: str) -> None:
    async with asyncio.timeout(20):
        while not any(asked.path == path for asked in upstream.asked):
            await asyncio.sleep(0)


async def drip() -> AsyncIterator[bytes]:
    """An answer that always goes on a little, and never ends."""
    while True:
        yield b" "
        await asyncio.sleep(0.01)


async def test_a_look_ends_though_something_always_comes(
    upstream: VLLMStandIn, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "_LOOK_IN_ALL_S", 0.3)
    upstream.script = lambda asked: Reply(lines=drip()) if asked.path == "/v1/models" else None
    with pytest.raises(UpstreamGone, match=r"^vLLM did not answer within 0\.3 s$"):
        await engine.find(NAME)
    await asyncio.to_thread(until, lambda: upstream.num_open == 0)
    upstream.script = lambda asked: None
    assert (await engine.find(NAME)).name == NAME


def held(release: threading.Event, tokens: bytes) -> Callable[[Asked], Reply | None]:
    """The first question for tokens is answered when it is released."""
    has_held = threading.Event()

    async def waiting() -> AsyncIterator[bytes]:
        await asyncio.to_thread(release.wait, 20)
        yield tokens

    def script(asked: Asked) -> Reply | None:
        if asked.path != "/tokenize" or has_held.is_set():
            return None
        has_held.set()
        return Reply(lines=waiting())

    return script


TOKENS = json.dumps({"tokens": [97], "max_model_len": 512}).encode()


async def test_what_becomes_another_while_it_is_opened_is_opened_anew(
    upstream: VLLMStandIn, engine: Engine
) -> None:
    release = threading.Event()
    upstream.script = held(release, TOKENS)
    opening = asyncio.create_task(template_of(engine))
    await until_asked(upstream, "/tokenize")
    upstream.template = OTHER
    await engine.list()
    release.set()
    assert await opening == OTHER
    assert await template_of(engine) == OTHER


async def test_what_went_away_while_it_was_opened_is_opened_anew(
    upstream: VLLMStandIn, engine: Engine
) -> None:
    """It may have come back as another under the same name, between two looks."""
    release = threading.Event()
    hold = held(release, TOKENS)
    upstream.script = hold
    opening = asyncio.create_task(template_of(engine))
    await until_asked(upstream, "/tokenize")
    upstream.script = lambda asked: Reply(503) if asked.path == "/health" else hold(asked)
    with pytest.raises(UpstreamGone):
        await engine.list()
    upstream.script, upstream.template = hold, OTHER
    release.set()
    assert await opening == OTHER


async def test_what_stays_the_same_is_opened_once(upstream: VLLMStandIn, engine: Engine) -> None:
    opening = [asyncio.create_task(template_of(engine)) for _ in range(3)]
    assert await asyncio.gather(*opening) == [TEMPLATE] * 3
    await engine.list()
    assert await template_of(engine) == TEMPLATE
    assert len(upstream.bodies("/tokenize")) == 2  # with what stands around a text, and without
