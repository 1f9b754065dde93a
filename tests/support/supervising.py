"""Using a supervisor whose runners have the fake backend."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path

from server.engine.supervisor import Supervisor
from server.engine.types import Finish, Piece, PromptRead, Request, Sampling, Segment
from server.models.model_files import ModelFiles

MODEL = Path("a-model")
ENDLESS = Sampling(ignore_eos=True)


async def events(
    supervisor: Supervisor,
    prompt: str,
    keep_alive_s: float | None = None,
    path: Path = MODEL,
    **request: object,
) -> AsyncGenerator[PromptRead | Piece | Finish]:
    """What a request gives; the fake says again what is between ⟦ and ⟧."""
    async with supervisor.use(path, keep_alive_s=keep_alive_s) as lease:
        tokens = await lease.model.tokenize([Segment(prompt)], add_bos=True)
        async with aclosing(
            lease.model.generate(Request(tokens=tokens, **request))  # type: ignore[arg-type]
        ) as stream:
            async for event in stream:
                yield event


async def reply(
    supervisor: Supervisor, prompt: str, keep_alive_s: float | None = None, path: Path = MODEL
) -> str:
    """The whole text of a reply."""
    stream = events(supervisor, prompt, keep_alive_s, path)
    return "".join([event.text async for event in stream if isinstance(event, Piece)])


async def begin(
    supervisor: Supervisor, path: Path = MODEL
) -> AsyncGenerator[PromptRead | Piece | Finish]:
    """An endless request that has said something; close it."""
    stream = events(supervisor, "⟦x⟧", path=path, sampling=ENDLESS)
    await anext(stream)
    return stream


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that the event loop will bring; the test's limit bounds it."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0)


def pid_of(supervisor: Supervisor, path: Path = MODEL) -> int:
    """The process of a loaded model."""
    [entry] = [each for each in supervisor.loaded() if each.key == ModelFiles(path)]
    assert entry.pid is not None
    return entry.pid
