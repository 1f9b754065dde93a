"""Who could take an order, and what keeps the others away."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tests.support.console import samples
from tests.support.console.faults import answered
from tests.support.console.server import ConsoleServer
from tests.support.console.world import World
from toolkit.deploy.akash.preview import previewed
from toolkit.deploy.akash.questions import questions_of, relaxations
from toolkit.deploy.akash.screening import Answer, screened
from toolkit.deploy.console.client import ConsoleClient
from toolkit.sdl import SDL, GPUChoice, GPURequest, RenderInputs, render

A100 = GPUChoice("a100", "80Gi")
A100_SXM = GPUChoice("a100", "80Gi", "sxm")
RTX4090 = GPUChoice("rtx4090", "24Gi")
BASE: Mapping[str, Any] = {
    "image": "example.org/you/akash-llm-server-cuda:1",
    "keys_text": f"owner:admin:{'0' * 64}",
}


def ordered(gpu: GPURequest | None, **inputs: Any) -> SDL:
    return previewed(render(RenderInputs(**{**BASE, **inputs}, gpu=gpu))).sdl


async def answer(console: ConsoleClient, units: int, *cards: GPUChoice, **inputs: Any) -> Answer:
    gpu = GPURequest(units, cards) if cards else None
    return await screened(console.market, ordered(gpu, **inputs), gpu)


def owners(answer: Answer) -> set[str]:
    assert answer.providers is not None
    return {each.owner for each in answer.providers}


async def test_who_has_room(console: ConsoleClient) -> None:
    found = await answer(console, 1, A100)
    assert owners(found) == {"akash1singles", *(host.address for host in samples.PAIRS)}
    assert found.reasons == ()


async def test_unaudited_providers_are_never_among_them(console: ConsoleClient) -> None:
    found = await answer(console, 1, A100, signed_by=())
    assert samples.UNAUDITED.address not in owners(found)


async def test_an_interface_that_keeps_providers_away(console: ConsoleClient) -> None:
    found = await answer(console, 2, A100_SXM)
    assert owners(found) == set()
    node, reason = found.reasons
    assert node == "No provider has 2 × a100 80Gi free on one node: the most is 1."
    assert reason.startswith(
        "No provider can take this order now. Without `interface: sxm`, 4 could"
    )
    assert "with 1 GPU on a node instead of 2, 1 could (the model may not fit)" in reason


async def test_a_node_is_not_a_provider(console: ConsoleClient) -> None:
    """Four GPUs on four nodes are not two on one."""
    found = await answer(console, 4, A100)
    assert owners(found) == set()
    node, reason = found.reasons
    assert "2" in node and "the most is 2" in node
    assert "With 1 GPU on a node instead of 4, 5 could" in reason


async def test_a_region_that_keeps_providers_away(console: ConsoleClient) -> None:
    found = await answer(console, 2, A100, region="eu-west")
    (reason,) = found.reasons
    assert "Without `region: eu-west`, 4 could" in reason


async def test_storage_that_stays_keeps_providers_away(console: ConsoleClient) -> None:
    found = await answer(console, 1, RTX4090)
    assert owners(found) == {samples.SMALL.address}
    (reason,) = found.reasons
    assert reason.startswith("Only 1 provider can take this order now. ")
    assert "without storage that stays (beta3), 2 could" in reason.lower()


async def test_a_cap_that_keeps_providers_away(console: ConsoleClient) -> None:
    found = await answer(console, 2, A100, price=1199)
    (reason,) = found.reasons
    assert "At a higher price than your cap, 4 could" in reason


async def test_memory_that_keeps_providers_away(console: ConsoleClient) -> None:
    found = await answer(console, 2, GPUChoice("a100", "40Gi"))
    node, reason = found.reasons
    assert node.endswith("none is free anywhere.")
    assert "nother memory size of the same GPUs, 4 could (the model may not fit)" in reason


async def test_other_gpus_would_do(console: ConsoleClient) -> None:
    found = await answer(console, 1, GPUChoice("b200"))
    assert "With other GPUs, 6 could (the model may not fit)" in found.reasons[1]


async def test_no_condition_alone_is_the_reason(console: ConsoleClient, world: World) -> None:
    world.silent |= set(world.hosts)
    found = await answer(console, 1, A100)
    assert found.providers == ()
    assert "no single condition is the reason" in found.reasons[-1]


async def test_without_a_gpu_no_node_is_asked_about(
    console: ConsoleClient, server: ConsoleServer
) -> None:
    found = await answer(console, 0, region="us-west")
    assert owners(found) == {samples.NO_GPU.address}
    assert found.reasons
    assert server.count("GET", "/v1/placement-options") == 0


@pytest.mark.parametrize("status", [404, 503])
async def test_a_console_that_cannot_say(
    console: ConsoleClient, server: ConsoleServer, status: int
) -> None:
    server.script.add(*[answered("POST", "/v1/bid-screening", status, b"{}")] * 3)
    assert await answer(console, 1, A100) == Answer(None)


async def test_reasons_without_what_is_free(console: ConsoleClient, server: ConsoleServer) -> None:
    server.script.add(*[answered("GET", "/v1/placement-options", 503, b"")] * 3)
    (reason,) = (await answer(console, 2, A100_SXM)).reasons
    assert "Without `interface: sxm`" in reason


async def test_an_older_console_screens_without_saying_what_is_free(
    old_console: ConsoleClient,
) -> None:
    (reason,) = (await answer(old_console, 2, A100_SXM)).reasons
    assert "Without `interface: sxm`, 4 could" in reason


def test_a_question_is_what_the_order_says() -> None:
    gpu = GPURequest(2, (A100_SXM, RTX4090))
    (question,) = questions_of(ordered(gpu, region="eu-west", price=700))
    (unit,) = question.resources
    assert unit.price == {"denom": "uact", "amount": "700"}
    assert unit.resource["gpu"]["units"] == {"val": "2"}
    assert unit.resource["memory"] == {"quantity": {"val": str(2 << 30)}}
    assert [volume["name"] for volume in unit.resource["storage"]] == ["root", "models"]
    assert question.requirements["attributes"] == [{"key": "region", "value": "eu-west"}]
    assert question.requirements["signedBy"]["anyOf"]


def test_each_question_has_one_condition_less() -> None:
    gpu = GPURequest(2, (A100_SXM, RTX4090))
    (question,) = questions_of(ordered(gpu, region="eu-west"))
    relaxed = {each.what: each.question for each in relaxations(question)}
    assert len(relaxed) == 7
    texts = {msgspec.json.encode(each) for each in (question, *relaxed.values())}
    assert len(texts) == 8
    (unit,) = relaxed["without `interface: sxm`"].resources
    assert [each["key"] for each in unit.resource["gpu"]["attributes"]] == [
        "vendor/nvidia/model/a100/ram/80Gi",
        "vendor/nvidia/model/rtx4090/ram/24Gi",
    ]
    assert Decimal(unit.price["amount"]) == 10000


def test_all_groups_have_a_question() -> None:
    placement = "    any:\n      pricing:\n        llm: {denom: uakt, amount: 2000}\n"
    allocation = "    any: {profile: llm, count: 1}\n"
    two = samples.SDL
    for part in (placement, allocation):
        two = two.replace(part, part + part.replace("any:", "more:"))
    assert len(questions_of(previewed(two).sdl)) == 2
