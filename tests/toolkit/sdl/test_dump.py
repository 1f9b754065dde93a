"""Typed documents as text: read again they are the same, by every reader of YAML."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.toolkit.sdl.real import SMALLEST, VALID
from toolkit.errors import UsageError
from toolkit.sdl import dump, manifest_hash, nodes, parse
from toolkit.sdl.dump import quoted, tree
from toolkit.sdl.model import CPU, SDL, Price


def leaves(value: Any) -> Any:
    """A node tree as plain values."""
    if isinstance(value, nodes.Node):
        return leaves(value.value)
    if isinstance(value, dict):
        return {key: leaves(entry.node) for key, entry in value.items()}
    return [leaves(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("file", VALID, ids=lambda file: str(file.stem))
def test_read_again_it_is_the_same(file: Path) -> None:
    sdl = parse(file.read_bytes()).sdl
    again = parse(dump(sdl)).sdl
    assert again == sdl
    assert manifest_hash(again) == manifest_hash(sdl)
    assert dump(again) == dump(sdl)


@pytest.mark.parametrize("file", VALID, ids=lambda file: str(file.stem))
def test_yaml_1_1_and_1_2_read_it_alike(file: Path) -> None:
    sdl = parse(file.read_bytes()).sdl
    text = dump(sdl)
    assert yaml.safe_load(text) == tree(sdl) == leaves(nodes.load(text))


ODD = ["on", "Y", "~", "1e3", "012", "0o17", "1_000", "12:30", "2024-01-01", "", " a ", "a: b"]
ODD += [
    "# a",
    "- a",
    "*a",
    "&a",
    "!a",
    "%a",
    "@a",
    "`a",
    "a\nb",
    "\t",
    "é",
    "\x85",
    "\u2028",
    "=",
    "<<",
]
ODD += ["<<", ".inf", "0x1F", "NaN", "null", "False", "🦙", "\x00", "\x7f", "'", '"', "\\"]
ODD += ["k" * 3000]


@pytest.mark.parametrize("text", ODD)
def test_odd_text_stays_text(text: str) -> None:
    sdl = with_texts(text)
    assert parse(dump(sdl)).sdl == sdl
    assert yaml.safe_load(dump(sdl)) == tree(sdl)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_stays_text(text: str) -> None:
    sdl = with_texts(text)
    assert parse(dump(sdl)).sdl == sdl
    assert yaml.safe_load(dump(sdl)) == tree(sdl)


@given(st.floats(1e-9, 1e25), st.integers(1, 10**29))
def test_numbers_have_no_exponent(amount: float, units: int) -> None:
    sdl = with_numbers(amount, units)
    text = dump(sdl)
    assert "e+" not in text and "e-" not in text
    assert parse(text).sdl == sdl


def test_half_a_character_is_refused() -> None:
    with pytest.raises(UsageError, match="no text file"):
        quoted("\ud800")


def with_texts(text: str) -> SDL:
    """An SDL with that text wherever text is free."""
    sdl = parse(SMALLEST.read_text()).sdl
    service = msgspec.structs.replace(
        sdl.services["web"], image=text or "image", args=(text, text), env=(text,)
    )
    placement = msgspec.structs.replace(sdl.profiles.placement["anywhere"], attributes={text: text})
    profiles = msgspec.structs.replace(sdl.profiles, placement={"anywhere": placement})
    return msgspec.structs.replace(sdl, services={"web": service}, profiles=profiles)


def with_numbers(amount: float, units: int) -> SDL:
    """An SDL with that price and that many cores."""
    sdl = parse(SMALLEST.read_text()).sdl
    compute = msgspec.structs.replace(sdl.profiles.compute["web"], cpu=CPU(units))
    placement = msgspec.structs.replace(
        sdl.profiles.placement["anywhere"], pricing={"web": Price("uact", amount)}
    )
    profiles = msgspec.structs.replace(
        sdl.profiles, compute={"web": compute}, placement={"anywhere": placement}
    )
    return msgspec.structs.replace(sdl, profiles=profiles)
