"""The nucleus is what sorting everything would give."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from server.engine.nucleus import nucleus


def sorted_nucleus(logits: NDArray[np.float32], p: float) -> list[int]:
    """As it is defined."""
    order = sorted(range(len(logits)), key=lambda token: -logits[token])
    weights = np.exp(logits.astype(np.float64) - float(logits.max()))
    total, sums = weights.sum(), 0.0
    for count, token in enumerate(order, start=1):
        sums += weights[token]
        if sums >= p * total:
            return order[:count]
    return order


@pytest.mark.parametrize("spread", [0.0, 0.1, 1.0, 5.0, 40.0])
@pytest.mark.parametrize("p", [1e-6, 0.3, 0.9, 0.99, 0.9999])
def test_it_is_what_sorting_gives(spread: float, p: float) -> None:
    random = np.random.default_rng(int(spread * 10))
    logits = (random.standard_normal(5000) * spread).astype(np.float32)
    ours, theirs = list(nucleus(logits, p)), sorted_nucleus(logits, p)
    # Sums in 32 bits may end one of thousands of equal tokens sooner or later.
    assert abs(len(ours) - len(theirs)) <= 1e-4 * len(theirs)
    common = min(len(ours), len(theirs))
    assert logits[ours[:common]].tolist() == logits[theirs[:common]].tolist()


@given(
    st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=50),
    st.floats(0.01, 0.99),
    st.integers(0, 49),
)
def test_it_holds_its_share_and_the_best(values: list[float], p: float, banned: int) -> None:
    logits = np.array(values, dtype=np.float32)
    if banned < len(values) > 1:
        logits[banned] = -np.inf
    found = nucleus(logits, p)
    assert len(set(found.tolist())) == len(found) >= 1
    assert logits[found[0]] == logits.max()
    weights = np.exp(logits.astype(np.float64) - float(logits.max()))
    assert weights[found].sum() >= p * weights.sum() * (1 - 1e-5)
    assert not np.isneginf(logits[found]).any()
