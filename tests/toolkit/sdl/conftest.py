"""Our own SDL files, and a way to put one mistake into them."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from toolkit.sdl import Level, validate

DATA = Path(__file__).parents[2] / "data" / "sdl"


@pytest.fixture
def full() -> str:
    """An SDL that uses most of the language and has no problem."""
    return (DATA / "full.yaml").read_text()


@pytest.fixture
def leased_ip() -> str:
    """An SDL that leases an IP and has no problem."""
    return (DATA / "leased-ip.yaml").read_text()


@pytest.fixture
def edited(full: str, leased_ip: str) -> Callable[[str, str], str]:
    """A function: the first of our files that holds `old`, once, with `new` in its place."""

    def edit(old: str, new: str) -> str:
        for text in (full, leased_ip):
            if old in text:
                assert text.count(old) == 1, f"{old!r} stands in the file more than once"
                return text.replace(old, new)
        raise AssertionError(f"{old!r} stands in no file")

    return edit


class Found(NamedTuple):
    """A problem, with the text that its position points at."""

    level: Level
    path: str
    pointed_at: str
    message: str
    hint: str


@pytest.fixture
def problems() -> Callable[[str], list[Found]]:
    """A function: the problems of a text."""

    def examine(text: str) -> list[Found]:
        lines = [*text.split("\n"), ""]
        return [
            Found(
                each.level,
                each.path,
                lines[each.line - 1][each.column - 1 :],
                each.message,
                each.hint,
            )
            for each in validate(text).problems
        ]

    return examine


@pytest.fixture
def only_problem(
    edited: Callable[[str, str], str], problems: Callable[[str], list[Found]]
) -> Callable[[str, str], Found]:
    """A function: the one problem that appears when `old` is replaced by `new`."""

    def examine(old: str, new: str) -> Found:
        (found,) = problems(edited(old, new))
        return found

    return examine
