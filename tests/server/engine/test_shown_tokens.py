"""Control tokens are left out of the text, but for those that a request names."""

import pytest

from server.engine.types import Sampling
from tests.server.engine.real import RealEngine
from tests.support.tiny_llama import write_tiny_llama

PREFIX = 258
ALWAYS_PREFIX = Sampling(temperature=0, logit_bias=((PREFIX, 1000.0),))


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> RealEngine:
    return RealEngine(write_tiny_llama(tmp_path_factory.mktemp("tiny") / "tiny.gguf"), context=128)


@pytest.mark.parametrize(
    ("markers", "text"),
    [
        ((), ""),
        (("<|fim_prefix|>",), "<|fim_prefix|>" * 3),
        (("<|fim_suffix|>",), ""),
        (("<|no such token|>", "ab"), ""),
    ],
)
def test_only_what_is_named_is_shown(
    engine: RealEngine, markers: tuple[str, ...], text: str
) -> None:
    assert engine.say("a", sampling=ALWAYS_PREFIX, max_tokens=3, markers=markers) == [text]


def test_a_marker_can_be_a_stop_string(engine: RealEngine) -> None:
    number = engine.submit(
        "a", sampling=ALWAYS_PREFIX, max_tokens=3, markers=("<|fim_prefix|>",), stop=("fim_",)
    )
    engine.drain()
    assert engine.text[number] == "<|"
    assert engine.finished[number].stop_string == "fim_"
