"""Endpoints on this machine: real processes, real ports, a stand-in for the server."""

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from server.keys import digest
from tests.support.deploying import STAND_IN, MakeKeeper, until
from tests.support.ports import occupied
from toolkit import paths
from toolkit.deploy import lifecycle, processes
from toolkit.deploy.base import Action, Health, Intent, Plan, Record, State, Update
from toolkit.deploy.doctor import diagnose, settle
from toolkit.deploy.keeper import Keeper
from toolkit.deploy.ports import free_port
from toolkit.errors import ConfigError, DeadlineError, EndpointError, UsageError

pytestmark = pytest.mark.usefixtures("stocked_home")


async def opened(keeper: Keeper, intent: Intent) -> Record:
    return await keeper.apply(await keeper.plan(intent), deadline_s=60)


def living(record: Record) -> list[psutil.Process]:
    return processes.marked(record.uid).get(record.uid, [])


def said(record: Record) -> Any:
    """What the stand-in wrote first: its arguments and its environment."""
    first, *_ = Path(str(record.handle["log"])).read_text().splitlines()
    return json.loads(first)


# -- plan ---------------------------------------------------------------------------


async def test_a_plan_says_what_it_takes_and_starts_nothing(
    keeper: MakeKeeper, intent: Intent
) -> None:
    plan = await keeper().plan(intent)
    assert plan.action is Action.CREATE
    assert {r.what for r in plan.resources} >= {"model", "context", "memory"}
    assert all(r.amount and r.reason for r in plan.resources)
    assert plan.price is not None and plan.price.usd_per_month == 0
    assert Plan.from_json(plan.to_json()) == plan
    assert "smollm2:135m" in str(plan)
    assert keeper().ledger.records() == []


async def test_a_plan_holds_the_digest_and_never_the_key(
    keeper: MakeKeeper, intent: Intent
) -> None:
    plan = await keeper().plan(intent)
    key = paths.key_file("mine").read_text().strip()
    assert key not in plan.to_json().decode()
    assert digest(key) in plan.sdl
    assert stat.S_IMODE(paths.key_file("mine").stat().st_mode) == 0o600


async def test_markup_in_a_plan_stays_text(keeper: MakeKeeper, intent: Intent) -> None:
    plan = await keeper().plan(intent)
    shown = msgspec.structs.replace(plan, notices=("<img src=x onerror=alert(1)>",))
    assert "<img" not in shown._repr_html_()


@pytest.mark.parametrize("name", ["../up", "a/b", "/etc", "", ".", "..", "a..b", "A", "a b", "-a"])
async def test_names_that_are_no_names(keeper: MakeKeeper, intent: Intent, name: str) -> None:
    with pytest.raises(UsageError, match="cannot name"):
        await keeper().plan(msgspec.structs.replace(intent, name=name))
    assert not paths.endpoints().exists()


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("model", "no/such/model/at:all:x", UsageError),
        ("model", "unheard-of:1b", ConfigError),
        ("engine", "abacus", ConfigError),
        ("target", "moon", UsageError),
        ("context", 0, UsageError),
    ],
)
async def test_what_cannot_be_meant(
    keeper: MakeKeeper, intent: Intent, field: str, value: object, error: type[Exception]
) -> None:
    with pytest.raises(error) as caught:
        await keeper().plan(msgspec.structs.replace(intent, **{field: value}))
    assert getattr(caught.value, "hint", "")
    assert keeper().ledger.records() == []


async def test_a_missing_model_names_the_commands(keeper: MakeKeeper, intent: Intent) -> None:
    with pytest.raises(ConfigError) as caught:
        await keeper().plan(msgspec.structs.replace(intent, model="unheard-of:1b"))
    for command in ("models list", "models pull", "models add"):
        assert command in caught.value.hint


# -- apply and close ----------------------------------------------------------------


async def test_open_use_close(keeper: MakeKeeper, intent: Intent) -> None:
    keep, updates = keeper(), list[Update]()
    plan = await keep.plan(intent)
    record = await keep.apply(plan, progress=updates.append, deadline_s=60)
    assert record.state is State.READY
    assert [u.phase for u in updates][-2:] == ["load", "answer"]
    assert record.url is not None and record.url.startswith("http://127.0.0.1:")
    (seen,) = await keep.status()
    assert (seen.name, seen.health, seen.url) == ("mine", Health.READY, record.url)
    closed = await keep.close("mine")
    assert closed is not None and closed.state is State.CLOSED and closed.error is None
    assert living(record) == []
    assert await keep.close("mine") is None
    assert Path(str(record.handle["log"])).exists()
    assert paths.key_file("mine").exists()


async def test_the_process_gets_the_sdls_environment_and_not_our_secrets(
    keeper: MakeKeeper, intent: Intent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AKASH_API_KEY", "canary-of-the-console")
    monkeypatch.setenv("AKASH_LLM_RUN", "some-run")
    record = await opened(keeper(), intent)
    environment = said(record)["env"]
    assert environment["AKASH_LLM_HOST"] == "127.0.0.1"
    assert environment["AKASH_LLM_CONTEXT"] == "512"
    assert Path(environment["AKASH_LLM_MODELS"]).resolve() == paths.models().resolve()
    assert Path(environment["AKASH_LLM_MODELS"]).is_relative_to(paths.endpoint("mine"))
    assert environment["AKASH_LLM_STATE"] == str(paths.endpoint("mine") / "state")
    assert not {"AKASH_API_KEY", "AKASH_LLM_RUN"} & set(environment)
    assert paths.key_file("mine").read_text().strip() not in json.dumps(environment)
    assert os.getsid(int(record.handle["pid"])) == record.handle["pid"]


async def test_the_same_plan_is_adopted(keeper: MakeKeeper, intent: Intent) -> None:
    first = await opened(keeper(), intent)
    plan = await keeper().plan(intent)
    assert plan.action is Action.ADOPT
    second = await keeper().apply(plan)
    assert (second.uid, second.handle) == (first.uid, first.handle)
    assert len(keeper().ledger.records()) == 1


async def test_a_dead_one_is_started_anew_with_the_same_key(
    keeper: MakeKeeper, intent: Intent
) -> None:
    first = await opened(keeper(), intent)
    key = paths.key_file("mine").read_text()
    os.kill(int(first.handle["pid"]), signal.SIGKILL)
    await until(lambda: not living(first))
    assert (await keeper().plan(intent)).action is Action.CREATE
    second = await opened(keeper(), intent)
    assert second.uid != first.uid
    assert paths.key_file("mine").read_text() == key
    old = keeper().ledger.get(first.uid)
    assert old is not None and old.state is State.CLOSED and old.error


async def test_another_intent_replaces_only_when_told(keeper: MakeKeeper, intent: Intent) -> None:
    with occupied(11434):  # so that its port is its own
        first = await opened(keeper(), intent)
    other = await keeper().plan(msgspec.structs.replace(intent, context=1024))
    assert other.action is Action.REPLACE
    assert [(c.field, c.now, c.then) for c in other.changes] == [("context", "512", "1024")]
    with pytest.raises(UsageError, match="512 → 1024"):
        await keeper().apply(other)
    assert living(first)
    second = await keeper().apply(other, replace=True)
    assert living(first) == []
    assert said(second)["env"]["AKASH_LLM_CONTEXT"] == "1024"
    assert second.url == first.url
    await keeper().close("mine")
    assert (await opened(keeper(), intent)).url == first.url


async def test_two_at_once_end_with_one_server(keeper: MakeKeeper, intent: Intent) -> None:
    plan = await keeper().plan(intent)
    one, two = await asyncio.gather(keeper().apply(plan), keeper().apply(plan))
    assert one.uid == two.uid
    assert len(living(one)) == 1


async def test_two_names_get_two_ports(keeper: MakeKeeper, intent: Intent) -> None:
    other = msgspec.structs.replace(intent, name="other")
    plans = [await keeper().plan(i) for i in (intent, other)]
    one, two = await asyncio.gather(*(keeper().apply(plan) for plan in plans))
    assert one.url != two.url
    assert {s.health for s in await keeper().status()} == {Health.READY}


@pytest.mark.alone  # others have that port, or give it back
async def test_a_port_in_use_is_avoided_and_said(keeper: MakeKeeper, intent: Intent) -> None:
    updates = list[Update]()
    with occupied(11434):
        record = await keeper().apply(await keeper().plan(intent), progress=updates.append)
    assert record.handle["port"] != 11434
    assert any("11434 is in use" in update.text for update in updates)


async def test_a_port_where_another_program_refuses_our_key_is_left_to_it(
    keeper: MakeKeeper, intent: Intent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was there before our server could listen, and answers before that has failed."""
    updates = list[Update]()
    other = await opened(keeper(), msgspec.structs.replace(intent, name="other"))
    ports = iter([int(other.handle["port"])])
    monkeypatch.setattr(
        "toolkit.deploy.starting.free_port", lambda wanted: next(ports, 0) or free_port(wanted)
    )
    record = await keeper().apply(await keeper().plan(intent), progress=updates.append)
    assert record.url != other.url
    assert any("was taken meanwhile" in update.text for update in updates)


async def test_one_that_dies_shows_its_last_words(keeper: MakeKeeper, intent: Intent) -> None:
    keep = keeper("dies")
    with pytest.raises(EndpointError, match="the model is cut short"):
        await opened(keep, intent)
    (record,) = keep.ledger.records()
    assert record.state is State.CLOSED
    assert record.error is not None and record.error.startswith("EndpointError")


async def test_one_that_cannot_load_says_why_at_once(keeper: MakeKeeper, intent: Intent) -> None:
    keep = keeper("broken")
    with pytest.raises(EndpointError, match="unknown kind"):
        await opened(keep, intent)
    (record,) = keep.ledger.records()
    assert record.state is State.CLOSED and living(record) == []


async def test_one_that_is_never_ready_ends_at_the_deadline(
    keeper: MakeKeeper, intent: Intent
) -> None:
    keep = keeper("never")
    with pytest.raises(DeadlineError, match="phase was 'load'"):
        await keep.apply(await keep.plan(intent), deadline_s=1.5)
    (record,) = keep.ledger.records()
    assert record.state is State.CLOSED and living(record) == []
    assert record.error is not None and "in time" in record.error


async def test_cancelled_half_way_nothing_is_left(keeper: MakeKeeper, intent: Intent) -> None:
    keep = keeper("slow")
    task = asyncio.create_task(opened(keep, intent))
    await until(lambda: any("pid" in r.handle for r in keep.ledger.open_records()))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (record,) = keep.ledger.records()
    assert (record.state, record.error) == (State.CLOSED, "interrupted")
    assert living(record) == []


async def test_one_that_will_not_end_is_ended_with_its_children(
    keeper: MakeKeeper, intent: Intent
) -> None:
    keep = keeper("stubborn")
    record = await opened(keep, intent)
    leader = psutil.Process(int(record.handle["pid"]))
    (child,) = leader.children()
    await keep.close("mine")
    assert not leader.is_running()
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


async def test_a_number_used_again_is_not_our_process(keeper: MakeKeeper, intent: Intent) -> None:
    record = await opened(keeper(), intent)
    os.kill(int(record.handle["pid"]), signal.SIGKILL)
    await until(lambda: not living(record))
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        keeper().ledger.note(record.uid, handle={"pid": other.pid})
        (seen,) = await keeper().status()
        assert seen.health is Health.GONE
        await keeper().close("mine")
        assert other.poll() is None
        other.communicate(b"\n")


async def test_a_plan_for_another_key_is_refused(keeper: MakeKeeper, intent: Intent) -> None:
    plan = await keeper().plan(intent)
    paths.key_file("mine").unlink()
    await keeper().plan(intent)
    with pytest.raises(ConfigError, match="another key"):
        await keeper().apply(plan)
    assert keeper().ledger.open_records() == []


async def test_logs_of_a_closed_one_are_still_there(keeper: MakeKeeper, intent: Intent) -> None:
    await opened(keeper(), intent)
    await keeper().close("mine")
    lines = [line async for line in keeper().logs("mine", tail=5)]
    assert "manners" in lines[0]


async def test_following_ends_with_the_endpoint(keeper: MakeKeeper, intent: Intent) -> None:
    record = await opened(keeper(), intent)
    async with asyncio.timeout(30):
        lines = keeper().logs("mine", follow=True, tail=1)
        await anext(lines)
        with Path(str(record.handle["log"])).open("a") as log:
            log.write("something new\n")
        rest = [await anext(lines)]
        await keeper().close("mine")
        rest += [line async for line in lines]
    assert "something new" in rest


# -- deploy() -----------------------------------------------------------------------


async def test_awaited_it_stays_and_within_a_block_it_ends(
    keeper: MakeKeeper, intent: Intent
) -> None:
    keep = keeper()
    plan = await keep.plan(intent)
    endpoint = await lifecycle.deploy(plan, keeper=keep)
    async with endpoint:
        assert await endpoint.is_ready()
    async with lifecycle.deploy(plan, keeper=keep) as again:
        assert await again.version() == "0.0.0"
    assert keep.ledger.open_records() == []


# -- crashes ------------------------------------------------------------------------

APPLY = """
import asyncio, sys
from toolkit.deploy.base import Intent
from toolkit.deploy.keeper import Keeper
from toolkit.deploy.local import PROGRAMS, LocalTarget
from toolkit.deploy.services import Program

async def main():
    programs = {**PROGRAMS, "stand-in": Program((sys.executable, sys.argv[1], "slow"))}
    target = LocalTarget(programs, image="example.org/test/stand-in:1")
    keeper = Keeper(targets={"local": target})
    await keeper.apply(await keeper.plan(Intent(name="mine", context=512, parallel=2)))

asyncio.run(main())
"""


async def _killed_half_way(keeper: Keeper) -> Record:
    """The record of an apply whose program was killed while the server was loading."""
    with subprocess.Popen([sys.executable, "-c", APPLY, str(STAND_IN)]) as program:
        await until(lambda: any("pid" in r.handle for r in keeper.ledger.open_records()))
        program.kill()
    (record,) = keeper.ledger.open_records()
    return record


async def test_killed_half_way_the_doctor_knows_all(keeper: MakeKeeper) -> None:
    keep = keeper("slow")
    record = await _killed_half_way(keep)
    assert living(record)
    (diagnosis,) = await diagnose(keep)
    assert (diagnosis.name, diagnosis.uid) == ("mine", record.uid)
    await settle(keep, diagnosis)
    assert living(record) == []
    assert await diagnose(keep) == []


async def test_killed_before_the_process_could_be_noted(keeper: MakeKeeper, intent: Intent) -> None:
    """A row without a process number, and a process that only its mark gives away."""
    keep = keeper()
    plan = await keep.plan(intent)
    record = keep.ledger.open(plan.intent, sdl=plan.sdl)
    log = paths.endpoint("mine") / "lost.log"
    argv = [sys.executable, "-c", "import time; time.sleep(3600)"]
    environment = {"AKASH_LLM_HOME": str(paths.home())}
    lost = processes.start(argv, environment, log, uid=record.uid)
    assert [d.name for d in await diagnose(keep)] == ["mine"]
    adopted = await keep.apply(plan)
    assert adopted.uid == record.uid
    assert not processes.is_alive(lost, record.uid)


async def test_the_next_up_goes_on_where_a_killed_one_stopped(
    keeper: MakeKeeper, intent: Intent, stocked_home: Path
) -> None:
    keep = keeper("slow")
    record = await _killed_half_way(keep)
    (stocked_home / "go").touch()
    again = await opened(keep, intent)
    assert (again.uid, again.handle["pid"]) == (record.uid, record.handle["pid"])


async def test_a_process_without_a_row_is_found_and_ended(
    keeper: MakeKeeper, intent: Intent
) -> None:
    keep = keeper()
    record = await opened(keep, intent)
    paths.ledger().rename(paths.home() / "lost.db")
    (diagnosis,) = await diagnose(keep)
    assert (diagnosis.name, diagnosis.uid) == (None, record.uid)
    await settle(keep, diagnosis)
    assert living(record) == []
    assert await diagnose(keep) == []


async def test_what_somebody_is_working_on_is_no_finding(
    keeper: MakeKeeper, intent: Intent, stocked_home: Path
) -> None:
    keep = keeper("slow")
    task = asyncio.create_task(opened(keep, intent))
    await until(lambda: any("pid" in r.handle for r in keep.ledger.open_records()))
    assert await diagnose(keep) == []
    (stocked_home / "go").touch()
    assert (await task).state is State.READY


# -- what a person is told ----------------------------------------------------------


async def test_a_server_that_hangs_is_told_and_not_waited_for(
    keeper: MakeKeeper, intent: Intent
) -> None:
    keep = keeper()
    record = await opened(keep, intent)
    server = psutil.Process(int(record.handle["pid"]))
    server.suspend()
    try:
        (seen,) = await keep.status()
        assert (seen.health, seen.detail) == (Health.NOT_READY, "it runs, but does not answer")
        assert (await keep.plan(intent)).action is Action.ADOPT
    finally:
        server.resume()


async def test_a_failed_load_names_the_endpoint_whose_log_says_more(
    keeper: MakeKeeper, intent: Intent
) -> None:
    with pytest.raises(EndpointError) as caught:
        await opened(keeper("broken"), intent)
    assert caught.value.hint.endswith("akash-llm logs mine")


async def test_closing_what_never_was_makes_nothing(keeper: MakeKeeper) -> None:
    assert await keeper().close("nobody") is None
    assert not paths.endpoints().exists()


async def test_a_relative_home_is_the_same_place_for_everybody(
    keeper: MakeKeeper, intent: Intent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(paths.home().parent)
    monkeypatch.setenv("AKASH_LLM_HOME", "home")
    record = await opened(keeper(), intent)
    assert said(record)["env"]["AKASH_LLM_HOME"] == str(paths.home())
    assert (paths.endpoint("mine") / "mounts" / "models").is_dir()
