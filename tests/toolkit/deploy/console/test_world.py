"""The world behind the stand-in: its clocks, and that it neither makes nor loses money."""

from decimal import Decimal

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.support.console import samples
from tests.support.console.states import Deployment, Generation, Refusal
from tests.support.console.world import World

ORDER = {"sdl": samples.SDL, "name": "n", "deposit": 1}


def leased(world: World, *, hours: int | None = None) -> Deployment:
    limit = {} if hours is None else {"runtimeLimitHours": hours}
    made = world.create({**ORDER, **limit})
    world.advance(1)
    world.lease([choice(made)], made.manifest)
    return made


def choice(made: Deployment) -> dict[str, object]:
    return {"dseq": made.dseq, "gseq": 1, "provider": samples.CHEAP.address}


def test_the_console_rewrites_the_order(world: World) -> None:
    """Prices become uact as they are, and its auditor is asked for: the unaudited host that
    is cheapest does not bid."""
    made = world.create(ORDER)
    assert made.groups[0].cap == 2000
    world.advance(3)
    assert samples.UNAUDITED.address not in {bid.provider for bid in made.bids}
    (placement,) = made.sdl.profiles.placement.values()
    assert placement.pricing["llm"].denom == "uact"
    assert placement.signed_by.any_of


def test_a_bid_lives_five_minutes_and_an_order_ten(world: World) -> None:
    made = world.create(ORDER)
    world.advance(50)
    assert {bid.state for bid in made.bids if bid.provider == samples.CHEAP.address} == {"open"}
    world.advance(1)
    assert {bid.state for bid in made.bids if bid.provider == samples.CHEAP.address} == {"closed"}
    with pytest.raises(Refusal, match="bid not open"):
        world.lease([choice(made)], None)
    world.advance(49)
    assert not made.is_active
    assert world.balance == 100_000_000


def test_the_runtime_limit_ends_it(world: World) -> None:
    made = leased(world, hours=1)
    world.advance(599)
    assert made.is_active
    world.advance(1)
    assert not made.is_active
    assert world.balance == 100_000_000 - 600 * 1000


def test_a_purse_runs_dry(world: World) -> None:
    """A lease is funded for 48 h from the newer Console's start, and then it is over."""
    made = leased(world)
    world.advance(48 * 600 - 1)
    assert made.is_active
    world.advance(1)
    assert made.leases[0].state == "insufficient_funds"
    assert made.purse.state == "overdrawn"


def test_a_host_without_a_manifest_gives_up(world: World) -> None:
    made = world.create(ORDER)
    world.advance(1)
    world.deaf.add(samples.CHEAP.address)
    with pytest.raises(Refusal, match="not delivered"):
        world.lease([choice(made)], None)
    world.advance(50)
    assert made.leases[0].reason == "lease_closed_reason_manifest_timeout"
    assert made.is_active


def test_what_the_purse_shows_is_old(world: World) -> None:
    made = leased(world)
    world.advance(100)
    assert made.purse.paid == 100_000
    assert made.purse.shown_paid == 0
    world.close(made.dseq)
    assert made.purse.shown_paid == 100_000


def test_a_lost_lease_leaves_the_deployment(world: World) -> None:
    made = leased(world)
    world.lose_lease(made.dseq)
    assert made.is_active
    assert made.price == 0


class Money(RuleBasedStateMachine):
    """Whatever is done, and whatever is refused: all money is somewhere."""

    @property
    def some(self) -> list[str]:
        return list(self.world.deployments)

    def __init__(self) -> None:
        super().__init__()
        self.world = World(balance_usd=40, hosts=samples.HOSTS)
        self.total = self.world.total

    @rule(generation=st.sampled_from(Generation))
    def change_generation(self, generation: Generation) -> None:
        self.world.generation = generation

    @rule(hours=st.none() | st.integers(1, 48))
    def create(self, hours: int | None) -> None:
        try:
            self.world.create({**ORDER, "runtimeLimitHours": hours})
        except Refusal as refusal:
            assert refusal.status == 402

    @rule(blocks=st.integers(1, 400))
    def wait(self, blocks: int) -> None:
        self.world.advance(blocks)

    @rule(data=st.data())
    def lease(self, data: st.DataObject) -> None:
        for dseq in self.drawn(data):
            made = self.world.deployments[dseq]
            open_bids = [bid for bid in made.bids if bid.state == "open"]
            for bid in open_bids[:1]:
                named = {"dseq": dseq, "gseq": 1, "provider": bid.provider}
                self.world.lease([named], made.manifest)

    @rule(data=st.data(), usd=st.integers(1, 20))
    def deposit(self, data: st.DataObject, usd: int) -> None:
        for dseq in self.drawn(data):
            try:
                self.world.deposit(dseq, usd)
            except Refusal as refusal:
                assert refusal.status in (400, 402)

    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        for dseq in self.drawn(data):
            self.world.close(dseq)
            assert not self.world.deployments[dseq].is_active

    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        for dseq in self.drawn(data):
            self.world.lose_lease(dseq)

    def drawn(self, data: st.DataObject) -> list[str]:
        """One of the deployments, if there are any."""
        return [data.draw(st.sampled_from(self.some))] if self.some else []

    @invariant()
    def nothing_is_lost(self) -> None:
        assert self.world.total == self.total
        purses = [made.purse for made in self.world.deployments.values()]
        assert min([self.world.balance, *(purse.funds for purse in purses)]) >= Decimal(0)

    @invariant()
    def what_is_closed_costs_nothing(self) -> None:
        closed = [made for made in self.world.deployments.values() if not made.is_active]
        assert not any(made.active_leases or made.purse.funds for made in closed)


Money.TestCase.settings = settings(max_examples=30, stateful_step_count=20)
TestMoney = Money.TestCase
