"""Which models go so that another one fits: a rule, checked against trying everything."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.budget import Budget, Holding, fits_now, victims
from server.errors import LoadFailed

GIB = 1 << 30

HOLDINGS = st.lists(
    st.tuples(st.integers(0, 9), st.booleans(), st.booleans(), st.booleans()), max_size=6
).map(
    lambda rows: [
        Holding(at, size, is_idle and not is_leaving, is_leaving, (for_ever, at))
        for at, (size, is_idle, is_leaving, for_ever) in enumerate(rows)
    ]
)
BUDGETS = st.builds(
    Budget,
    memory_bytes=st.none() | st.integers(1, 30),
    max_loaded=st.integers(0, 4),
)


def fits_without(gone: set[int], need: int, holdings: list[Holding[int]], budget: Budget) -> bool:
    left = [each for each in holdings if not each.is_leaving and each.model not in gone]
    return budget.fits(sum(each.memory_bytes for each in left) + need, len(left) + 1)


@given(st.integers(0, 12), HOLDINGS, BUDGETS)
def test_it_is_enough_whenever_anything_is_and_never_too_much(
    need: int, holdings: list[Holding[int]], budget: Budget
) -> None:
    going, is_enough = victims(need, 1, holdings, budget)
    idle = {each.model for each in holdings if each.is_idle}
    assert set(going) <= idle
    assert is_enough == any(
        fits_without(set(gone), need, holdings, budget)
        for count in range(len(idle) + 1)
        for gone in combinations(idle, count)
    )
    if going:
        assert not fits_without(set(going[:-1]), need, holdings, budget)
    ranks = [holdings[model].rank for model in going]
    assert ranks == sorted(ranks)
    if fits_now(need, holdings, budget):
        assert (going, is_enough) == ([], True)


def test_what_should_stay_for_ever_goes_last() -> None:
    holdings = [
        Holding("for ever", 1, True, False, (True, 1)),
        Holding("recent", 1, True, False, (False, 3)),
        Holding("old", 1, True, False, (False, 2)),
    ]
    assert victims(1, 1, holdings, Budget(max_loaded=3)) == (["old"], True)
    assert victims(1, 1, holdings, Budget(max_loaded=1)) == (["old", "recent", "for ever"], True)


def test_what_never_fits_is_told_in_numbers() -> None:
    budget = Budget(memory_bytes=8 * GIB)
    budget.check(8 * GIB)
    Budget().check(1 << 60)
    with pytest.raises(LoadFailed) as caught:
        budget.check(int(9.1 * GIB))
    assert caught.value.message == (
        "the model needs about 9.1 GiB of memory, the budget is 8 GiB: "
        "lower --context or --parallel, or raise --memory"
    )
