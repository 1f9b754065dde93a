"""What providers, their bids and the clock do to a deploy, and what comes of it."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import stamina

from tests.support.console import renting, replies
from tests.support.console.chaos import CREATE, LEASE, PACE, Chaos, Kill, fault
from tests.support.console.faults import Fault
from tests.support.console.states import Generation, Host
from tests.support.console.wall_clock import WallClock
from toolkit.deploy.akash.orders import OrderState
from toolkit.deploy.base import State, Update

SURE = msgspec.structs.replace(PACE, never_after_s=720.0)


@pytest.fixture
def chaos(chaos: Chaos) -> Iterator[Chaos]:
    chaos.most_at_once = 1
    yield chaos
    chaos.settle()


def active(chaos: Chaos) -> list[str]:
    """The hosts that are paid."""
    return [
        lease.provider for each in chaos.world.deployments.values() for lease in each.active_leases
    ]


def at(chaos: Chaos, phase: str, do: Callable[[], object]) -> None:
    """Do it once, when a deploy comes to that phase."""
    done: list[str] = []

    def watch(update: Update) -> None:
        if update.phase == phase and not done:
            done.append(phase)
            do()

    chaos.watch = watch


# -- bids ---------------------------------------------------------------------------


def told(change: Callable[[dict[str, Any]], None]) -> Callable[..., dict[str, Any]]:
    """The bids of `akash1a` as changed, those of others as they are."""
    plain = replies.bid

    def bid(*args: Any) -> dict[str, Any]:
        reply = plain(*args)
        if reply["bid"]["id"]["provider"] == "akash1a":
            change(reply["bid"])
        return reply

    return bid


def priced(denom: str, amount: str) -> Callable[[dict[str, Any]], None]:
    return lambda bid: bid.update(price={"denom": denom, "amount": amount})


def smaller(bid: dict[str, Any]) -> None:
    bid["resources_offer"][0]["resources"]["memory"]["quantity"] = {"val": "1000"}


@pytest.mark.parametrize(
    "change",
    [
        priced("uakt", "1"),
        priced("uact", "1612"),  # a cent an hour over the cap
        priced("uact", "0"),
        priced("uact", "-5"),
        smaller,
        lambda bid: bid.update(state="lost"),
        lambda bid: bid.update(resources_offer=[]) or bid.update(state="closed"),
    ],
    ids=["another coin", "over the cap", "for nothing", "below nothing", "smaller", "lost", "gone"],
)
def test_a_bid_that_will_not_do_is_not_taken(
    chaos: Chaos, monkeypatch: pytest.MonkeyPatch, change: Callable[[dict[str, Any]], None]
) -> None:
    monkeypatch.setattr(replies, "bid", told(change))
    chaos.deploy("one")
    assert chaos.outcomes == {"deploy: done": 1} and active(chaos) == ["akash1b"]


def test_where_no_bid_will_do_nothing_is_rented(
    chaos: Chaos, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replies, "bid", told(priced("uact", "5000")))
    chaos.world.hosts = {"akash1a": chaos.world.hosts["akash1a"]}
    chaos.deploy("one")
    assert chaos.outcomes == {"deploy: CapacityError": 1}
    assert not any(each.leases for each in chaos.world.deployments.values())


def test_bids_that_lie_about_their_gpu_are_not_taken(chaos: Chaos) -> None:
    """They bid for whatever is asked, and have something else."""
    wished, other = "vendor/nvidia/model/h100/ram/80Gi", "vendor/nvidia/model/t4/ram/16Gi"
    liars = [
        Host(address=f"akash1{x}", price=Decimal(5), gpu=other, bids_blindly=True) for x in "xy"
    ]
    honest = Host(address="akash1z", price=Decimal(1500), gpu=wished, gateway=renting.NOWHERE)
    chaos.world.hosts = {host.address: host for host in (*liars, honest)}
    chaos.gpu = "h100"
    chaos.deploy("one")
    assert chaos.outcomes == {"deploy: done": 1} and active(chaos) == ["akash1z"]


def test_bids_that_end_before_one_is_taken_are_made_anew(chaos: Chaos) -> None:
    method, path = LEASE
    chaos.server.script.add(Fault(method=method, path=path, do=lambda: chaos.world.advance(60)))
    chaos.deploy("one")
    assert chaos.outcomes == {"deploy: done": 1}
    first, second = chaos.orders.all()
    assert (first.state, second.state) == (OrderState.CLOSED, OrderState.LEASED)


def test_one_who_comes_back_to_bids_that_ended_gets_new_ones(chaos: Chaos) -> None:
    """A program died while the bids came in, and six minutes go by until the next."""
    chaos.deploy("one", kill=Kill(5))
    (order,) = chaos.orders.all()
    assert order.state is OrderState.PLACED
    chaos.world.advance(60)
    chaos.deploy("one")
    assert chaos.outcomes == {"deploy: killed": 1, "deploy: done": 1}


def test_a_lease_that_went_to_another_is_closed(chaos: Chaos) -> None:
    """The same request only sends the manifest again where there is a lease already."""

    def taken() -> None:
        (each,) = chaos.world.deployments.values()
        choice = {"dseq": each.dseq, "gseq": 1, "oseq": 1, "provider": "akash1d"}
        chaos.world.lease([choice], each.manifest)

    method, path = LEASE
    chaos.server.script.add(Fault(method=method, path=path, do=taken))
    chaos.deploy("one")
    first, second = chaos.orders.all()
    assert first.failure is not None and "the lease is with akash1d" in first.failure
    assert active(chaos) == [str(second.provider)] != ["akash1d"]


# -- providers ----------------------------------------------------------------------


def lose(chaos: Chaos) -> None:
    """Every lease there is ends."""
    for each in chaos.world.deployments.values():
        if each.active_leases:
            chaos.world.lose_lease(each.dseq)


@pytest.mark.parametrize("phase", ["services", "model"])
def test_a_provider_that_ends_the_lease_is_left_for_another(chaos: Chaos, phase: str) -> None:
    chaos.ingress.is_loading = phase == "model"

    def end() -> None:
        lose(chaos)
        chaos.ingress.is_loading = False

    at(chaos, phase, end)
    chaos.deploy("one")
    assert chaos.outcomes == {"deploy: done": 1} and active(chaos) == ["akash1b"]
    first, _ = chaos.orders.all()
    assert first.failure is not None and "unstable" in first.failure


def test_a_provider_that_says_nothing_any_more_is_left_for_another(chaos: Chaos) -> None:
    at(chaos, "services", lambda: chaos.world.silent.add("akash1a"))
    chaos.deploy("one")
    assert chaos.outcomes == {"deploy: done": 1} and active(chaos) == ["akash1b"]


def test_a_model_that_is_never_loaded_costs_no_more_than_the_deadline(chaos: Chaos) -> None:
    chaos.ingress.is_loading = True
    chaos.deadline_s = 1.5
    chaos.deploy("one")
    assert chaos.outcomes == {"deploy: DeadlineError": 1} and active(chaos) == []
    assert chaos.keeper.ledger.open_records() == []


@pytest.mark.parametrize("reason", ["unstable", "decommission", "unspecified"])
def test_a_provider_that_dies_after_an_hour_costs_an_hour(chaos: Chaos, reason: str) -> None:
    chaos.deploy("one")
    chaos.world.advance(600)
    (each,) = chaos.world.deployments.values()
    chaos.world.lose_lease(each.dseq, f"lease_closed_reason_{reason}")
    paid = each.purse.paid
    chaos.world.advance(600)
    chaos.doctor()
    (order,) = chaos.orders.all()
    assert order.state is OrderState.CLOSED and order.spent == paid >= 600_000


@pytest.mark.parametrize("generation", list(Generation))
def test_at_the_end_of_its_hours_it_ends_by_itself(tmp_path: Path, generation: Generation) -> None:
    """With nobody there to see to it, and for no more than was agreed on."""
    with stamina.set_testing(True, attempts=2), Chaos(tmp_path, generation) as chaos:
        chaos.deploy("one")
        (each,) = chaos.world.deployments.values()
        chaos.world.advance(5000)
        assert not each.is_active and each.purse.paid <= 2_000_000
        chaos.doctor()
        (order,) = chaos.orders.all()
        assert order.state is OrderState.CLOSED and order.spent == each.purse.paid
        chaos.settle()


def test_money_that_runs_out_is_all_that_is_lost(chaos: Chaos) -> None:
    chaos.world.balance = Decimal(520_000)
    chaos.began = chaos.world.total
    chaos.deploy("one")
    chaos.world.advance(1000)
    chaos.doctor()
    (order,), (each,) = chaos.orders.all(), chaos.world.deployments.values()
    assert order.spent == each.purse.paid == 520_000


# -- the clock ----------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> WallClock:
    return WallClock(monkeypatch)


@pytest.mark.parametrize("by", [timedelta(days=1), timedelta(days=-1)], ids=["ahead", "back"])
@pytest.mark.parametrize("phase", ["order", "bids", "lease", "services", "model"])
def test_a_clock_that_jumps_while_it_is_deployed(
    chaos: Chaos, clock: WallClock, phase: str, by: timedelta
) -> None:
    at(chaos, phase, lambda: clock.jump(by))
    chaos.deploy("one")
    assert chaos.outcomes == {"deploy: done": 1}
    chaos.deploy("one")
    assert len(chaos.world.deployments) == 1
    chaos.world.advance(50)
    chaos.close("one")
    (order,), (each,) = chaos.orders.all(), chaos.world.deployments.values()
    assert order.spent == each.purse.paid


@pytest.mark.parametrize("by", [timedelta(days=1), timedelta(days=-1)], ids=["ahead", "back"])
@pytest.mark.parametrize("phase", ["order", "after"])
def test_a_clock_that_is_wrong_ends_nothing_for_its_cost(
    chaos: Chaos, clock: WallClock, phase: str, by: timedelta
) -> None:
    """What a lease costs is reckoned by the Console's time, not by this machine's."""
    at(chaos, phase, lambda: clock.jump(by))
    chaos.total = Decimal("0.05")
    chaos.deploy("one")
    if phase == "after":
        clock.jump(by)
    elif by > timedelta():  # set right again, long after
        clock.jump(-by)
    (seen,) = asyncio.run(chaos.keeper.status())
    assert seen.spend is not None and 0 <= seen.spend.spent_usd < Decimal("0.05")
    chaos.doctor()
    assert len(active(chaos)) == 1


@pytest.mark.parametrize("by", [timedelta(days=1), timedelta(days=-1)], ids=["ahead", "back"])
def test_a_clock_that_jumps_after_a_failure_costs_no_more(
    chaos: Chaos, clock: WallClock, by: timedelta
) -> None:
    """What failed orders cost is known from the account, not reckoned by the clock."""
    chaos.world.deaf.add("akash1a")
    at(chaos, "again", lambda: clock.jump(by))
    chaos.deploy("one")
    assert chaos.outcomes == {"deploy: done": 1}
    assert active(chaos)[0] in ("akash1b", "akash1a")


def test_an_order_that_was_lost_is_not_stuck_for_a_day_by_a_clock_that_goes_back(
    chaos: Chaos, clock: WallClock
) -> None:
    chaos.pace = SURE
    chaos.server.script.add(fault(CREATE, "lost", after=False))
    chaos.deploy("one")
    chaos.deploy("one")
    assert chaos.outcomes == {"deploy: ReplyLost": 2} and not chaos.world.deployments
    clock.jump(timedelta(days=-1))
    chaos.deploy("one")
    assert chaos.outcomes["deploy: done"] == 1 and len(chaos.world.deployments) == 1


def test_an_order_that_a_clock_gives_up_too_soon_is_found_by_its_name(
    chaos: Chaos, clock: WallClock
) -> None:
    """It comes into being after all: late, and when the books say that it never did."""
    chaos.pace = SURE
    chaos.server.script.add(fault(CREATE, "lost", after=False))
    chaos.deploy("one")
    (order,) = chaos.orders.all()
    clock.jump(timedelta(days=1))
    chaos.doctor()
    (given_up,) = chaos.orders.all()
    assert given_up.state is OrderState.NEVER
    chaos.world.create({"sdl": order.sdl, "name": order.name, "runtimeLimitHours": 2})
    chaos.doctor()
    (found,) = chaos.orders.all()
    assert found.state is OrderState.CLOSED
    assert not any(each.is_active for each in chaos.world.deployments.values())


def test_an_order_whose_answer_is_lost_while_the_clock_jumps_is_made_anew(
    chaos: Chaos, clock: WallClock
) -> None:
    """Never made, it is found out while it is looked for."""
    chaos.pace = SURE
    chaos.server.script.add(fault(CREATE, "lost", after=False))
    method, path = "GET", "/v1/deployments"
    jump = Fault(method=method, path=path, do=lambda: clock.jump(timedelta(days=1)))
    chaos.server.script.add(jump)
    chaos.deploy("one")
    assert [order.state for order in chaos.orders.all()] == [OrderState.NEVER, OrderState.LEASED]
    assert [record.state for record in chaos.keeper.ledger.open_records()] == [State.READY]
