"""YAML text to nodes: positions, aliases, merges, and everything that is refused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.sdl.nodes import MAX_BYTES, MAX_DEPTH, MalformedYAML, Node, find, load
from toolkit.sdl.problems import Position


def plain(node: Node) -> Any:
    """The node's value without positions."""
    if isinstance(node.value, dict):
        return {key: plain(entry.node) for key, entry in node.value.items()}
    return [plain(item) for item in node.value] if isinstance(node.value, list) else node.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1\nb: [x, 'y', \"z\"]", {"a": 1, "b": ["x", "y", "z"]}),
        ("a: '1'", {"a": "1"}),
        ("a: |\n  two\n  lines\n", {"a": "two\nlines\n"}),
        ("80: x\ntrue: y\n1.50: z\n~: n", {"80": "x", "true": "y", "1.5": "z", "null": "n"}),
        ("a: &x {b: 1}\nc: *x", {"a": {"b": 1}, "c": {"b": 1}}),
        ("&k a: 1\nb: *k", {"a": 1, "b": "a"}),
        ("b: &x {p: 1, q: 1}\nc: {<<: *x, q: 2}", {"b": {"p": 1, "q": 1}, "c": {"p": 1, "q": 2}}),
        ("b: &x {q: 1}\nc: {q: 2, <<: *x}", {"b": {"q": 1}, "c": {"q": 2}}),
        ("x: {<<: [{p: 1}, {p: 2, q: 2}]}", {"x": {"p": 1, "q": 2}}),
        ('"<<": 1', {"<<": 1}),
        ("--- \na: 1\n...\n", {"a": 1}),
        ("\ufeffa: 1\r\nb: 2\r\n", {"a": 1, "b": 2}),
        ("a: !!str 80", {"a": "80"}),
    ],
)
def test_documents_are_read(text: str, value: Any) -> None:
    assert plain(load(text)) == value
    assert plain(load(text.encode())) == value


def test_values_know_where_they_stand() -> None:
    root = load("a:\n  - b: 'x'\n    c/d: [1]\n")
    assert find(root, "/a")[0] == Position(1, 1)
    assert find(root, "/a/0")[0] == Position(2, 5)
    assert find(root, "/a/0/b")[0] == Position(2, 8)
    assert find(root, "/a/0/c~1d")[0] == Position(3, 5)
    assert find(root, "/a/0/c~1d/0")[0] == Position(3, 11)


def test_a_missing_value_stands_at_its_nearest_ancestor() -> None:
    root = load("a:\n  b: 1\n")
    assert find(root, "/a/c/d")[0] == Position(1, 1)
    assert find(root, "/a/7")[0] == Position(1, 1)
    assert find(root, "/z")[0] == Position(1, 1)


@pytest.mark.parametrize(
    ("text", "message", "position"),
    [
        ("", "empty", Position(1, 1)),
        ("# only a comment\n", "empty", Position(1, 1)),
        ("a: 1\nb: 2\na: 3", "'a' is there twice; the first is on line 1", Position(3, 1)),
        ("80: 1\n'80': 2", "twice", Position(2, 1)),
        ("a: 1\n---\nb: 2", "more than one YAML document", Position(2, 1)),
        ("a: [1, 2", "begun on line 1", Position(2, 1)),
        ("a: b: c", "not valid YAML", Position(1, 5)),
        ("a:\n\t- b", "not valid YAML", Position(2, 1)),
        ("a: *x", "not valid YAML|anchor", Position(1, 4)),
        ("a: &x [*x]", "anchor", Position(1, 8)),
        ("? [a]\n: 1", "a key must be plain text", Position(1, 3)),
        ("a: {<<: 1}", "<< must be followed by a mapping", Position(1, 5)),
        ("a: !secret x", "!secret", Position(1, 4)),
        ("a: !!int x", "!!int", Position(1, 4)),
        ("a: !!set {b}", "!!set", Position(1, 4)),
        ("a: \x01", "character", Position(1, 1)),
    ],
)
def test_what_is_no_single_document_is_refused(text: str, message: str, position: Position) -> None:
    with pytest.raises(MalformedYAML, match=message) as caught:
        load(text)
    assert caught.value.position == position


@pytest.mark.parametrize(
    "text",
    [
        b"\xff\xfe\x00junk",
        "a: \ud800",
        b"\x00" * 1000,
        b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 100,
        "a: " + "x" * MAX_BYTES,
        "[" * 200_000,
        "{a: " * 200_000,
        "- " * 200_000,
        "a: " + "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1),
        "? " * 100_000,
        "&a " * 100_000,
        "!!" * 100_000,
        "*a " * 100_000,
        '"' + "\\" * 100_001,
    ],
)
def test_hostile_text_ends_in_the_one_error(text: str | bytes) -> None:
    with pytest.raises(MalformedYAML):
        load(text)


def test_aliases_that_explode_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(MalformedYAML, match="once aliases are expanded"):
        load("\n".join(lines))


def test_nesting_up_to_the_limit_is_read() -> None:
    load("[" * MAX_DEPTH + "]" * MAX_DEPTH)


@given(st.binary(max_size=300) | st.text(max_size=300))
def test_any_text_is_read_or_refused(text: str | bytes) -> None:
    try:
        load(text)
    except MalformedYAML as error:
        assert error.message
        assert error.position.line >= 1
        assert error.position.column >= 1
