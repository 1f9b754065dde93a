"""An endpoint that runs is changed: in place, or by another one that is there first."""

from contextlib import nullcontext
from decimal import Decimal

import pytest

from tests.support.console import renting
from tests.support.console.faults import CUT, Fault, answered, lost
from tests.support.console.ingress import Ingress
from tests.support.console.server import ConsoleServer
from tests.support.console.world import World
from toolkit.deploy.akash.orders import OrderState
from toolkit.deploy.base import Action, Health, State, Update
from toolkit.deploy.doctor import diagnose, settle
from toolkit.deploy.keeper import Keeper
from toolkit.errors import (
    DeadlineError,
    EndpointError,
    ReplyLost,
    RequestRefused,
    ToolkitError,
    UsageError,
)


async def test_another_image_is_an_update_in_place(
    keeper: Keeper, world: World, server: ConsoleServer
) -> None:
    first = await keeper.apply(renting.plan(renting.intent()))
    wanted = renting.intent(image="example.org/akash-llm-server:2", context=4096)
    updates: list[Update] = []
    second = await keeper.apply(renting.plan(wanted), replace=True, progress=updates.append)
    assert second.uid == first.uid and second.intent == wanted
    (there,) = world.deployments.values()
    assert there.sdl.services["llm"].image.endswith(":2")
    assert there.sdl.services["llm"].environment["AKASH_LLM_CONTEXT"] == "4096"
    assert "update" in renting.phases(updates)
    assert server.count("PATCH", f"/v1/deployments/{there.dseq}") == 1


async def test_without_being_told_to_nothing_is_changed(keeper: Keeper) -> None:
    await keeper.apply(renting.plan(renting.intent()))
    with pytest.raises(UsageError, match=r"runs already.*image"):
        await keeper.apply(renting.plan(renting.intent(image="example.org/other:2")))


async def test_more_cores_take_another_lease_which_comes_first(
    keeper: Keeper, world: World, ingress: Ingress
) -> None:
    first = await keeper.apply(renting.plan(renting.intent()))
    wanted = renting.intent(parallel=8)
    plan = renting.plan(wanted, cpu=8)
    second = await keeper.apply(plan, replace=True)
    assert second.uid == first.uid and second.intent == wanted and second.state is State.READY
    old, new = renting.orders(keeper).of(first.uid)
    assert (old.state, new.state) == (OrderState.CLOSED, OrderState.LEASED)
    assert not new.is_successor
    assert old.leased_at is not None and new.leased_at is not None
    ended = world.deployments[str(old.dseq)].leases[0].closed_on
    assert ended > world.deployments[str(new.dseq)].leases[0].height
    await keeper.close("mine")
    assert not any(each.is_active for each in world.deployments.values())


async def test_one_that_cannot_be_replaced_stays(keeper: Keeper, world: World) -> None:
    first = await keeper.apply(renting.plan(renting.intent()))
    world.deaf |= set(world.hosts)
    with pytest.raises(EndpointError, match="attempts failed"):
        await keeper.apply(renting.plan(renting.intent(parallel=8), cpu=8), replace=True)
    record = keeper.ledger.find("mine")
    assert record is not None and record.intent == first.intent and record.url == first.url
    (order,) = renting.orders(keeper).open_of(first.uid)
    assert [each.dseq for each in world.deployments.values() if each.is_active] == [order.dseq]


async def test_an_answer_to_an_update_that_is_lost(
    keeper: Keeper, world: World, server: ConsoleServer
) -> None:
    await keeper.apply(renting.plan(renting.intent()))
    (there,) = world.deployments.values()
    server.script.add(lost("PATCH", f"/v1/deployments/{there.dseq}", after=True))
    wanted = renting.intent(image="example.org/akash-llm-server:2")
    assert (await keeper.apply(renting.plan(wanted), replace=True)).intent == wanted


async def test_a_lost_answer_to_an_update_and_a_failing_look_leave_it_open_what_runs(
    keeper: Keeper, world: World, server: ConsoleServer
) -> None:
    """The books do not say that nothing has happened; the doctor sees to it."""
    await keeper.apply(renting.plan(renting.intent()))
    (there,) = world.deployments.values()
    path = f"/v1/deployments/{there.dseq}"
    fail = Fault(
        method="PATCH",
        path=path,
        after=True,
        answer=CUT,
        do=lambda: server.script.add(*[answered("GET", path, 503)] * 99),
    )
    server.script.add(fail)
    wanted = renting.plan(renting.intent(image="example.org/akash-llm-server:2"))
    with pytest.raises(ReplyLost):
        await keeper.apply(wanted, replace=True)
    server.script.clear()
    (seen,) = await keeper.status()
    assert seen.health is Health.NOT_READY and "not known" in seen.detail
    (found,) = await diagnose(keeper, look_again_s=0.001)
    assert (found.name, found.remedy) == ("mine", "see that it runs what the books say")
    await settle(keeper, found)
    assert there.sdl.services["llm"].image.endswith(":1") and there.is_active
    assert await diagnose(keeper, look_again_s=0.001) == []
    assert (await keeper.status())[0].health is Health.READY


@pytest.mark.parametrize("status", [404, 502, 503])
async def test_what_answers_while_the_containers_change_is_waited_for(
    keeper: Keeper, world: World, ingress: Ingress, status: int
) -> None:
    """The old container does not know the new model; the ingress has nobody behind it."""
    await keeper.apply(renting.plan(renting.intent()))
    ingress.refusals = [status] * 3
    wanted = renting.intent(model="qwen2.5:0.5b")
    updates: list[Update] = []
    record = await keeper.apply(renting.plan(wanted), replace=True, progress=updates.append)
    assert record.intent == wanted and ingress.refusals == []
    assert "update" in renting.phases(updates) and len(world.deployments) == 1


@pytest.mark.parametrize(("status", "is_final"), [(404, True), (502, False)])
async def test_what_a_new_endpoint_refuses_is_final_unless_it_is_the_ingress(
    keeper: Keeper, world: World, ingress: Ingress, status: int, is_final: bool
) -> None:
    ingress.refusals = [status]
    with pytest.raises(RequestRefused) if is_final else nullcontext():
        await keeper.apply(renting.plan(renting.intent()))
    assert renting.is_clean(world) is is_final and len(world.deployments) == 1


async def test_an_update_that_does_not_answer_is_taken_back(
    keeper: Keeper, world: World, ingress: Ingress
) -> None:
    first = await keeper.apply(renting.plan(renting.intent()))

    def stall(update: Update) -> None:
        ingress.is_loading = update.phase in ("update", "services", "model")

    wanted = renting.plan(renting.intent(image="example.org/akash-llm-server:2"))
    with pytest.raises(DeadlineError):
        await keeper.apply(wanted, replace=True, progress=stall, deadline_s=1)
    (there,) = world.deployments.values()
    assert there.sdl.services["llm"].image.endswith(":1")
    record = keeper.ledger.find("mine")
    assert record is not None and record.intent == first.intent and record.state is State.READY
    (order,) = renting.orders(keeper).of(first.uid)
    assert ":1" in order.sdl and there.is_active


@pytest.mark.parametrize(
    "given", [{"max_usd_per_hour": Decimal("0.30")}, {"runtime_hours": 1}], ids=["price", "hours"]
)
async def test_less_than_the_lease_costs_takes_another_one(
    keeper: Keeper, world: World, given: dict[str, object]
) -> None:
    await keeper.apply(renting.plan(renting.intent()))
    record, plan = keeper.record("mine"), renting.plan(renting.intent(**given))
    target = keeper.target("console")
    assert target.action(record, plan) is Action.REPLACE  # type: ignore[attr-defined]


async def test_an_update_that_fails_leaves_no_longer_runtime(
    keeper: Keeper, world: World, ingress: Ingress
) -> None:
    await keeper.apply(renting.plan(renting.intent()))
    wanted = renting.intent(image="example.org/akash-llm-server:2", runtime_hours=40)

    def stall(update: Update) -> None:
        ingress.is_loading = update.phase in ("update", "services", "model")

    with pytest.raises(DeadlineError):
        await keeper.apply(renting.plan(wanted), replace=True, progress=stall, deadline_s=1)
    (there,) = world.deployments.values()
    assert there.runtime_limit == 2


async def test_a_new_lease_that_fails_is_not_left_beside_a_ready_row(
    keeper: Keeper, world: World, ingress: Ingress
) -> None:
    await keeper.apply(renting.plan(renting.intent()))
    ingress.is_down = True
    (first,) = world.deployments.values()

    def lose(update: Update) -> None:
        if update.phase == "model" and first.active_leases:
            world.lose_lease(first.dseq)

    with pytest.raises(ToolkitError):  # the deadline, or before it the end of the agreed hours
        await keeper.apply(renting.plan(renting.intent()), progress=lose, deadline_s=2)
    assert len(world.deployments) > 1
    assert not any(each.is_active for each in world.deployments.values())


async def test_raising_a_cap_is_asked_for_and_takes_no_other_lease(
    keeper: Keeper, world: World
) -> None:
    await keeper.apply(renting.plan(renting.intent()))
    wanted = renting.intent(max_usd_per_hour=Decimal(2), runtime_hours=5)
    plan = renting.plan(wanted)
    target = keeper.target("console")
    record = keeper.record("mine")
    assert target.action(record, plan) is Action.UPDATE  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="max_usd_per_hour 1 → 2"):
        await keeper.apply(plan)
    await keeper.apply(plan, replace=True)
    (there,) = world.deployments.values()
    assert there.runtime_limit == 5
