"""Images through llama.cpp: what our engine says is what llama.cpp's own helper says."""

from pathlib import Path

import pytest

from server.engine.pixels import read_pixels
from server.engine.types import Sampling
from tests.server.engine.real import RealEngine
from tests.support.tiny_llama import write_tiny_llama
from tests.support.tiny_qwen import write_tiny_qwen
from tests.support.tiny_vision import Kind, picture, write_tiny_projector
from tests.support.vision_reference import reference

KINDS: tuple[Kind, ...] = ("mlp", "tiles", "gemma3", "qwen2vl")
GREEDY = Sampling(temperature=0)
ENDLESS = Sampling(temperature=0, ignore_eos=True)
ONE, OTHER = picture(1), picture(2)


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
        number = engine.show(parts, sampling=GREEDY, max_tokens=12)
        engine.drain()
        pixels = [part if isinstance(part, str) else read_pixels(part) for part in parts]
        expected = reference(
            folder / f"{kind}.gguf", folder / f"{kind}-projector.gguf", pixels, count=12
        )
        assert engine.said[number] == expected
