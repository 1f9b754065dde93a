"""Answers are hostile: nulls and surprises pass, anything else is our own error."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.console import market_replies, replies, samples
from tests.support.console.world import World
from toolkit.deploy.console.account import SpendRate
from toolkit.deploy.console.bids import BidEntry
from toolkit.deploy.console.decoding import Data, Unreadable, decode
from toolkit.deploy.console.deployments import Deployment, Settings
from toolkit.deploy.console.market import GpuPrices, PlacementOptions, Provider

Path = tuple[str | int, ...]

WORLD = World(hosts=samples.HOSTS)
MADE = WORLD.create({"sdl": samples.SDL, "name": "n", "runtimeLimitHours": 4})
WORLD.advance(2)
CHOICE = {"dseq": MADE.dseq, "gseq": 1, "provider": samples.CHEAP.address}
WORLD.lease([CHOICE], None)
WORLD.advance(5)

ANSWERS: list[tuple[Any, Any]] = [
    (Deployment, replies.deployment(WORLD, MADE)),
    (tuple[BidEntry, ...], [replies.bid(WORLD, MADE, bid) for bid in MADE.bids]),
    (Settings, replies.settings(WORLD, MADE)),
    (tuple[Provider, ...], [market_replies.provider(WORLD, host) for host in samples.HOSTS]),
    (GpuPrices, market_replies.gpu_prices(WORLD)),
    (PlacementOptions, market_replies.placement_options(WORLD)),
]

JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


def places(value: Any, path: Path = ()) -> Iterator[Path]:
    """The place of every value in an answer."""
    yield path
    parts: Any = ()
    if isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, list):
        parts = enumerate(value)
    for key, part in parts:
        yield from places(part, (*path, key))


def changed(value: Any, path: Path, new: Any) -> Any:
    if not path:
        return new
    made = copy.deepcopy(value)
    inner = made
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return made


def decoded(kind: Any, value: Any) -> Any:
    """The value as decoded, None where that is refused; any other error is a failure."""
    try:
        return decode(json.dumps(value).encode(), kind)
    except Unreadable:
        return None


@pytest.mark.parametrize(("kind", "answer"), ANSWERS)
def test_whole_answers_are_read(kind: Any, answer: Any) -> None:
    assert decoded(kind, answer) is not None


@given(case=st.sampled_from(ANSWERS), data=st.data())
def test_a_null_anywhere_is_an_absence(case: tuple[Any, Any], data: st.DataObject) -> None:
    kind, answer = case
    path = data.draw(st.sampled_from(list(places(answer))))
    decoded(kind, changed(answer, path, None))


@given(case=st.sampled_from(ANSWERS), data=st.data(), junk=JUNK)
def test_anything_anywhere_raises_only_our_error(
    case: tuple[Any, Any], data: st.DataObject, junk: Any
) -> None:
    kind, answer = case
    path = data.draw(st.sampled_from(list(places(answer))))
    decoded(kind, changed(answer, path, junk))


@given(case=st.sampled_from(ANSWERS), data=st.data(), junk=JUNK)
def test_unknown_fields_change_nothing(
    case: tuple[Any, Any], data: st.DataObject, junk: Any
) -> None:
    kind, answer = case
    objects = [path for path in places(answer) if isinstance(at(answer, path), dict)]
    path = data.draw(st.sampled_from([p for p in objects if not is_map(p)]))
    grown = changed(answer, path, {**at(answer, path), "neverHeardOf": junk})
    assert decoded(kind, grown) == decoded(kind, answer)


def at(value: Any, path: Path) -> Any:
    for key in path:
        value = value[key]
    return value


def is_map(path: Path) -> bool:
    """Whether the object there has names of somebody's own for keys."""
    return bool(path) and path[-1] in ("services", "forwarded_ports", "regionProviderCounts")


@given(st.binary(max_size=64))
def test_any_bytes_raise_only_our_error(body: bytes) -> None:
    for kind in (Data[Deployment], SpendRate):
        try:
            decode(body, kind)
        except Unreadable as error:
            assert str(error)


def test_nothing_is_too_deep() -> None:
    for body in (b"[" * 100_000, b'{"data":' * 100_000):
        with pytest.raises(Unreadable):
            decode(body, SpendRate)


# As a host in Go sends it: null for each empty map and list.
BARE = {
    "deployment": {"id": {"owner": None, "dseq": "1"}, "state": "active", "hash": None},
    "leases": [
        {
            "id": {"dseq": "1", "provider": "akash1x", "gseq": 1, "oseq": 1, "bseq": None},
            "state": "active",
            "price": {"denom": "uact", "amount": "1.000000000000000000"},
            "closed_on": "0",
            "reason": None,
            "status": {"services": {"a": None}, "forwarded_ports": None, "ips": None},
        },
        None,
    ],
    "escrow_account": None,
    "name": None,
    "consoleSettings": None,
}


def test_nulls_where_hosts_put_them() -> None:
    there = decode(json.dumps(BARE).encode(), Deployment)
    (lease,) = there.leases
    assert lease.status is not None
    assert lease.status.services == {}
    assert not lease.status.is_available
    assert there.escrow_account.state.funds == ()
    assert not there.is_closed


@pytest.mark.parametrize("state", ["", "Closed", "closing", "gone"])
def test_only_closed_is_closed(state: str) -> None:
    answer = {"deployment": {"id": {"dseq": "1"}, "state": state}}
    assert not decode(json.dumps(answer).encode(), Deployment).is_closed


@pytest.mark.parametrize("amount", ['"12.5"', "12.5"])
def test_the_spend_rate_comes_as_text_or_number(amount: str) -> None:
    price = f'{{"denom": "uact", "amount": {amount}}}'
    body = f'{{"deployments": [{{"dseq": "1", "price": {price}}}]}}'
    assert str(decode(body.encode(), SpendRate).deployments[0].price.amount) == "12.5"


@pytest.mark.parametrize("amount", ["NaN", "Infinity", "-Infinity", "sNaN", "1e999999", "", "1,5"])
def test_what_is_no_amount_is_refused(amount: str) -> None:
    body = json.dumps({"deployments": [{"dseq": "1", "price": {"denom": "u", "amount": amount}}]})
    with pytest.raises(Unreadable):
        decode(body.encode(), SpendRate)
