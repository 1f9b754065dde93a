"""What is told of a load: it grows, and not too often."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.backend import LoadError
from server.engine.config import EngineConfig
from server.engine.llama import LlamaBackend
from server.engine.progress import Reporter
from tests.support.tiny_llama import write_tiny_llama

TICKS = st.lists(st.tuples(st.floats(0, 0.3), st.floats(-0.5, 1.5)))


@given(TICKS)
def test_it_grows_and_keeps_its_pauses(ticks: list[tuple[float, float]]) -> None:
    now_s = 0.0
    told: list[tuple[float, float]] = []
    report = Reporter(lambda part: told.append((now_s, part)), lambda: now_s)
    for pause_s, part in ticks:
        now_s += pause_s
        assert report(part)
    assert all(0 < part <= 1 for _, part in told)
    assert all(a[1] < b[1] and b[0] - a[0] > 0.099 for a, b in pairwise(told))


def test_it_gives_up_when_nobody_listens() -> None:
    def send(_part: float) -> None:
        raise BrokenPipeError

    assert not Reporter(send, lambda: 0.0)(0.5)


def test_llama_cpp_tells_how_far_it_is(tmp_path: Path) -> None:
    told: list[float] = []

    def report(part: float) -> bool:
        told.append(part)
        return True

    path = write_tiny_llama(tmp_path / "tiny.gguf")
    LlamaBackend(str(path), EngineConfig(context=64, parallel=1, batch=64), report=report)
    assert told[-1] == 1.0 and told == sorted(told)


def test_llama_cpp_gives_up_when_it_is_asked_to(tmp_path: Path) -> None:
    path = write_tiny_llama(tmp_path / "tiny.gguf")
    with pytest.raises(LoadError):
        LlamaBackend(str(path), EngineConfig(context=64), report=lambda _part: False)
