"""An endpoint in containers from its plan to its end, with the stand-in and the real docker."""

import asyncio
import json
import stat
from datetime import UTC, datetime

import msgspec
import pytest
import yaml

from server.keys import digest
from tests.support.deploying import until
from tests.support.docker import ENGINE, GATEWAY, DockerForTests, image
from toolkit import paths
from toolkit.deploy import doctor
from toolkit.deploy.access import endpoint_of
from toolkit.deploy.base import Action, Health, Intent, Record, State, Update
from toolkit.deploy.docker import parts
from toolkit.deploy.docker.file import compose_file, volume_of
from toolkit.deploy.keeper import Keeper
from toolkit.errors import DeadlineError, EndpointError, UsageError


async def opened(keeper: Keeper, intent: Intent, deadline_s: float | None = None) -> Record:
    return await keeper.apply(await keeper.plan(intent), deadline_s=deadline_s)


def behind_a_gateway(intent: Intent) -> Intent:
    return msgspec.structs.replace(
        intent,
        engine="ollama",
        image=image("gateway", GATEWAY),
        engine_image=image("engine", ENGINE),
    )


async def lines_of(keeper: Keeper, **how: object) -> list[str]:
    return [line async for line in keeper.logs("my.own", **how)]  # type: ignore[arg-type]


async def test_from_plan_to_close(docker: DockerForTests, keeper: Keeper, intent: Intent) -> None:
    told: list[Update] = []
    plan = await keeper.plan(intent)
    assert plan.action is Action.CREATE and docker.containers() == []
    record = await keeper.apply(plan, progress=told.append)
    assert [update.phase for update in told if update.phase != "start"] == [
        "prepare",
        "load",
        "answer",
    ]
    assert record.state is State.READY and str(record.url).startswith("http://127.0.0.1:")

    (labels,) = docker.containers()
    assert labels["com.docker.compose.project"] == record.handle["project"]
    assert record.handle["project"] == f"akash-llm-my-own-{record.uid[:8]}"
    assert labels["akash-llm.deployment"] == record.uid
    async with endpoint_of(record) as endpoint:
        chunks = [chunk.text async for chunk in endpoint.generate("hi")]
    assert chunks[0] == "Hi"

    (seen,) = await keeper.status()
    assert (seen.health, seen.detail) == (Health.READY, "answers")
    assert [(part.service, part.is_running) for part in seen.parts] == [("server", True)]
    assert (await keeper.plan(intent)).action is Action.ADOPT
    assert await opened(keeper, intent) == msgspec.structs.replace(
        record, updated_at=keeper.record("my.own").updated_at
    )
    assert len(docker.containers()) == 1
    said = json.loads((await lines_of(keeper))[0])
    assert said["manners"] == "good"
    assert await doctor.diagnose(keeper) == []

    await keeper.close("my.own")
    assert docker.containers() == [] and docker.networks() == []
    assert volume_of("llama-cpp") in docker.volumes()
    assert json.loads((await lines_of(keeper))[0]) == said, "its log is kept"
    await keeper.target("compose").close(record)
    assert await keeper.close("my.own") is None


async def test_the_file_has_the_digest_only_and_is_its_owners(
    docker: DockerForTests, keeper: Keeper, intent: Intent
) -> None:
    record = await opened(keeper, intent)
    path = compose_file("my.own")
    text, key = path.read_text(), paths.key_file("my.own").read_text().strip()
    assert key not in text and digest(key) in text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (service,) = yaml.safe_load(text)["services"].values()
    assert service["ports"] == [f"127.0.0.1:{record.handle['port']}:11434"]
    assert key not in "\n".join(await lines_of(keeper))
    await keeper.close("my.own")


async def test_a_gateway_and_its_engine(
    docker: DockerForTests, keeper: Keeper, intent: Intent
) -> None:
    await opened(keeper, behind_a_gateway(intent))
    (seen,) = await keeper.status()
    assert [(part.service, part.is_running) for part in seen.parts] == [
        ("server", True),
        ("engine", True),
    ]
    assert seen.health is Health.READY
    of_both = await lines_of(keeper)
    assert {line.partition(" | ")[0] for line in of_both} >= {"server"}
    of_one = await lines_of(keeper, service="server", tail=1)
    assert (
        of_one == [line.partition(" | ")[2] for line in of_both if line.startswith("server")][-1:]
    )
    with pytest.raises(UsageError, match="It has: server, engine"):
        await lines_of(keeper, service="llm")

    docker.kill("llm")
    (seen,) = await keeper.status()
    assert seen.health is Health.NOT_READY and seen.detail.startswith("its engine is")
    assert [part.is_running for part in seen.parts] == [True, False]
    await opened(keeper, behind_a_gateway(intent))
    (seen,) = await keeper.status()
    assert seen.health is Health.READY, "deployed again it is made anew"
    assert len(docker.containers()) == 2
    await keeper.close("my.own")
    assert docker.containers() == []
    kept = await lines_of(keeper, service="server")
    assert kept and not kept[0].startswith("server |")
    assert await lines_of(keeper, tail=0) == []


async def test_a_container_that_ends_is_told_with_its_last_words(
    docker: DockerForTests, keeper: Keeper, intent: Intent
) -> None:
    dies = msgspec.structs.replace(intent, image=image("dies"))
    with pytest.raises(EndpointError, match="the model is cut short") as caught:
        await opened(keeper, dies)
    assert "its server is" in caught.value.message
    assert docker.containers() == [] and docker.networks() == []
    (record,) = keeper.ledger.records()
    assert record.state is State.CLOSED and str(record.error).startswith("EndpointError")
    assert any("the model is cut short" in line for line in await lines_of(keeper))


async def test_one_that_ends_again_and_again_is_not_waited_for(
    docker: DockerForTests, keeper: Keeper, intent: Intent
) -> None:
    fades = msgspec.structs.replace(intent, image=image("fades"))
    with pytest.raises(EndpointError, match="the model does not fit"):
        await opened(keeper, fades)
    assert docker.containers() == [] and docker.networks() == []


async def test_one_that_is_never_ready_is_closed_at_the_deadline(
    docker: DockerForTests, keeper: Keeper, intent: Intent
) -> None:
    never = msgspec.structs.replace(intent, image=image("never"))
    with pytest.raises(DeadlineError, match="'load'"):
        await opened(keeper, never, deadline_s=6)
    assert docker.containers() == []
    assert [record.state for record in keeper.ledger.records()] == [State.CLOSED]


async def test_an_image_that_cannot_be_had_is_told_and_leaves_nothing(
    docker: DockerForTests, keeper: Keeper, intent: Intent
) -> None:
    if not docker.is_real:
        pytest.skip("the stand-in has every image")
    missing = msgspec.structs.replace(intent, image=image("unheard-of"))
    with pytest.raises(EndpointError, match="could not start") as caught:
        await opened(keeper, missing)
    assert "docker pull" in caught.value.hint
    assert docker.containers() == [] and docker.networks() == []


async def test_what_the_ledger_does_not_know_is_found_and_ended(
    docker: DockerForTests, keeper: Keeper, intent: Intent
) -> None:
    record = await opened(keeper, behind_a_gateway(intent))
    keeper.ledger.move(record.uid, State.CLOSING)
    keeper.ledger.move(record.uid, State.CLOSED)
    (found,) = await doctor.diagnose(keeper)
    assert found.uid == record.uid and found.what.startswith("containers: ")
    await doctor.settle(keeper, found)
    assert docker.containers() == [] and docker.networks() == []
    await doctor.settle(keeper, found)
    assert await doctor.diagnose(keeper) == []


async def test_containers_that_are_gone_are_gone(
    docker: DockerForTests, keeper: Keeper, intent: Intent
) -> None:
    record = await opened(keeper, intent)
    target = keeper.target("compose")
    await target.close(record)
    (seen,) = await keeper.status()
    assert seen.health is Health.GONE
    (found,) = await doctor.diagnose(keeper)
    await doctor.settle(keeper, found)
    assert keeper.ledger.find("my.own") is None


async def test_following_goes_on_until_the_end(
    docker: DockerForTests, keeper: Keeper, intent: Intent
) -> None:
    record = await opened(keeper, intent)
    lines: list[str] = []

    async def follow() -> None:
        async for line in keeper.logs("my.own", follow=True):
            lines.append(line)

    following = asyncio.create_task(follow())
    await until(lambda: bool(lines))
    before = len(lines)
    async with endpoint_of(record) as endpoint:
        await endpoint.version()
    await until(lambda: len(lines) > before)
    await keeper.close("my.own")
    async with asyncio.timeout(60):
        await following


async def test_who_stops_following_leaves_no_program(
    docker: DockerForTests, keeper: Keeper, intent: Intent
) -> None:
    await opened(keeper, intent)
    lines = keeper.logs("my.own", follow=True)
    assert await anext(lines)
    async with asyncio.timeout(60):
        await lines.aclose()  # type: ignore[attr-defined]
    await keeper.close("my.own")


def test_parts_of_an_engine_that_is_none() -> None:
    """A plan file may name anything."""
    odd = Intent(name="mine", engine="moon", target="compose")
    assert list(parts.services(_record(odd))) == ["server"]


def _record(intent: Intent) -> Record:
    now = datetime.now(UTC)
    return Record(
        uid="a" * 32, intent=intent, state=State.OPENING, sdl="", opened_at=now, updated_at=now
    )
