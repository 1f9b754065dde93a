"""The doctor over an account that pays: what is open there and in no row, and the reverse."""

from datetime import datetime, timedelta
from decimal import Decimal

import msgspec
import pytest

from tests.support.console import renting
from tests.support.console.faults import lost
from tests.support.console.ingress import Ingress
from tests.support.console.server import ConsoleServer
from tests.support.console.world import World
from toolkit import paths
from toolkit.deploy.akash.orders import OrderState
from toolkit.deploy.base import State
from toolkit.deploy.doctor import Diagnosis, diagnose, settle
from toolkit.deploy.keeper import Keeper
from toolkit.errors import DeadlineError, ReplyLost


async def healed(keeper: Keeper) -> list[Diagnosis]:
    """What the doctor found and settled."""
    found = await diagnose(keeper, look_again_s=0.001)
    for diagnosis in found:
        await settle(keeper, diagnosis)
    return found


async def test_where_all_is_well_it_finds_nothing(keeper: Keeper) -> None:
    await keeper.apply(renting.plan(renting.intent()))
    assert await diagnose(keeper) == []


async def test_a_deployment_that_no_row_knows_is_ended_and_written_down(
    keeper: Keeper, world: World
) -> None:
    record = await keeper.apply(renting.plan(renting.intent()))
    world.advance(50)
    keeper.ledger.path.unlink()
    for ending in ("-wal", "-shm"):
        keeper.ledger.path.with_name(keeper.ledger.path.name + ending).unlink(missing_ok=True)
    (found,) = await healed(keeper)
    assert "open at the Console" in found.what
    assert renting.is_clean(world)
    (order,) = renting.orders(keeper).all()
    assert order.uid == record.uid and order.state is OrderState.CLOSED
    assert order.spent == next(iter(world.deployments.values())).purse.paid
    assert keeper.ledger.open_records() == []
    assert await diagnose(keeper) == []


async def test_deployments_of_another_home_are_let_alone(keeper: Keeper, world: World) -> None:
    await keeper.apply(renting.plan(renting.intent()))
    keeper.ledger.path.unlink()
    (paths.home() / "home-id").write_text("0123abcd")
    assert await diagnose(keeper) == []
    assert not renting.is_clean(world)


async def test_a_row_whose_deployment_the_account_has_closed(keeper: Keeper, world: World) -> None:
    await keeper.apply(renting.plan(renting.intent()))
    (there,) = world.deployments.values()
    world.advance(10)
    world.close(there.dseq)
    (found,) = await healed(keeper)
    assert "closed" in found.what
    (order,) = renting.orders(keeper).all()
    assert order.state is OrderState.CLOSED and order.spent == there.purse.paid > 0


async def test_a_row_that_the_account_does_not_know(keeper: Keeper, world: World) -> None:
    await keeper.apply(renting.plan(renting.intent()))
    world.deployments.clear()
    (found,) = await healed(keeper)
    assert "does not know" in found.what
    assert keeper.ledger.open_records() == []


async def test_a_lease_that_ended_leaves_no_deposit_behind(keeper: Keeper, world: World) -> None:
    await keeper.apply(renting.plan(renting.intent()))
    (there,) = world.deployments.values()
    world.lose_lease(there.dseq)
    (found,) = await healed(keeper)
    assert "unstable" in found.what
    assert renting.is_clean(world)


async def test_a_lease_that_bills_with_nothing_behind_it(
    keeper: Keeper, world: World, ingress: Ingress
) -> None:
    await keeper.apply(renting.plan(renting.intent()))
    ingress.is_down = True
    assert await diagnose(keeper, look_again_s=0.001) == []  # its containers run: it may come back
    (there,) = world.deployments.values()
    there.leases[0].manifest_at = world.height + 10_000
    (found,) = await healed(keeper)
    assert "bills" in found.what
    assert renting.is_clean(world)


async def test_an_order_whose_answer_was_lost_is_settled_when_it_is_sure(
    keeper: Keeper, world: World, server: ConsoleServer
) -> None:
    server.script.add(lost("POST", "/v1/deployments", after=False))
    with pytest.raises(ReplyLost):
        await keeper.apply(renting.plan(renting.intent()))
    (record,) = keeper.ledger.open_records()
    assert record.state is State.CLOSING
    with pytest.raises(ReplyLost, match="lost"):
        await healed(keeper)
    _grow_older(keeper, timedelta(minutes=15))
    await healed(keeper)
    (order,) = renting.orders(keeper).all()
    assert order.state is OrderState.NEVER
    assert keeper.ledger.open_records() == [] and not world.deployments


async def test_what_was_gone_on_with_meanwhile_is_not_closed(
    keeper: Keeper, server: ConsoleServer, world: World
) -> None:
    server.script.add(*[lost("DELETE", "/v1/deployments/", after=False)] * 9)
    await keeper.apply(renting.plan(renting.intent()))
    keeper.ledger.move(keeper.record("mine").uid, State.CLOSING, error="somebody died")
    (found,) = await diagnose(keeper)
    server.script.clear()
    again = await keeper.apply(renting.plan(renting.intent()))
    await settle(keeper, found)
    assert keeper.record("mine") == again
    assert sum(each.is_active for each in world.deployments.values()) == 1


async def test_ending_a_stray_that_takes_too_long_is_an_error_with_a_next_step(
    server: ConsoleServer, ingress: Ingress, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = msgspec.structs.replace(renting.HASTE, settle_s=600, settle_poll_s=0.05)
    keeper = renting.keeper(server, pace=slow)
    record = await keeper.apply(renting.plan(renting.intent()))
    orders = renting.orders(keeper)
    orders.add(record.uid, label="mine", sdl=record.sdl, is_successor=True)
    (found,) = await diagnose(keeper)
    monkeypatch.setattr("toolkit.deploy.keeper.CLOSE_DEADLINE_S", 0.5)
    with pytest.raises(DeadlineError, match="doctor"):
        await settle(keeper, found)


async def test_a_lost_successor_keeps_no_lease_from_being_closed(
    keeper: Keeper, server: ConsoleServer, world: World
) -> None:
    await keeper.apply(renting.plan(renting.intent()))
    server.script.add(lost("POST", "/v1/deployments", after=False))
    with pytest.raises(ReplyLost):
        await keeper.apply(renting.plan(renting.intent(parallel=8), cpu=8), replace=True)
    with pytest.raises(ReplyLost):
        await keeper.close("mine")
    assert renting.is_clean(world)


async def test_one_that_was_taken_for_never_made_is_found_beside_another(
    keeper: Keeper, world: World
) -> None:
    await keeper.apply(renting.plan(renting.intent()))
    orders = renting.orders(keeper)
    (late,) = orders.all()
    orders.never(late)
    with keeper.ledger.writing() as db:
        db.execute("UPDATE deployments SET handle = '{}', state = 'opening'")
    await keeper.apply(renting.plan(renting.intent()))
    assert sum(each.is_active for each in world.deployments.values()) == 2
    await healed(keeper)
    assert sum(each.is_active for each in world.deployments.values()) == 1
    assert await diagnose(keeper) == []


async def test_what_cost_as_much_as_it_may_is_ended(keeper: Keeper, world: World) -> None:
    await keeper.apply(renting.plan(renting.intent(max_usd_total=Decimal("0.05"))))
    world.advance(10)
    assert await diagnose(keeper) == []
    world.advance(60)
    (there,) = world.deployments.values()
    there.purse.settle(world.height)
    (found,) = await healed(keeper)
    assert "$0.05" in found.what
    assert renting.is_clean(world)


async def test_what_nobody_asks_is_ended(keeper: Keeper, ingress: Ingress, world: World) -> None:
    await keeper.apply(renting.plan(renting.intent(idle_minutes=5)))
    ingress.idle_s = 1000.0
    assert await diagnose(keeper) == []  # it is not that old itself
    _grow_older(keeper, timedelta(minutes=10))
    (found,) = await healed(keeper)
    assert "nobody has asked" in found.what
    assert renting.is_clean(world)


def _grow_older(keeper: Keeper, by: timedelta) -> None:
    """As if all of it had happened earlier."""
    with keeper.ledger.writing() as db:
        for table, column in (("orders", "sent_at"), ("deployments", "updated_at")):
            for rowid, at in db.execute(f"SELECT rowid, {column} FROM {table}").fetchall():
                earlier = (datetime.fromisoformat(at) - by).isoformat()
                db.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (earlier, rowid))
