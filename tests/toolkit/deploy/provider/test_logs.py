"""The log of a lease over real sockets: what is told, once, whatever happens to them."""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from tests.support.provider_gateway import Fault, ProviderGateway
from tests.support.provider_tokens import Issuer
from tests.toolkit.deploy.provider.conftest import EAGER, MakeGateway
from toolkit.deploy.provider import link
from toolkit.deploy.provider.gateway import Gateway
from toolkit.deploy.provider.messages import LogLine
from toolkit.deploy.provider.stream import Patience
from toolkit.deploy.provider.token import Scope, Token
from toolkit.errors import CredentialsError, EndpointError, UsageError

VLLM = "vllm-5cf7d8bb9-x2x4z"
PROXY = "proxy-0"


def numbered(first: int, last: int) -> list[str]:
    return [f"line {number}" for number in range(first, last + 1)]


async def whole(lines: AsyncGenerator[LogLine, None]) -> list[str]:
    return [line.text async for line in lines]


async def first(lines: AsyncGenerator[LogLine, None], count: int) -> list[str]:
    """The texts of the next `count` lines, without ending the stream."""
    return [(await anext(lines)).text for _ in range(count)]


async def test_without_follow_it_ends_with_the_last_line(
    gateway: Gateway, provider: ProviderGateway
) -> None:
    provider.lease.write(VLLM, *numbered(1, 500))
    assert await whole(gateway.logs()) == numbered(1, 500)
    assert len(provider.sockets) == 1


async def test_a_log_without_lines_is_empty(gateway: Gateway) -> None:
    assert await whole(gateway.logs()) == []


async def test_tail_is_per_pod_and_services_narrow_it(
    gateway: Gateway, provider: ProviderGateway
) -> None:
    provider.lease.write(VLLM, *numbered(1, 9))
    provider.lease.write(PROXY, "a", "b", "c")
    lines = [(line.service, line.text) async for line in gateway.logs(tail=2)]
    assert lines == [("vllm", "line 8"), ("vllm", "line 9"), ("proxy", "b"), ("proxy", "c")]
    assert await whole(gateway.logs(tail=1, services=["proxy", "none"])) == ["c"]
    assert provider.seen[-1].query == {"follow": "false", "tail": "1", "service": "proxy,none"}


async def test_new_lines_come_while_it_is_followed(
    gateway: Gateway, provider: ProviderGateway
) -> None:
    provider.lease.write(VLLM, "old")
    async with aclosing(gateway.logs(follow=True)) as lines:
        assert await first(lines, 1) == ["old"]
        provider.lease.write(VLLM, "new")
        assert await first(lines, 1) == ["new"]


@pytest.mark.parametrize("code", [None, 1000, 1001, 1011, 4000, 4002])
@pytest.mark.parametrize("frames", [1, 7, 20])
async def test_a_connection_that_ends_costs_no_line_and_repeats_none(
    gateway: Gateway, provider: ProviderGateway, code: int | None, frames: int
) -> None:
    provider.lease.write(VLLM, *numbered(1, 20))
    provider.faults.extend([Fault(frames=frames, code=code)] * 3)
    async with aclosing(gateway.logs(follow=True)) as lines:
        assert await first(lines, 20) == numbered(1, 20)
        provider.lease.write(VLLM, *numbered(21, 40))
        assert await first(lines, 20) == numbered(21, 40)


async def test_lines_between_two_connections_are_told(
    gateway: Gateway, provider: ProviderGateway
) -> None:
    provider.lease.write(VLLM, *numbered(1, 20))
    provider.faults.extend([Fault(frames=5), Fault(status=503), Fault(frames=0)])
    async with aclosing(gateway.logs(follow=True, tail=5)) as lines:
        assert await first(lines, 5) == numbered(16, 20)
        provider.lease.write(VLLM, *numbered(21, 900))
        assert await first(lines, 880) == numbered(21, 900)
    assert provider.sockets[0].query["tail"] == "5"
    assert provider.sockets[-1].query["tail"] == "1000"


async def test_pods_are_told_apart(gateway: Gateway, provider: ProviderGateway) -> None:
    """The same lines of two pods, cut between them."""
    provider.lease.write(VLLM, "a", "b")
    provider.lease.write(PROXY, "a", "b")
    provider.faults.append(Fault(frames=3))
    async with aclosing(gateway.logs(follow=True)) as lines:
        got = [await anext(lines) for _ in range(4)]
    assert got == [LogLine(VLLM, "a"), LogLine(VLLM, "b"), LogLine(PROXY, "a"), LogLine(PROXY, "b")]


async def test_after_a_restart_of_the_container_its_new_log_is_told(
    make_gateway: MakeGateway, provider: ProviderGateway
) -> None:
    """Nothing of what was told comes again, so the new lines wait for the gateway to be quiet."""
    gateway = make_gateway(patience=Patience(first_s=0, quiet_s=0.1))
    provider.lease.write(VLLM, *numbered(1, 20))
    provider.faults.append(Fault(frames=20))
    async with aclosing(gateway.logs(follow=True)) as lines:
        assert await first(lines, 20) == numbered(1, 20)
        provider.lease.logs.forget(VLLM)
        provider.lease.write(VLLM, "started again", "and up")
        assert await first(lines, 2) == ["started again", "and up"]


async def test_a_gateway_that_is_never_quiet_is_told_in_the_end(
    make_gateway: MakeGateway, provider: ProviderGateway
) -> None:
    gateway = make_gateway(patience=Patience(first_s=0, quiet_s=60, settle_s=0))
    provider.lease.write(VLLM, "before")
    provider.faults.append(Fault(frames=1))
    async with aclosing(gateway.logs(follow=True)) as lines:
        assert await first(lines, 1) == ["before"]
        provider.lease.logs.forget(VLLM)
        provider.lease.write(VLLM, *numbered(1, 3))
        assert await first(lines, 3) == numbered(1, 3)


async def test_the_token_is_renewed_while_the_log_is_followed(
    make_gateway: MakeGateway, provider: ProviderGateway, issuer: Issuer
) -> None:
    gateway = make_gateway(margin_s=899)
    provider.lease.write(VLLM, *numbered(1, 20))
    async with aclosing(gateway.logs(follow=True)) as lines:
        assert await first(lines, 20) == numbered(1, 20)
        following = asyncio.create_task(first(lines, 1))
        await provider.until_sockets(2)
        provider.lease.write(VLLM, "line 21")
        assert await following == ["line 21"]
    used = [seen.authorization for seen in provider.sockets]
    assert len(set(used)) == len(used) >= 2


async def test_a_socket_that_stalls_is_left_at_the_latest_when_the_token_ends(
    make_gateway: MakeGateway, provider: ProviderGateway
) -> None:
    provider.lease.write(VLLM, *numbered(1, 20))
    provider.faults.append(Fault(frames=3, stalls=True))
    gateway = make_gateway(margin_s=899)
    async with aclosing(gateway.logs(follow=True)) as lines:
        assert await first(lines, 20) == numbered(1, 20)


async def test_a_gateway_that_answers_no_ping_is_left(
    make_gateway: MakeGateway, provider: ProviderGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "PING_S", 0.1)
    monkeypatch.setattr(link, "CLOSE_TIMEOUT_S", 0.1)
    told: list[str] = []
    provider.lease.write(VLLM, *numbered(1, 20))
    provider.faults.append(Fault(frames=3, stalls=True, is_deaf=True))
    async with aclosing(make_gateway(tell=told.append).logs(follow=True)) as lines:
        assert await first(lines, 20) == numbered(1, 20)
    assert told == ["it was given up: keepalive ping timeout"]


@pytest.mark.parametrize("seed", range(6))
async def test_a_storm_of_ends_costs_no_line_and_repeats_none(
    gateway: Gateway, provider: ProviderGateway, seed: int
) -> None:
    chance = random.Random(seed)
    for _ in range(40):
        fault = Fault(frames=chance.randint(1, 60), code=chance.choice([None, 1001, 4000]))
        provider.faults.extend(chance.choice([[fault], [Fault(status=502), fault]]))
    async with aclosing(gateway.logs(follow=True)) as lines:
        for start in range(1, 400, 20):
            following = asyncio.create_task(first(lines, 20))
            for number in range(start, start + 20):
                provider.lease.write(VLLM, f"line {number}")
                if chance.random() < 0.2:
                    await asyncio.sleep(0)
            assert await following == numbered(start, start + 19)


async def test_a_token_that_ends_early_is_replaced(
    make_gateway: MakeGateway, provider: ProviderGateway, issuer: Issuer
) -> None:
    tokens = iter([issuer.make(frozenset(Scope), ended_s_ago=5), issuer.make(frozenset(Scope))])

    async def source(scopes: frozenset[Scope]) -> Token:
        return next(tokens)

    provider.lease.write(VLLM, "one")
    assert await whole(make_gateway(token=source).logs()) == ["one"]


async def test_tokens_that_are_always_refused_end_it(make_gateway: MakeGateway) -> None:
    with pytest.raises(CredentialsError, match="JWT is invalid"):
        await whole(make_gateway(token=Issuer().token).logs(follow=True))


@pytest.mark.parametrize(
    "fault", [Fault(status=404), Fault(code=4001, reason="lease not found", frames=0)]
)
async def test_a_lease_that_is_gone_ends_it(
    gateway: Gateway, provider: ProviderGateway, fault: Fault
) -> None:
    provider.faults.append(fault)
    with pytest.raises(EndpointError, match="no such lease"):
        await whole(gateway.logs(follow=True))


async def test_pods_that_are_not_there_yet_are_waited_for_and_told_why(
    make_gateway: MakeGateway, provider: ProviderGateway
) -> None:
    told: list[str] = []
    provider.faults.extend([Fault(frames=0, code=4000, reason="no \x1b[5mrunning pods")] * 2)
    provider.lease.write(VLLM, "up")
    async with aclosing(make_gateway(tell=told.append).logs(follow=True)) as lines:
        assert await first(lines, 1) == ["up"]
    assert told == ["no running pods (4000)"] * 2


async def test_without_follow_it_gives_up_sooner(
    gateway: Gateway, provider: ProviderGateway
) -> None:
    provider.faults.extend([Fault(frames=0, code=4000, reason="no running pods")] * 9)
    with pytest.raises(EndpointError, match="no running pods"):
        await whole(gateway.logs())
    assert len(provider.sockets) == EAGER.attempts_once


async def test_it_gives_up_with_the_last_reason(
    gateway: Gateway, provider: ProviderGateway
) -> None:
    provider.faults.extend([Fault(frames=0, code=4000, reason="no running pods")] * 9)
    with pytest.raises(EndpointError, match=r"4 attempts; the last: no running pods \(4000\)"):
        await whole(gateway.logs(follow=True))
    assert len(provider.sockets) == EAGER.attempts


async def test_a_redirect_is_not_followed(gateway: Gateway, provider: ProviderGateway) -> None:
    where = f"{provider.uri.replace('https', 'wss')}/elsewhere"
    provider.faults.append(Fault(status=302, location=where))
    with pytest.raises(EndpointError, match="status 302"):
        await whole(gateway.logs())
    assert len(provider.seen) == 1


async def test_frames_that_are_no_lines_are_told_as_what_they_are(
    gateway: Gateway, provider: ProviderGateway
) -> None:
    provider.lease.write(VLLM, "one")
    provider.faults.append(Fault(first=("junk", b"\xff\x00", '{"name":1}')))
    lines = [line async for line in gateway.logs()]
    assert lines[:3] == [LogLine("", "junk"), LogLine("", "\ufffd\0"), LogLine("", '{"name":1}')]
    assert lines[3] == LogLine(VLLM, "one")


async def test_a_frame_beyond_the_bound_ends_it(
    gateway: Gateway, provider: ProviderGateway
) -> None:
    provider.faults.append(Fault(first=("x" * 600_000,)))
    with pytest.raises(EndpointError, match="broke the rules"):
        await whole(gateway.logs(follow=True))


async def test_what_could_steer_a_terminal_stays_until_it_is_cleaned(
    gateway: Gateway, provider: ProviderGateway
) -> None:
    provider.lease.write("\x1b]0;pod\x07", "a\x1b[2Jb\nc")
    (line,) = [line async for line in gateway.logs()]
    assert line == LogLine("\x1b]0;pod\x07", "a\x1b[2Jb\nc")
    assert line.cleaned == LogLine("", "ab c")


async def test_no_token_is_logged_while_debugging(
    gateway: Gateway,
    provider: ProviderGateway,
    issuer: Issuer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "websockets.server")  # the other side, in this process
    caplog.set_level(logging.DEBUG)
    provider.lease.write(VLLM, "one")
    await whole(gateway.logs())
    await gateway.status()
    (token,) = issuer.made
    assert caplog.records
    assert token.text not in caplog.text


async def test_leaving_it_closes_the_socket(gateway: Gateway, provider: ProviderGateway) -> None:
    provider.lease.write(VLLM, "one")
    async with aclosing(gateway.logs(follow=True)) as lines:
        assert await first(lines, 1) == ["one"]
        assert provider.num_open == 1
        following = asyncio.create_task(anext(lines))
        await asyncio.sleep(0)
        following.cancel()
        with pytest.raises(asyncio.CancelledError):
            await following
    await provider.until_left()


def test_a_negative_tail_is_refused(gateway: Gateway) -> None:
    with pytest.raises(UsageError):
        gateway.logs(tail=-1)
