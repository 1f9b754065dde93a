"""Answers that are lost, late or not the Console's: what is sent again and what never is."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest
import stamina

from tests.support import ports
from tests.support.console import samples
from tests.support.console.faults import CHALLENGE, Canned, Fault, answered, held, lost
from tests.support.console.server import ConsoleServer
from tests.support.console.world import World
from toolkit.deploy.console.bids import Choice
from toolkit.deploy.console.client import ConsoleClient
from toolkit.deploy.console.updates import NewDeployment, Patch
from toolkit.errors import EndpointError, ReplyLost, RequestRefused

ORDER = NewDeployment(sdl=samples.SDL, name="once-1", runtime_limit_hours=1)
CREATE = ("POST", "/v1/deployments")
LEASE = ("POST", "/v1/leases")


@pytest.mark.parametrize("after", [False, True])
async def test_an_order_whose_answer_is_lost_is_found_by_its_name(
    console: ConsoleClient, server: ConsoleServer, after: bool
) -> None:
    server.script.add(lost(*CREATE, after=after))
    with pytest.raises(ReplyLost) as caught:
        await console.create(ORDER)
    assert "name" in caught.value.hint
    assert caught.value.exit_code == 7
    assert server.count(*CREATE) == 1
    assert len(await console.deployments(search="once-1")) == int(after)


@pytest.mark.parametrize(
    "answer",
    [
        Canned(500, b'{"message": "oops", "code": "internal_server_error"}'),
        Canned(502, b"<html>Bad gateway</html>"),
        Canned(503, b'{"message": "busy", "code": "service_unavailable"}'),
        Canned(504, b""),
        Canned(201, b"<html>"),
        Canned(201, b'{"data": {}}'),
        Canned(200, b"[" * 100_000),
    ],
)
async def test_an_order_with_an_answer_that_proves_nothing(
    console: ConsoleClient, server: ConsoleServer, answer: Canned
) -> None:
    server.script.add(Fault(method=CREATE[0], path=CREATE[1], after=True, answer=answer))
    with pytest.raises(ReplyLost):
        await console.create(ORDER)
    assert server.count(*CREATE) == 1
    assert len(await console.deployments(search="once-1")) == 1


async def test_everything_that_changes_something_is_sent_once(
    console: ConsoleClient, server: ConsoleServer, world: World
) -> None:
    made = await console.create(ORDER)
    await console.is_newer()
    where = f"/v1/deployments/{made.dseq}"
    choice = Choice(made.dseq, 1, 1, samples.CHEAP.address)
    asks: list[tuple[str, str, Callable[[], Awaitable[object]]]] = [
        (*LEASE, lambda: console.lease([choice], None)),
        ("POST", "/v1/deposit-deployment", lambda: console.deposit(made.dseq, 1)),
        ("PATCH", where, lambda: console.patch(made.dseq, Patch(name="x"))),
        ("PUT", where, lambda: console.replace_sdl(made.dseq, samples.SDL)),
        ("DELETE", where, lambda: console.close(made.dseq)),
        (
            "PATCH",
            f"/v2/deployment-settings/{made.dseq}",
            lambda: console.set_runtime_limit(made.dseq, 2),
        ),
    ]
    for method, path, ask in asks:
        server.script.add(lost(method, path, after=False))
        with pytest.raises(ReplyLost) as caught:
            await ask()
        assert caught.value.hint
        assert server.count(method, path) == 1


async def test_a_429_of_the_edge_is_not_repeated_for_an_order(
    console: ConsoleClient, server: ConsoleServer
) -> None:
    server.script.add(answered(*CREATE, 429, CHALLENGE, headers={"retry-after": "7"}))
    with pytest.raises(RequestRefused) as caught:
        await console.create(ORDER)
    assert (caught.value.status, caught.value.retry_after_s) == (429, 7)
    assert "<" not in str(caught.value)
    assert server.count(*CREATE) == 1


async def test_what_only_reads_is_asked_again(
    console: ConsoleClient, server: ConsoleServer
) -> None:
    server.script.add(
        lost("GET", "/v1/user/me", after=False), answered("GET", "/v1/user/me", 503, b"{}")
    )
    assert (await console.user()).username == "tester"
    assert server.count("GET", "/v1/user/me") == 3


async def test_it_is_not_asked_for_ever(console: ConsoleClient, server: ConsoleServer) -> None:
    path = "/v1/user/me"
    server.script.add(*[answered("GET", path, 502, b"<html>") for _ in range(9)])
    with pytest.raises(RequestRefused) as caught:
        await console.user()
    assert caught.value.status == 502
    assert server.count("GET", path) == 3


async def test_the_wait_that_is_asked_for_is_kept(
    console: ConsoleClient, server: ConsoleServer
) -> None:
    waits = []
    hooks = stamina.instrumentation.get_on_retry_hooks()
    stamina.instrumentation.set_on_retry_hooks([lambda details: waits.append(details.wait_for)])
    try:
        with stamina.set_testing(False):
            header = {"retry-after": "0"}
            server.script.add(answered("GET", "/v1/balances", 429, CHALLENGE, headers=header))
            await console.balances()
    finally:
        stamina.instrumentation.set_on_retry_hooks(hooks)
    assert waits == [0]


async def test_a_wait_that_is_too_long_is_left_to_the_caller(
    console: ConsoleClient, server: ConsoleServer
) -> None:
    header = {"retry-after": "3600"}
    server.script.add(answered("GET", "/v1/balances", 429, CHALLENGE, headers=header))
    with pytest.raises(RequestRefused) as caught:
        await console.balances()
    assert caught.value.retry_after_s == 3600
    assert server.count("GET", "/v1/balances") == 1


async def test_a_host_that_is_not_there_leaves_no_lease(
    console: ConsoleClient, world: World
) -> None:
    made = await console.create(ORDER)
    world.advance(1)
    world.silent.add(samples.CHEAP.address)
    with pytest.raises(RequestRefused) as caught:
        await console.lease([Choice(made.dseq, 1, 1, samples.CHEAP.address)], made.manifest)
    assert caught.value.code == "provider_unreachable"
    assert await console.leases(made.dseq) == ()


async def test_a_manifest_that_does_not_arrive_leaves_a_lease_that_bills(
    console: ConsoleClient, server: ConsoleServer, world: World
) -> None:
    made = await console.create(ORDER)
    world.advance(1)
    world.deaf.add(samples.CHEAP.address)
    choice = Choice(made.dseq, 1, 1, samples.CHEAP.address)
    with pytest.raises(RequestRefused) as caught:
        await console.lease([choice], made.manifest)
    assert caught.value.code == "manifest_not_delivered"
    assert len((await console.spend_rate()).deployments) == 1
    world.deaf.clear()
    there = await console.lease([choice], made.manifest)
    assert len(there.leases) == 1


async def test_another_host_named_again_silently_keeps_the_first(
    console: ConsoleClient, server: ConsoleServer, world: World
) -> None:
    made = await console.create(ORDER)
    world.advance(3)
    server.script.add(lost(*LEASE, after=True))
    with pytest.raises(ReplyLost):
        await console.lease([Choice(made.dseq, 1, 1, samples.CHEAP.address)], made.manifest)
    there = await console.lease([Choice(made.dseq, 1, 1, samples.DEAR.address)], made.manifest)
    assert [lease.id.provider for lease in there.leases] == [samples.CHEAP.address]


async def test_a_silent_host_has_no_status(console: ConsoleClient, world: World) -> None:
    made = await console.create(ORDER)
    world.advance(1)
    await console.lease([Choice(made.dseq, 1, 1, samples.CHEAP.address)], None)
    world.silent.add(samples.CHEAP.address)
    (lease,) = await console.leases(made.dseq)
    assert lease.is_active
    assert lease.status is None


async def test_redirects_are_not_followed(console: ConsoleClient, server: ConsoleServer) -> None:
    header = {"location": f"{server.url}/v1/balances"}
    server.script.add(answered("GET", "/v1/user/me", 307, b"", headers=header))
    with pytest.raises(RequestRefused):
        await console.user()
    assert server.count("GET", "/v1/balances") == 0


async def test_nobody_there_means_nothing_sent() -> None:
    url = f"http://127.0.0.1:{ports.free_port()}"
    async with ConsoleClient("ac.sk.production.x", url=url) as console:
        with pytest.raises(EndpointError, match="nothing was sent") as caught:
            await console.create(ORDER)
    assert not isinstance(caught.value, ReplyLost)


async def test_an_order_can_be_given_up_while_it_waits(
    console: ConsoleClient, server: ConsoleServer, world: World
) -> None:
    """Giving up does not undo it: the name finds it."""
    gate = threading.Event()
    arrived = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hold() -> None:
        loop.call_soon_threadsafe(arrived.set)
        gate.wait()

    server.script.add(Fault(method=CREATE[0], path=CREATE[1], after=True, do=hold))
    task = asyncio.create_task(console.create(ORDER))
    try:
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    finally:
        gate.set()
    assert len(await console.deployments(search="once-1")) == 1


async def test_a_delay_is_only_a_delay(console: ConsoleClient, server: ConsoleServer) -> None:
    gate = threading.Event()
    server.script.add(held("GET", "/v1/user/me", gate))
    task = asyncio.create_task(console.user())
    await console.balances()
    assert not task.done()
    gate.set()
    assert (await task).username == "tester"
    assert server.script.is_done
