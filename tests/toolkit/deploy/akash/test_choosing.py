"""Which bid is taken, and why the others are not."""

from decimal import Decimal
from typing import Any

import pytest

from toolkit.deploy.akash.choosing import Replica, Terms, judged
from toolkit.deploy.console.amounts import Coin
from toolkit.deploy.console.bids import (
    Amount,
    Attribute,
    Bid,
    Cpu,
    Gpu,
    Memory,
    Offered,
    Resources,
)
from toolkit.deploy.console.deployments import LeaseId
from toolkit.deploy.console.market import Provider, ProviderAttribute
from toolkit.units import GIB

H100 = "vendor/nvidia/model/h100/ram/80Gi/interface/sxm"
DEMAND = Replica(cpu=4000, memory=8 * GIB, gpus=1, gpu_keys=("vendor/nvidia/model/h100",))


def offered(gpu: str = H100, *, cpu: int = 4000, memory: int = 8 * GIB, gpus: int = 1) -> Offered:
    return Offered(
        Resources(
            Cpu(Amount(str(cpu))),
            Memory(Amount(str(memory))),
            Gpu(Amount(str(gpus)), (Attribute(gpu, "true"),) if gpu else ()),
        )
    )


def coin(amount: int, denom: str = "uact") -> Coin:
    return Coin(denom, Decimal(amount))


def bid(who: str = "a", uact: int = 1000, **given: Any) -> Bid:
    made: dict[str, Any] = {
        "id": LeaseId("1", who),
        "state": "open",
        "price": coin(uact),
        "resources_offer": (offered(),),
    }
    return Bid(**{**made, **given})


def provider(who: str, **given: Any) -> Provider:
    made: dict[str, Any] = {
        "owner": who,
        "host_uri": "https://h:8443",
        "is_online": True,
        "uptime7d": 1.0,
    }
    return Provider(**(made | given))


def terms(**given: Any) -> Terms:
    made: dict[str, Any] = {"replicas": (DEMAND,), "max_usd_per_hour": Decimal(1), "hours": 2}
    return Terms(**(made | given))


def why_not(one: Bid, wanted: Terms, **given: Any) -> str:
    known = {} if given.pop("unknown", False) else {"a": provider("a", **given)}
    good, bad = judged([one], known, wanted)
    assert len(good) + len(bad) == 1
    return "" if good else bad[0].why_not


def test_a_bid_that_keeps_everything_will_do() -> None:
    assert why_not(bid(), terms()) == ""


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"state": "closed"}, "closed"),
        ({"price": coin(1, "uakt")}, "uakt"),
        ({"price": coin(0)}, "no price"),
        ({"price": coin(-5)}, "no price"),
        ({"price": coin(1612)}, "over the cap"),  # fast blocks make it dearer
        ({"resources_offer": ()}, "does not say"),
        ({"resources_offer": (offered("vendor/nvidia/model/t4/ram/16Gi"),)}, "t4"),
        ({"resources_offer": (offered(""),)}, "does not name"),
        ({"resources_offer": (offered(cpu=2000),)}, "2 cores"),
        ({"resources_offer": (offered(memory=4 * GIB),)}, "4.0 GiB"),
        ({"resources_offer": (offered(gpus=0),)}, "0 GPUs"),
    ],
)
def test_bids_that_will_not_do(given: dict[str, Any], words: str) -> None:
    assert words in why_not(bid(**given), terms())


def test_the_cap_is_compared_with_fast_blocks() -> None:
    # 1611 uact a block is $0.9999 an hour at 5.8 s, 1612 is over a dollar.
    assert why_not(bid(uact=1611), terms()) == ""


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"unknown": True}, "does not know"),
        ({"is_online": False}, "offline"),
    ],
)
def test_providers_that_will_not_do(given: dict[str, Any], words: str) -> None:
    assert words in why_not(bid(), terms(), **given)


def test_a_region_is_what_the_provider_states() -> None:
    stated = (ProviderAttribute("region", "eu-west"),)
    assert why_not(bid(), terms(region="eu-west"), attributes=stated) == ""
    assert "us-east" in why_not(bid(), terms(region="us-east"), attributes=stated)


def test_one_that_failed_is_left_out() -> None:
    assert "last day" in why_not(bid(), terms(left_out=frozenset({"a"})))


def test_what_is_left_of_the_money_has_to_last() -> None:
    assert why_not(bid(), terms(most_usd=Decimal("1.25"))) == ""
    assert "left" in why_not(bid(), terms(most_usd=Decimal("1.24")))  # 2 h at 5.8 s a block


@pytest.mark.parametrize("wish", ["vendor/nvidia/model/*", "vendor/nvidia/model/h100/ram/80Gi"])
def test_a_wish_leaves_open_what_it_does_not_say(wish: str) -> None:
    demand = Replica(cpu=1, memory=1, gpus=1, gpu_keys=(wish,))
    assert why_not(bid(), terms(replicas=(demand,))) == ""


def test_each_replica_needs_an_offer_of_its_own() -> None:
    gateway = Replica(cpu=1000, memory=GIB)
    both = terms(replicas=(gateway, DEMAND))
    assert why_not(bid(), both) != ""
    small = offered("", cpu=1000, memory=GIB, gpus=0)
    assert why_not(bid(resources_offer=(small, offered())), both) == ""


def test_the_cheapest_wins_but_for_time_away() -> None:
    known = {"a": provider("a"), "b": provider("b", uptime7d=0.7), "c": provider("c")}
    bids = [bid("a", 1000), bid("b", 900), bid("c", 990)]
    good, _ = judged(bids, known, terms())
    assert [each.bid.id.provider for each in good] == ["c", "a", "b"]


def test_one_that_served_well_may_cost_a_little_more() -> None:
    known = {"a": provider("a"), "b": provider("b")}
    bids = [bid("a", 1000), bid("b", 1040)]
    good, _ = judged(bids, known, terms(known_good=frozenset({"b"})))
    assert [each.bid.id.provider for each in good] == ["b", "a"]
