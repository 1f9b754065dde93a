"""Images through llama.cpp: what our engine says is what llama.cpp's own helper says."""

import io
from collections.abc import AsyncIterator
from pathlib import Path
from unittest.mock import ANY

import gguf
import pytest
from msgspec.structs import replace
from PIL import Image

from server.engine.backend import RequestError
from server.engine.config import EngineConfig
from server.engine.pixels import read_pixels
from server.engine.supervisor import Supervisor
from server.engine.types import (
    EmbedRequest,
    FinishReason,
    ImageSegment,
    Piece,
    Request,
    Sampling,
    Segment,
)
from server.errors import InvalidRequest, LoadFailed
from server.models.model_files import ModelFiles
from tests.server.engine.real import RealEngine
from tests.support.tiny_llama import write_tiny_llama
from tests.support.tiny_qwen import write_tiny_qwen
from tests.support.tiny_vision import Kind, picture, write_tiny_projector
from tests.support.vision_reference import reference

KINDS: tuple[Kind, ...] = ("mlp", "tiles", "gemma3", "qwen2vl")
GREEDY = Sampling(temperature=0)
ENDLESS = Sampling(temperature=0, ignore_eos=True)
ONE, OTHER = picture(1), picture(2)
OTHER_WORDS = " words that stand between two images, and are long enough to be worth a copy "


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny models and their projectors, named by kind."""
    made = tmp_path_factory.mktemp("vision")
    for kind in KINDS:
        write = write_tiny_qwen if kind == "qwen2vl" else write_tiny_llama
        write(made / f"{kind}.gguf")
        write_tiny_projector(made / f"{kind}-projector.gguf", kind)
    return made


def engine_of(folder: Path, kind: Kind, **config: object) -> RealEngine:
    options: dict[str, object] = {"context": 512, "parallel": 2} | config
    projector = folder / f"{kind}-projector.gguf"
    return RealEngine(folder / f"{kind}.gguf", projector=projector, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_a_reply_is_what_the_helper_of_llama_cpp_gives(folder: Path, kind: Kind) -> None:
    engine = engine_of(folder, kind)
    for image in (ONE, OTHER):
        parts: list[str | bytes] = ["Look: ", image, " and ", ONE, " what?"]
        number = engine.show(parts, sampling=GREEDY, max_tokens=12, top_logprobs=1)
        engine.drain()
        pixels = [part if isinstance(part, str) else read_pixels(part) for part in parts]
        tokens, logprob = reference(
            folder / f"{kind}.gguf", folder / f"{kind}-projector.gguf", pixels, count=12
        )
        assert engine.said[number] == tokens
        assert engine.logprobs[number][0] == pytest.approx(logprob, abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_image_again_starts_with_its_rows(folder: Path, kind: Kind) -> None:
    engine = engine_of(folder, kind)
    first = engine.show(["Look: ", ONE, " what?"], sampling=ENDLESS, max_tokens=8)
    engine.drain()
    again = engine.show(["Look: ", ONE, " where?"], sampling=ENDLESS, max_tokens=8)
    engine.drain()
    cached = engine.finished[again].cached_tokens
    prompt = engine.finished[again].prompt_tokens
    assert cached == prompt - len("ere?")
    assert engine.finished[first].cached_tokens == 0
    alone = engine_of(folder, kind)
    fresh = alone.show(["Look: ", ONE, " where?"], sampling=ENDLESS, max_tokens=8)
    alone.drain()
    assert engine.said[again] == alone.said[fresh]


@pytest.mark.parametrize("kind", KINDS)
def test_another_image_changes_the_logits(folder: Path, kind: Kind) -> None:
    engine = engine_of(folder, kind)
    numbers = [
        engine.show(["Look: ", image, " what?"], sampling=GREEDY, max_tokens=1, top_logprobs=5)
        for image in (ONE, OTHER, ONE)
    ]
    engine.drain()
    one, other, again = (engine.logprobs[number] for number in numbers)
    assert one != other
    assert [round(value, 3) for value in one] == [round(value, 3) for value in again]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pool", [0, 300])
def test_requests_beside_each_other_say_what_each_says_alone(
    folder: Path, kind: Kind, pool: int
) -> None:
    """With copies of common beginnings, and preempted where they share too little memory."""
    asked: list[list[str | bytes]] = [
        ["Look: ", ONE, f"{OTHER_WORDS} and ", image, f" number {number}?"]
        for number, image in enumerate((ONE, OTHER, ONE, OTHER))
    ]
    engine = engine_of(folder, kind, context=256, parallel=4, pool=pool)
    numbers = [engine.show(parts, sampling=ENDLESS, max_tokens=60) for parts in asked]
    engine.drain()
    assert min(engine.finished[number].cached_tokens for number in numbers[1:]) > 0
    assert bool(engine.stats.num_preempted) == bool(pool)
    for number, parts in zip(numbers, asked, strict=True):
        alone = engine_of(folder, kind)
        alone.show(parts, sampling=ENDLESS, max_tokens=4)
        alone.drain()
        assert engine.said[number][:4] == alone.said[1][:4]


@pytest.mark.parametrize("kind", KINDS)
def test_a_parked_image_comes_back_as_it_was(folder: Path, kind: Kind) -> None:
    parts: list[str | bytes] = [OTHER_WORDS, ONE, OTHER_WORDS, OTHER, " what?"]
    engine = engine_of(folder, kind, parallel=1, parking_bytes=1 << 26)
    first = engine.show(parts, sampling=ENDLESS, max_tokens=12)
    engine.drain()
    engine.say("Something that has nothing to do with it, however long it may be", max_tokens=4)
    assert engine.stats.num_parked == 1
    again = engine.show(parts, sampling=ENDLESS, max_tokens=12)
    engine.drain()
    assert engine.stats.num_restored == 1
    assert engine.finished[again].cached_tokens > 100
    assert engine.said[again] == engine.said[first]


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_window_is_shifted_where_the_model_can(folder: Path, kind: Kind) -> None:
    engine = engine_of(folder, kind, context=256, parallel=1)
    number = engine.show(
        ["Look: ", ONE, " and ", OTHER, " what?"], sampling=ENDLESS, max_tokens=400
    )
    engine.drain()
    finish = engine.finished[number]
    assert engine.backend.info.can_shift == (kind != "qwen2vl")
    if engine.backend.info.can_shift:
        assert finish.output_tokens == 400 and finish.shifted_tokens > 0
    else:
        assert finish.reason is FinishReason.LENGTH
        assert finish.prompt_tokens + finish.output_tokens == 256 + 1


def test_an_image_that_is_larger_than_a_batch_is_read_in_parts(folder: Path) -> None:
    whole, small = engine_of(folder, "mlp"), engine_of(folder, "mlp", batch=8, micro_batch=8)
    for engine in (whole, small):
        engine.show(["Look: ", ONE, " what?"], sampling=ENDLESS, max_tokens=12)
        engine.drain()
    assert whole.said[1] == small.said[1]


def test_an_image_that_must_be_read_at_once_and_cannot_be_is_refused(folder: Path) -> None:
    engine = engine_of(folder, "gemma3", batch=2, micro_batch=2)
    with pytest.raises(RequestError, match="a larger --micro-batch"):
        engine.show(["Look: ", ONE, " what?"])


def test_a_large_image_leaves_room_for_words(folder: Path) -> None:
    file = io.BytesIO()
    Image.new("RGB", (4000, 3000), "red").save(file, "PNG")
    rows = {}
    for context in (512, 400, 2048):
        engine = engine_of(folder, "qwen2vl", context=context)
        trained = engine.backend.info.context
        number = engine.show([file.getvalue(), " what?"], max_tokens=1)
        engine.drain()
        rows[context] = engine.finished[number].prompt_tokens
        assert 128 < rows[context] <= max(256, trained // 2) + len("<|vision_start|> what?")
    assert rows[512] == rows[400] == rows[2048]  # of 512 that it was trained for, at least 256


def test_penalties_do_not_look_back_at_images(folder: Path) -> None:
    engine = engine_of(folder, "mlp")
    penalties = Sampling(temperature=0, repeat_penalty=1.5, dry_multiplier=1.0, ignore_eos=True)
    number = engine.show(["a", ONE, "b"], sampling=penalties, max_tokens=12)
    engine.drain()
    assert engine.finished[number].output_tokens == 12


def test_a_model_without_eyes_says_so(folder: Path) -> None:
    engine = RealEngine(folder / "mlp.gguf", context=256)
    assert not engine.backend.info.has_vision
    with pytest.raises(RequestError, match="does not take images"):
        engine.show(["Look: ", ONE, " what?"])
    with pytest.raises(RequestError, match="does not take images"):
        engine.backend.encode([-1], (ONE,))
    assert engine.say("Look: ", max_tokens=1)


def test_what_only_embeds_has_no_use_for_a_projector(folder: Path, tmp_path: Path) -> None:
    path = write_tiny_llama(tmp_path / "embeds.gguf", pooling=gguf.PoolingType.MEAN)
    engine = RealEngine(path, context=256, projector=folder / "mlp-projector.gguf")
    assert not engine.backend.info.has_vision


# in a runner


@pytest.fixture
async def supervisor() -> AsyncIterator[Supervisor]:
    made = Supervisor(EngineConfig(context=256, parallel=2, threads=1))
    yield made
    await made.close()


async def ask(supervisor: Supervisor, files: ModelFiles, image: bytes) -> tuple[int, ...]:
    """The tokens of a greedy reply about an image."""
    segments: list[Segment | ImageSegment] = [
        Segment("Look: "),
        ImageSegment(image),
        Segment(" what?"),
    ]
    async with supervisor.use(files) as lease:
        tokens = await lease.model.tokenize(segments, add_bos=True)
        request = Request(tokens=tokens, images=(image,), sampling=ENDLESS, max_tokens=8)
        events = [event async for event in lease.model.generate(request)]
    return tuple(token for event in events if isinstance(event, Piece) for token in event.tokens)


async def test_a_runner_sees_and_embeds(supervisor: Supervisor, folder: Path) -> None:
    files = ModelFiles(folder / "mlp.gguf", projector=folder / "mlp-projector.gguf")
    assert await ask(supervisor, files, ONE) != await ask(supervisor, files, OTHER)
    async with supervisor.use(files) as lease:
        assert lease.model.info.has_vision
        embeddings = await lease.model.embed(EmbedRequest(inputs=[[1, 2, 3]]))
        for junk in (b"", b"GIF89a", ONE[:100], b"http://127.0.0.1/image.png"):
            with pytest.raises(InvalidRequest):
                await lease.model.tokenize([ImageSegment(junk)], add_bos=True)
    async with supervisor.use(ModelFiles(files.weights)) as lease:
        assert not lease.model.info.has_vision
        with pytest.raises(InvalidRequest, match="does not take images"):
            await lease.model.tokenize([ImageSegment(ONE)], add_bos=True)
        assert await lease.model.embed(EmbedRequest(inputs=[[1, 2, 3]])) == replace(
            embeddings, queue_ns=ANY
        )


def broken_projector(folder: Path, path: Path, kind: str) -> Path:
    whole = (folder / "mlp-projector.gguf").read_bytes()
    match kind:
        case "junk":
            path.write_bytes(b"junk")
        case "cut short":
            path.write_bytes(whole[:2000])
        case "unknown":
            path.write_bytes(whole.replace(b"clip.projector_type", b"clip.projector_tyqe"))
        case "incomplete":
            path.write_bytes(whole.replace(b"mm.2.weight", b"mm.9.weight"))
        case "width":
            write_tiny_projector(path, width=32)
        case "blind":
            path.write_bytes(whole.replace(b"has_vision_encoder", b"has_vision_encodes"))
    return path


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("missing", "cannot load the projector"),
        ("junk", "cannot load the projector"),
        ("cut short", "cannot load the projector"),
        ("unknown", "unknown projector type"),
        ("incomplete", "ended by SIGSEGV while loading"),  # llama.cpp does not look
        ("width", "mismatch between text model"),
        ("blind", "cannot load the projector"),
    ],
)
async def test_a_projector_that_does_not_fit_is_told(
    supervisor: Supervisor, folder: Path, tmp_path: Path, kind: str, told: str
) -> None:
    files = ModelFiles(
        folder / "mlp.gguf", projector=broken_projector(folder, tmp_path / "broken.gguf", kind)
    )
    with pytest.raises(LoadFailed, match=told):
        await ask(supervisor, files, ONE)
    good = ModelFiles(files.weights, projector=folder / "mlp-projector.gguf")
    assert len(await ask(supervisor, good, ONE)) == 8
