"""What a plan says about money, against arithmetic."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.deploy.akash import pricing
from toolkit.deploy.base import Intent
from toolkit.deploy.console.account import FundingConfig
from toolkit.deploy.console.amounts import most_usd_per_hour
from toolkit.deploy.console.market import GpuPrice, GpuPrices, HourlyPrice
from toolkit.errors import BudgetError, UsageError
from toolkit.sdl import GPUChoice, GPURequest

A100 = GPUChoice("a100", "80Gi")
SXM = GPUChoice("a100", "80Gi", "sxm")


def intent(**asked: Any) -> Intent:
    return Intent(name="mine", target="console", **asked)


def price(model: str, ram: str, interface: str, med: str | None) -> GpuPrice:
    usd = None if med is None else Decimal(med)
    hourly = None if usd is None else HourlyPrice(min=usd / 2, max=usd * 2, avg=usd, med=usd)
    return GpuPrice("nvidia", model, ram, interface, price=hourly)


MARKET = GpuPrices(
    models=(
        price("a100", "80Gi", "sxm4", "1.00"),
        price("a100", "80Gi", "pcie", "0.80"),
        price("a100", "40Gi", "pcie", "0.10"),
        price("h100", "80Gi", "sxm5", None),
    )
)


# -- caps


@given(
    st.decimals("0.01", "100", places=4),
    st.integers(1, 50),
    st.booleans(),
)
def test_all_replicas_of_all_services_stay_under_the_cap(
    cap: Decimal, count: int, has_gateway: bool
) -> None:
    try:
        most = pricing.ceilings(cap, count=count, has_gateway=has_gateway)
    except BudgetError:
        return
    assert most.engine > 0 and (most.gateway > 0) is has_gateway
    together = count * (most.engine + most.gateway)
    assert most_usd_per_hour(Decimal(together)) <= cap
    # Of what is left nobody could have asked for one more per replica.
    assert most_usd_per_hour(Decimal(together + count)) > cap


def test_a_cap_that_leaves_nothing_for_a_service() -> None:
    with pytest.raises(BudgetError, match=r"\$0.001"):
        pricing.ceilings(Decimal("0.001"), has_gateway=True)


def test_an_enormous_cap_is_still_a_price_that_the_chain_takes() -> None:
    assert pricing.ceilings(Decimal(10**9)).engine == 10_000_000


@pytest.mark.parametrize(
    ("asked", "whole"), [(None, None), (0.2, 1), (1, 1), (1.01, 2), (47.5, 48), (48, 48)]
)
def test_hours_are_rounded_up(asked: float | None, whole: int | None) -> None:
    assert pricing.whole_hours(asked) == whole


def test_more_hours_than_the_console_takes() -> None:
    with pytest.raises(UsageError, match="longer than 48 hours") as caught:
        pricing.whole_hours(49)
    assert "extend it while it runs" in caught.value.hint


@pytest.mark.parametrize(
    ("asked", "missing"),
    [
        ({}, "no max_usd_per_hour and no runtime_hours"),
        ({"runtime_hours": 4}, "no max_usd_per_hour:"),
        ({"max_usd_per_hour": Decimal(1)}, "no runtime_hours:"),
    ],
)
def test_without_both_caps_nothing_is_deployed(asked: dict[str, Any], missing: str) -> None:
    with pytest.raises(BudgetError) as caught:
        pricing.check_caps(intent(**asked))
    assert missing in caught.value.message
    pricing.check_caps(intent(max_usd_per_hour=Decimal(1), runtime_hours=1))


# -- what to expect


@pytest.mark.parametrize(
    ("cards", "units", "usd"),
    [
        ((A100,), 1, "0.80"),
        ((SXM,), 1, "1.00"),
        ((SXM,), 2, "2.00"),
        ((A100, GPUChoice("a100", "40Gi")), 2, "0.20"),
    ],
)
def test_the_cheapest_card_that_will_do_is_expected(
    cards: tuple[GPUChoice, ...], units: int, usd: str
) -> None:
    found = pricing.expected(GPURequest(units, cards), MARKET, None)
    assert found.usd_per_hour == Decimal(usd)
    assert "median" in found.notices[0] and "no quote" in found.notices[0]


def test_no_more_is_expected_than_is_allowed() -> None:
    found = pricing.expected(GPURequest(2, (SXM,)), MARKET, Decimal("1.50"))
    assert found.usd_per_hour == Decimal("1.50")
    assert "more than the $1.50 per hour that you allow" in found.notices[1]


@pytest.mark.parametrize("cap", [None, Decimal("0.40")])
@pytest.mark.parametrize(
    ("gpu", "prices"),
    [
        (None, MARKET),
        (GPURequest(1, (GPUChoice("h100", "80Gi"),)), MARKET),
        (GPURequest(1, (A100,)), GpuPrices()),
        (GPURequest(1, (A100,)), None),
    ],
)
def test_what_is_not_known_is_said(
    gpu: GPURequest | None, prices: GpuPrices | None, cap: Decimal | None
) -> None:
    found = pricing.expected(gpu, prices, cap)
    assert found.usd_per_hour == cap
    (notice,) = found.notices
    assert ("only known when bids come" in notice) is (cap is None)


# -- the worst case


def test_the_worst_case_is_the_cap_for_all_hours() -> None:
    asked = intent(max_usd_per_hour=Decimal("0.60"), runtime_hours=3.5, max_usd_total=Decimal(1))
    assert pricing.worst_case_usd(asked, is_newer=True) == Decimal("2.40")


@pytest.mark.parametrize(
    "asked", [{}, {"runtime_hours": 4}, {"max_usd_per_hour": Decimal(1), "max_usd_total": 2}]
)
def test_without_both_caps_nothing_limits_it(asked: dict[str, Any]) -> None:
    assert pricing.worst_case_usd(intent(**asked), is_newer=True) is None


def test_an_older_console_takes_no_smaller_deposit() -> None:
    asked = intent(max_usd_per_hour=Decimal("0.10"), runtime_hours=1)
    assert pricing.worst_case_usd(asked, is_newer=False) == Decimal("0.5")
    assert "$0.50 is used up" in pricing.older_funding(Decimal("0.5"))
    assert "its deposit is used up" in pricing.older_funding(None)


def test_what_is_set_aside() -> None:
    config = FundingConfig(target_runway_hours=48, default_deposit_usd=0.5)
    told = pricing.set_aside(config, Decimal("0.60"))
    assert "$0.50 is set aside" in told and "48 hours" in told and "$28.80 at most" in told
    assert "at most" not in pricing.set_aside(config, None)


@pytest.mark.parametrize(
    ("free", "first", "told"), [("0.20", "0.5", ["add $0.30"]), ("0.5", "0.5", [])]
)
def test_a_balance_that_orders_nothing(free: str, first: str, told: list[str]) -> None:
    found = pricing.missing_money(Decimal(free), Decimal(first))
    assert [text in sentence for text, sentence in zip(told, found, strict=True)] == [True] * len(
        told
    )


@pytest.mark.parametrize(
    ("free", "worst", "is_scarce"),
    [("1", "2.40", True), ("2.40", "2.40", False), ("1", None, False)],
)
def test_a_balance_that_may_be_used_up(free: str, worst: str | None, is_scarce: bool) -> None:
    most = None if worst is None else Decimal(worst)
    found = pricing.scarce_money(Decimal(free), most)
    assert bool(found) is is_scarce
    assert all("less than the $2.40" in sentence for sentence in found)
