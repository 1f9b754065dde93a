"""Amounts of memory, read and written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.sizes import parse_size, show_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("8GiB", 8 << 30),
        ("8 gib", 8 << 30),
        ("8g", 8 << 30),
        ("1.5G", 3 << 29),
        ("8GB", 8 * 10**9),
        ("512MiB", 512 << 20),
        ("1kb", 1000),
        ("1 B", 1),
        ("1048576", 1 << 20),
        ("1T", 1 << 40),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "0GiB", "-1G", "GiB", "8 parsecs", "1iB", "1e9", "٣G"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="expected a size such as 8GiB"):
        parse_size(text)


@given(st.integers(min_value=1, max_value=1 << 46))
def test_what_is_shown_can_be_read(size: int) -> None:
    shown = show_size(size)
    if not shown.startswith("0"):
        assert abs(parse_size(shown) - size) <= max(size // 20, 1 << 20)


def test_shown() -> None:
    assert show_size(8 << 30) == "8 GiB"
    assert show_size(9.1 * (1 << 30)) == "9.1 GiB"
    assert show_size(100 << 20) == "100 MiB"
