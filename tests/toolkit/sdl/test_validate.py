"""Reports, and that nothing in a file can make reading it fail in any other way."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.toolkit.sdl import real
from toolkit.errors import SDLError
from toolkit.sdl import Level, Problem, diff, dump, parse, validate
from toolkit.sdl.dump import tree

OWN = sorted(real.OWN.glob("*.yaml"))
TEXTS = [file.read_text() for file in real.FILES]
TREES = [tree(parse(file.read_bytes()).sdl) for file in real.VALID]
WORDS = ["", "null", "true", "yes", "-1", "0", "1e309", "9" * 400, "[]", "{}", "[[]]", "''", "*a"]
WORDS += ["&a b", "2024-01-01", "\t", '"', "- x", "? x", "!!binary a", "<<: 1", "a: b", "~", "|"]


@pytest.mark.parametrize("file", OWN, ids=lambda file: str(file.name))
def test_our_own_files_have_no_problem(file: Path) -> None:
    report = validate(file.read_bytes(), file.name)
    assert (report.file, report.ok, report.problems) == (file.name, True, ())
    assert report.hash is not None


def test_the_worst_problems_come_first(edited: Callable[[str, str], str]) -> None:
    text = (
        edited("count: 2", "count: x")
        .replace(":1.4.2", "")
        .replace("amount: 1000\n", "amount: 0\n")
    )
    levels = [problem.level for problem in validate(text).problems]
    assert levels == [Level.INVALID, Level.REJECTED, Level.WARNING]


def test_an_invalid_file_has_no_hash() -> None:
    report = validate("version: 1", "x.yaml")
    assert not report.ok
    assert report.hash is None


def test_text_that_is_no_yaml_is_one_problem() -> None:
    report = validate("a: [", "x.yaml")
    (problem,) = report.problems
    assert problem.level is Level.INVALID
    assert (problem.path, problem.line) == ("", 2)


def test_parse_raises_all_problems_at_once() -> None:
    with pytest.raises(SDLError) as caught:
        parse("version: 1", "x.yaml")
    error = caught.value
    assert error.message.startswith("x.yaml:1:")
    assert error.message.endswith(f"(and {len(error.problems) - 1} more)")
    assert all(isinstance(problem, Problem) for problem in error.problems)
    assert error.hint


@given(st.data())
def test_a_mangled_file_is_reported_and_nothing_else(data: st.DataObject) -> None:
    lines = data.draw(st.sampled_from(TEXTS)).splitlines()
    for _ in range(data.draw(st.integers(1, 4))):
        _mangle(lines, data)
    _examine("\n".join(lines))


def _mangle(lines: list[str], data: st.DataObject) -> None:
    where = data.draw(st.integers(0, len(lines) - 1))
    line = lines[where]
    word = data.draw(st.sampled_from(WORDS) | st.text(max_size=10))
    key, colon, _ = line.partition(":")
    lines[where] = data.draw(
        st.sampled_from(
            [f"{key}{colon} {word}", line[1:], f" {line}", word, "", f"{line}\n{line}", line[:-1]]
        )
    )


def _examine(text: str) -> None:
    report = validate(text)
    num_lines = text.count("\n") + 2
    assert all(1 <= problem.line <= num_lines for problem in report.problems)
    assert all(problem.message for problem in report.problems)
    is_invalid = any(problem.level is Level.INVALID for problem in report.problems)
    assert (report.hash is None) == is_invalid
    try:
        sdl = parse(text).sdl
    except SDLError as error:
        assert error.problems
        assert is_invalid
        return
    if not is_invalid:
        again = parse(dump(sdl)).sdl
        assert again == sdl
        assert diff(sdl, again).changes == ()


@given(st.text() | st.binary())
def test_any_text_has_a_report(text: str | bytes) -> None:
    assert not validate(text).ok


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
KEYS = ["version", "services", "profiles", "deployment", "endpoints", "reclamation", "include"]


@given(st.fixed_dictionaries({key: JSON for key in KEYS}))
def test_any_values_have_a_report(values: dict[str, object]) -> None:
    _examine(yaml.safe_dump(values, allow_unicode=True))


@given(st.data())
def test_real_files_with_parts_exchanged_have_a_report(data: st.DataObject) -> None:
    made = copy.deepcopy(data.draw(st.sampled_from(TREES)))
    for _ in range(data.draw(st.integers(1, 3))):
        holder, key = data.draw(st.sampled_from(_places(made)))
        _exchange(holder, key, data)
    _examine(yaml.safe_dump(made, allow_unicode=True, sort_keys=False))


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every value of a tree, as what holds it and its key there."""
    if not isinstance(value, dict | list):
        return []
    pairs = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
    return [(value, key) for key, _ in pairs] + [one for _, each in pairs for one in _places(each)]


def _exchange(holder: Any, key: Any, data: st.DataObject) -> None:
    """Another value there, from elsewhere in a real file or free, or none."""
    other, other_key = data.draw(st.sampled_from(_places(data.draw(st.sampled_from(TREES)))))
    new = data.draw(st.sampled_from([copy.deepcopy(other[other_key]), None]) | JSON)
    if new is not None:
        holder[key] = new
    elif isinstance(holder, dict):
        holder[data.draw(st.text(max_size=3))] = holder.pop(key)
    else:
        del holder[key]
