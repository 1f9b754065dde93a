"""What plain YAML scalars mean, and how numbers are printed."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.sdl.scalars import Timestamp, number_text, resolve, resolve_tagged, value_text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("FALSE", False),
        ("yes", "yes"),
        ("on", "on"),
        ("off", "off"),
        ("y", "y"),
        ("80", 80),
        ("-7", -7),
        ("+7", 7),
        ("010", 10),
        ("0o17", 15),
        ("0x50", 80),
        ("-0x10", -16),
        ("0b101", 5),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("0.5", 0.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("12e5", 1.2e6),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("1.2.3", "1.2.3"),
        ("2024-01-01", Timestamp("2024-01-01")),
        ("2024-1-1 10:00:00 Z", Timestamp("2024-1-1 10:00:00 Z")),
        ("2024-01", "2024-01"),
        ("<<", "<<"),
    ],
)
def test_plain_scalars_mean_what_yaml_1_2_says(text: str, value: Any) -> None:
    found = resolve(text)
    assert found == value
    assert type(found) is type(value)


def test_nan_is_a_number() -> None:
    found = resolve(".nan")
    assert isinstance(found, float)
    assert math.isnan(found)


@pytest.mark.parametrize("text", ["9" * 5000, "0x" + "f" * 5000, "1e999"])
def test_huge_numbers_are_read_without_an_error(text: str) -> None:
    assert resolve(text) == math.inf


def test_tags_choose_the_kind() -> None:
    assert resolve_tagged("80", "tag:yaml.org,2002:str") == "80"
    assert resolve_tagged("80", "!") == "80"
    assert resolve_tagged("80", "tag:yaml.org,2002:float") == 80.0
    with pytest.raises(ValueError, match="int"):
        resolve_tagged("eighty", "tag:yaml.org,2002:int")
    with pytest.raises(ValueError, match="secret"):
        resolve_tagged("x", "!secret")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (-0.0, "0"),
        (1.0, "1"),
        (1.5, "1.5"),
        (-2.25, "-2.25"),
        (100.0, "100"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (1.5e21, "1.5e+21"),
        (0.000001, "0.000001"),
        (1e-7, "1e-7"),
        (1.25e-7, "1.25e-7"),
        (2**60, "1152921504606847000"),
        (math.inf, "Infinity"),
        (math.nan, "NaN"),
    ],
)
def test_numbers_print_as_in_ecmascript(number: float, text: str) -> None:
    assert number_text(number) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_printed_number_reads_back_as_itself(number: float) -> None:
    assert float(number_text(number)) == number


def test_other_values_print_as_in_ecmascript() -> None:
    values = [None, True, False, "text", Timestamp("2024-01-01")]
    assert [value_text(each) for each in values] == ["null", "true", "false", "text", "2024-01-01"]
