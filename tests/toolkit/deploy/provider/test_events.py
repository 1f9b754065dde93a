"""What Kubernetes tells of a lease, over real sockets."""

from contextlib import aclosing

from tests.support.provider_gateway import Fault, ProviderGateway
from toolkit.deploy.provider.gateway import Gateway
from toolkit.deploy.provider.messages import Event

PULLING = "Pulling image"


async def test_events_are_read(gateway: Gateway, provider: ProviderGateway) -> None:
    provider.lease.happen("BackOff", "Back-off pulling image", kind="Warning")
    (event,) = [event async for event in gateway.events()]
    subject = "Pod/vllm-5cf7d8bb9-x2x4z"
    assert event == Event("Warning", "BackOff", "Back-off pulling image", subject)
    assert provider.seen[0].path.endswith("/kubeevents")


async def test_what_a_new_connection_sends_again_is_told_once(
    gateway: Gateway, provider: ProviderGateway
) -> None:
    for number in range(6):
        provider.lease.happen("Pulling", f"{PULLING} {number}")
    provider.faults.extend([Fault(frames=2), Fault(frames=5), Fault(status=502), Fault(frames=6)])
    async with aclosing(gateway.events(follow=True)) as events:
        notes = [(await anext(events)).note for _ in range(6)]
        provider.lease.happen("Pulled", "done")
        notes.append((await anext(events)).note)
    assert notes == [*(f"{PULLING} {number}" for number in range(6)), "done"]


async def test_an_event_that_happens_again_is_told_again(
    gateway: Gateway, provider: ProviderGateway
) -> None:
    provider.lease.happen("BackOff", "again")
    provider.faults.append(Fault(frames=1))
    async with aclosing(gateway.events(follow=True)) as events:
        assert (await anext(events)).note == "again"
        provider.lease.happen("Killing", "stopped")
        provider.lease.happen("BackOff", "again")
        assert [(await anext(events)).note for _ in range(2)] == ["stopped", "again"]


async def test_junk_is_told_as_what_it_is(gateway: Gateway, provider: ProviderGateway) -> None:
    provider.faults.append(Fault(first=("[]", '{"type":null,"object":null}')))
    told = [event async for event in gateway.events()]
    assert told == [Event("", "", "[]", ""), Event("", "", "", "")]


async def test_an_event_cannot_steer_a_terminal_once_cleaned(
    gateway: Gateway, provider: ProviderGateway
) -> None:
    provider.lease.happen("Pulling\x1b[2J", "\u202eimage\nx")
    (event,) = [event async for event in gateway.events()]
    assert (event.cleaned.reason, event.cleaned.note) == ("Pulling", "image x")
