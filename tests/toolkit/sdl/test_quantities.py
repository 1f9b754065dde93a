"""CPU, sizes and amounts as the network's tools compute them."""

import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.sdl import quantities
from toolkit.sdl.quantities import FACTORS


@pytest.mark.parametrize(
    ("size", "text", "exact"),
    [
        ("512Mi", "536870912", 536870912),
        ("1G", "1000000000", 1000000000),
        ("1k", "1000", 1000),
        ("0.5Gi", "536870912", 536870912),
        ("1.3Gi", "1395864372", None),
        ("1GB", "1000000000", None),
        ("1GiB", "1000000000", None),
        ("1gb", "1000000000", None),
        ("512mi", "536870912", None),
        ("1.2.3Gi", "1288490189", None),
        ("2x", "2", None),
    ],
)
def test_sizes(size: str, text: str, exact: int | None) -> None:
    assert quantities.size_text(size) == text
    assert quantities.exact_size(size) == exact


@pytest.mark.parametrize("size", ["Gi", "5", " 1Gi", "1 Gi", "-1Gi", ".Gi", "9" * 5000 + "Gi"])
def test_text_that_is_no_size(size: str) -> None:
    with pytest.raises(ValueError, match=re.escape(size)):
        quantities.size_text(size)
    assert quantities.exact_size(size) is None


@given(st.integers(0, 10_000), st.sampled_from(["k", "M", "G", "T", "Ki", "Mi", "Gi"]))
def test_a_whole_size_is_the_same_to_everybody(number: int, unit: str) -> None:
    size = f"{number}{unit}"
    assert quantities.exact_size(size) == number * FACTORS[unit]
    assert quantities.size_text(size) == str(number * FACTORS[unit])


@pytest.mark.parametrize(
    ("units", "text", "exact"),
    [
        (1, "1000", 1000),
        (0.5, "500", 500),
        ("0.01", "10", 10),
        ("500m", "500", 500),
        (2.01, "2009.9999999999998", None),
        ("500.5m", "500.5", None),
        ("2M", "2", None),
        ("2cores", "2000", None),
        (0.0001, "0.1", None),
    ],
)
def test_cpu(units: float | str, text: str, exact: int | None) -> None:
    assert quantities.cpu_text(units) == text
    assert quantities.exact_cpu(units) == exact


@pytest.mark.parametrize(
    ("units", "text", "exact"),
    [
        (None, "0", 0),
        (2, "2", 2),
        ("2", "2", 2),
        ("0", "0", 0),
        (1.5, "1.5", None),
        (-1, "-1", None),
        ("1.9", "1", None),
        ("abc", "NaN", None),
    ],
)
def test_counts(units: float | str | None, text: str, exact: int | None) -> None:
    assert quantities.count_text(units) == text
    assert quantities.exact_count(units) == exact


@pytest.mark.parametrize(
    ("amount", "text", "exact"),
    [
        (1000, "1000", Decimal(1000)),
        (0.5, "0.5", Decimal("0.5")),
        ("0.50", "0.50", Decimal("0.50")),
        (1e-7, "1e-7", None),
        ("0." + "1" * 19, "0." + "1" * 19, None),
    ],
)
def test_amounts(amount: float | str, text: str, exact: Decimal | None) -> None:
    assert quantities.amount_text(amount) == text
    assert quantities.exact_amount(amount) == exact


def test_the_chain_reads_fewer_spellings() -> None:
    assert quantities.is_chain_size("1.5Gi")
    assert not quantities.is_chain_size("1GB")
    assert quantities.is_chain_cpu(0.25)
    assert not quantities.is_chain_cpu("500.5m")
