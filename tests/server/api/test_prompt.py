"""Prompts with images that are too long for their window."""

import itertools
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from server.api import prompt
from server.api.prompt import Window
from server.engine.config import EngineConfig
from server.engine.fake import IMAGE_ROWS, image_text
from server.engine.image_tokens import image_spans
from server.engine.supervisor import Supervisor
from server.engine.types import ImageSegment, LoadedModel, Piece, Request, Segment
from server.errors import ContextExceeded, InvalidRequest
from server.models.model_files import ModelFiles
from tests.support.tiny_vision import picture

IMAGES = [picture(number, size=(8, 8)) for number in range(4)]


@pytest.fixture
async def model() -> AsyncIterator[LoadedModel]:
    supervisor = Supervisor(EngineConfig(backend="fake", context=64))
    files = ModelFiles(Path("a-model"), projector=Path("eyes"))
    async with supervisor.use(files) as lease:
        yield lease.model
    await supervisor.close()


def window(context: int, *, num_keep: int = 0, may_cut: bool = True) -> Window:
    return Window(context=context, num_keep=num_keep, may_drop=False, may_cut=may_cut)


async def reply(model: LoadedModel, tokens: list[int]) -> str:
    request = Request(tokens=tokens, images=tuple(IMAGES))
    async with aclosing(model.generate(request)) as events:
        return "".join([event.text async for event in events if isinstance(event, Piece)])


async def test_a_prompt_with_an_image_that_fits(model: LoadedModel) -> None:
    segments: list[Segment | ImageSegment] = [Segment("See "), ImageSegment(IMAGES[0])]
    segments.append(Segment("?"))
    made = await prompt.from_segments(model, segments, window(64))
    assert (len(made.tokens), made.truncated) == (len("See ?") + IMAGE_ROWS, 0)
    assert await reply(model, made.tokens) == f"See {image_text(IMAGES[0])}?"
    with pytest.raises(ContextExceeded):
        await prompt.from_segments(model, segments, window(8, may_cut=False))


async def test_images_are_cut_as_a_whole(model: LoadedModel) -> None:
    segments: list[Segment | ImageSegment] = [Segment("a")]
    for image in IMAGES:
        segments += [ImageSegment(image), Segment("b")]
    whole = await model.tokenize(segments, add_bos=True)
    for context, num_keep in itertools.product(range(2, 24), (0, 3, 6)):
        made = await prompt.from_segments(model, segments, window(context, num_keep=num_keep))
        assert len(made.tokens) <= context
        assert made.truncated == len(whole) - len(made.tokens)
        assert all(stop - start == IMAGE_ROWS for start, stop in image_spans(made.tokens))
        assert made.tokens[-1] == ord("b")
        assert await reply(model, made.tokens)


async def test_a_file_that_is_no_image_is_refused(model: LoadedModel) -> None:
    with pytest.raises(InvalidRequest, match="none of PNG"):
        await prompt.from_segments(model, [ImageSegment(b"junk"), Segment("?")], window(64))
