"""Docker that is missing, silent, busy or hostile; plans from elsewhere; deaths half way."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import yaml

from tests.support.docker import FakeDocker, image
from tests.toolkit.deploy.compose.test_life import opened
from toolkit import paths
from toolkit.deploy import doctor
from toolkit.deploy.base import Health, Intent, Plan, State
from toolkit.deploy.docker import parts, program
from toolkit.deploy.docker.file import compose_file
from toolkit.deploy.docker.program import Docker
from toolkit.deploy.docker.project import Container, Project
from toolkit.deploy.keeper import Keeper
from toolkit.errors import (
    ConfigError,
    CredentialsError,
    DeadlineError,
    EndpointError,
    UsageError,
)

CANARY = "hf_canary_51c0ffee"


# -- without docker -----------------------------------------------------------------


async def test_without_docker_the_plan_says_so_and_applying_leaves_the_file(
    without_docker: None, keeper: Keeper, intent: Intent
) -> None:
    plan = await keeper.plan(intent)
    assert "there is no program `docker`" in plan.notices[0]
    file = compose_file("my.own")
    command = f"docker compose --project-name akash-llm-my-own --file {file} up --detach"
    assert command in plan.notices[1] and not file.exists()
    with pytest.raises(ConfigError, match="there is no program") as caught:
        await keeper.apply(plan)
    assert command in caught.value.hint and str(paths.key_file("my.own")) in caught.value.hint
    (service,) = yaml.safe_load(file.read_text())["services"].values()
    assert service["image"] == intent.image
    assert "labels" not in service, "what a person starts is theirs"
    (record,) = keeper.ledger.records()
    assert record.state is State.CLOSED
    assert await doctor.diagnose(keeper) == []


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("down", "Cannot connect to the Docker daemon"),
        ("no-compose", "plugin `compose` is missing"),
        ("elsewhere", "another machine"),
    ],
)
async def test_a_docker_that_cannot_be_used_is_none(
    fake: FakeDocker, keeper: Keeper, intent: Intent, fault: str, why: str
) -> None:
    fake.fault(fault)
    plan = await keeper.plan(intent)
    assert why in plan.notices[0]
    with pytest.raises(ConfigError, match=why):
        await keeper.apply(plan)
    assert compose_file("my.own").exists() and fake.containers() == []
    assert await doctor.diagnose(keeper) == []


async def test_while_docker_is_away_nothing_is_taken_for_gone(
    fake: FakeDocker, keeper: Keeper, intent: Intent
) -> None:
    await opened(keeper, intent)
    fake.fault("down")
    (seen,) = await keeper.status()
    assert seen.health is Health.NOT_READY and "does not answer" in seen.detail
    assert await doctor.diagnose(keeper) == []
    with pytest.raises(ConfigError, match="does not answer"):
        await keeper.close("my.own")
    record = keeper.ledger.find("my.own")
    assert record is not None and record.state is State.CLOSING
    fake.mend("down")
    await keeper.close("my.own")
    assert fake.containers() == []


async def test_a_docker_that_hangs_is_waited_for_no_longer_than_allowed(
    fake: FakeDocker, stocked_home: Path
) -> None:
    fake.fault("hang", "ps")
    docker = Docker(str(fake.bin / "docker"))
    words = ("compose", "--project-name", "p", "ps", "--all", "--format", "json")
    with pytest.raises(EndpointError, match="did not end within"):
        await docker.call(*words, within_s=0.5)
    fake.fault("hang", "logs")
    lines = docker.lines(
        *("compose", "--project-name", "p", "logs", "--no-color", "--tail", "1"), silence_s=0.5
    )
    with pytest.raises(EndpointError, match="did not end within"):
        await anext(lines)


async def test_a_start_that_hangs_ends_with_the_deadline(
    fake: FakeDocker, keeper: Keeper, intent: Intent
) -> None:
    plan = await keeper.plan(intent)
    fake.fault("hang", "up")
    with pytest.raises((DeadlineError, EndpointError)):
        await keeper.apply(plan, deadline_s=3)
    assert [record.state for record in keeper.ledger.records()] == [State.CLOSED]


# -- ports --------------------------------------------------------------------------


async def test_another_port_is_taken_when_one_is_lost_meanwhile(
    fake: FakeDocker, keeper: Keeper, intent: Intent
) -> None:
    fake.fault("port-taken", "2")
    record = await opened(keeper, intent)
    ports = [word for call in fake.calls() if "up" in call for word in call]
    assert ports.count("up") == 3
    assert str(record.url).endswith(f":{record.handle['port']}")
    assert len(fake.networks()) == 1
    await keeper.close("my.own")


async def test_three_lost_ports_are_enough(
    fake: FakeDocker, keeper: Keeper, intent: Intent
) -> None:
    fake.fault("port-taken", "9")
    with pytest.raises(EndpointError, match="address already in use"):
        await opened(keeper, intent)
    assert fake.containers() == [] and fake.networks() == []


# -- secrets ------------------------------------------------------------------------


async def test_a_secret_goes_to_the_container_and_nowhere_else(
    fake: FakeDocker, keeper: Keeper, intent: Intent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", CANARY)
    wish = msgspec.structs.replace(intent, secrets=("HF_TOKEN",))
    record = await opened(keeper, wish)
    monkeypatch.delenv("HF_TOKEN")
    (first, *_) = [line async for line in keeper.logs("my.own")]
    given = json.loads(first)
    assert given["env"]["HF_TOKEN"] == CANARY
    assert CANARY not in compose_file("my.own").read_text() + str(record) + str(fake.calls())
    await keeper.close("my.own")
    assert fake.containers() == []


async def test_a_secret_that_is_not_set_is_told_before_anything_starts(
    fake: FakeDocker, keeper: Keeper, intent: Intent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(CredentialsError, match="HF_TOKEN"):
        await opened(keeper, msgspec.structs.replace(intent, secrets=("HF_TOKEN",)))
    assert not any("up" in call for call in fake.calls())


async def test_docker_cannot_make_us_show_a_secret_or_move_the_cursor(
    fake: FakeDocker, keeper: Keeper, intent: Intent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", CANARY)
    fake.fault("port-taken", "9")
    fake.fault("says", f"\x1b]0;owned\x07the token is {CANARY}\u202e" + "x" * 100_000)
    with pytest.raises(EndpointError) as caught:
        await opened(keeper, msgspec.structs.replace(intent, secrets=("HF_TOKEN",)))
    shown = str(caught.value)
    assert CANARY not in shown and "(a secret)" in shown
    assert not set("\x1b\x07\u202e") & set(shown)
    assert len(shown) < 10_000


async def test_variables_of_ours_and_of_compose_do_not_reach_docker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    echo = tmp_path / "docker"
    echo.write_text("#!/bin/sh\nenv\n")
    echo.chmod(0o755)
    monkeypatch.setenv("AKASH_API_KEY", CANARY)
    monkeypatch.setenv("COMPOSE_FILE", CANARY)
    said = await Docker(str(echo)).call(variables={"GIVEN": "1"})
    assert CANARY not in said.out and "GIVEN=1" in said.out


# -- plans from elsewhere -----------------------------------------------------------


def replaced(old: str, new: str) -> Callable[[Plan], Plan]:
    def change(plan: Plan) -> Plan:
        assert old in plan.sdl
        return msgspec.structs.replace(plan, sdl=plan.sdl.replace(old, new, 1))

    return change


def with_intent(**changes: str) -> Callable[[Plan], Plan]:
    return lambda plan: msgspec.structs.replace(
        plan, intent=msgspec.structs.replace(plan.intent, **changes)
    )


@pytest.mark.parametrize(
    "change",
    [
        replaced(image("good"), "localhost:1/test/miner:1"),
        replaced("    env:\n", '    command: ["sh", "-c"]\n    args: ["mine"]\n    env:\n'),
        replaced("    env:\n", '    args: ["--mine"]\n    env:\n'),
        replaced("    env:\n", '    env:\n      - "LD_PRELOAD=/models/evil.so"\n'),
        replaced('"AKASH_LLM_KEYS=', f'"AKASH_LLM_KEYS=them:admin:{"0" * 64},'),
        replaced("port: 11434", "port: 22"),
        replaced("mount: ", 'mount: "/etc"\n        # '),
        replaced("count: 1", "count: 2"),
        with_intent(image="localhost:1/test/miner:1"),
        with_intent(engine="vllm"),
        with_intent(model="another:1b"),
    ],
)
async def test_a_plan_that_was_tampered_with_starts_nothing(
    fake: FakeDocker, keeper: Keeper, intent: Intent, change: Callable[[Plan], Plan]
) -> None:
    plan = change(await keeper.plan(intent))
    with pytest.raises((ConfigError, UsageError)):
        await keeper.apply(plan)
    assert not any("up" in call for call in fake.calls())
    assert not compose_file("my.own").exists()


@pytest.mark.parametrize("engine", ["plain-vllm", "moon"])
async def test_a_plan_for_an_engine_without_our_keys_starts_nothing(
    fake: FakeDocker, keeper: Keeper, intent: Intent, engine: str
) -> None:
    plan = with_intent(engine=engine)(await keeper.plan(intent))
    with pytest.raises(ConfigError, match="no engine"):
        await keeper.apply(plan)
    with pytest.raises(ConfigError, match="no engine"):
        await keeper.plan(plan.intent)


async def test_amounts_of_a_plan_may_be_others(
    fake: FakeDocker, keeper: Keeper, intent: Intent
) -> None:
    plan = await keeper.plan(intent)
    changed = plan.sdl.replace('size: "1Gi"', 'size: "3Gi"', 1).replace("units: 2", "units: 1")
    await keeper.apply(msgspec.structs.replace(plan, sdl=changed))
    await keeper.close("my.own")


# -- programs that die --------------------------------------------------------------


async def test_a_docker_that_dies_while_it_starts_leaves_what_close_finds(
    fake: FakeDocker, keeper: Keeper, intent: Intent
) -> None:
    fake.fault("die", "up")
    with pytest.raises(EndpointError, match="could not start"):
        await opened(keeper, intent)
    assert fake.containers() == [] and fake.networks() == []


@pytest.mark.parametrize("step", ["note", "up", "ready"])
async def test_a_row_that_was_left_is_gone_on_with(
    fake: FakeDocker, keeper: Keeper, intent: Intent, step: str
) -> None:
    """What a program leaves that is killed after each of its steps."""
    plan = await keeper.plan(intent)
    record = await keeper.apply(plan)
    with keeper.ledger.writing() as db:
        db.execute("UPDATE deployments SET state = 'opening'")
    before = fake.containers()
    if step == "note":
        await Project(Docker(str(fake.bin / "docker")), str(record.handle["project"])).end(
            grace_s=0
        )
    (found,) = await doctor.diagnose(keeper)
    assert found.name == "my.own"
    again = await keeper.apply(plan)
    assert again.state is State.READY
    assert (again.uid == record.uid) == (step != "note")
    assert (fake.containers() == before) == (step != "note")
    await keeper.close("my.own")
    assert fake.containers() == []


async def test_a_service_that_was_started_again_between_two_looks_has_ended(
    fake: FakeDocker, keeper: Keeper, intent: Intent
) -> None:
    fake.fault("restarts", "llm")
    never = msgspec.structs.replace(intent, image=image("never"))
    with pytest.raises(EndpointError, match="its server ended and was started again"):
        await opened(keeper, never)
    assert fake.containers() == []


async def test_what_is_kept_of_a_log_is_bounded(
    fake: FakeDocker, keeper: Keeper, intent: Intent
) -> None:
    record = await opened(keeper, intent)
    (log,) = fake.folder.glob(f"{record.handle['project']}-llm.log")
    with log.open("a") as file:
        file.write("x\n" * parts.KEPT_LINES + "a" * 50_000)
    await keeper.close("my.own")
    *most, last = parts.kept_log(record).read_text().splitlines()
    assert len(most) < parts.KEPT_LINES and len(last) <= parts.KEPT_CHARACTERS + len("server | ")
    assert last.endswith("aaa")


# -- what docker says ---------------------------------------------------------------


def saying(folder: Path, text: str) -> Docker:
    """A docker that says this, whatever it is asked."""
    (folder / "said").write_text(text)
    path = folder / "docker"
    path.write_text(f"#!/bin/sh\ncat {folder}/said\n")
    path.chmod(0o755)
    return Docker(str(path))


async def test_older_versions_list_containers_in_one_array(tmp_path: Path) -> None:
    docker = saying(tmp_path, '[{"Service":"llm","State":"exited","ExitCode":3,"More":[1]}]')
    (one,) = await Project(docker, "p").containers()
    assert (one.service, one.state, one.exit_code, one.is_running) == ("llm", "exited", 3, False)
    assert await Project(saying(tmp_path, "[]\n"), "p").containers() == ()
    assert await Project(saying(tmp_path, ""), "p").containers() == ()


@pytest.mark.parametrize(
    ("text", "counts"),
    [("3 llm\n0 gateway\n", {"llm": 3, "gateway": 0}), ("-1 llm\n<no value>\n1 a b\n² llm", {})],
)
async def test_restarts_that_cannot_be_read_are_left_out(
    tmp_path: Path, text: str, counts: dict[str, int]
) -> None:
    project = Project(saying(tmp_path, text), "p")
    found = [Container("llm", "running", id="0" * 12)]
    assert await project.restarts(found) == counts
    assert await project.restarts([Container("llm", "running", id="--all")]) == {}


@pytest.mark.parametrize("text", ["<html>", '{"Service":1}', "[{]", '{"Service":"a"}', "\udcff"])
async def test_containers_that_cannot_be_read_are_an_error(tmp_path: Path, text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    with pytest.raises(EndpointError, match="cannot be read"):
        await Project(saying(tmp_path, text), "p").containers()


async def test_a_log_line_without_an_end_comes_in_pieces(tmp_path: Path) -> None:
    docker = saying(tmp_path, "a" * (3 * program.MOST_LINE_BYTES) + "\nb\r\n\x1b[2Jc")
    lines = [line async for line in docker.lines()]
    assert "".join(lines[:-2]) == "a" * (3 * program.MOST_LINE_BYTES)
    assert max(map(len, lines)) <= 2 * program.MOST_LINE_BYTES
    assert lines[-2:] == ["b", "c"]


async def test_only_the_end_of_what_is_said_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "MOST_BYTES", 1000)
    said = await saying(tmp_path, "a" * 100_000 + "end").call()
    assert said.out.endswith("aend") and len(said.out) == 1000


async def test_cancelling_a_call_ends_the_program_and_its_children(tmp_path: Path) -> None:
    path = tmp_path / "docker"
    path.write_text(f"#!/bin/sh\nsleep 3600 & echo $! > {tmp_path}/child\nwait\n")
    path.chmod(0o755)
    call = asyncio.create_task(Docker(str(path)).call())
    async with asyncio.timeout(60):
        while not (tmp_path / "child").exists() or not (tmp_path / "child").read_text():
            await asyncio.sleep(0.02)
    child = Path("/proc", (tmp_path / "child").read_text().strip())
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    async with asyncio.timeout(60):
        while child.exists() and ") Z" not in (child / "stat").read_text():
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("name", ["a b", "", "x" * 300])
async def test_labels_of_others_are_not_ours(
    fake: FakeDocker, keeper: Keeper, intent: Intent, name: str
) -> None:
    labels = {
        "akash-llm.home": str(paths.home()),
        "akash-llm.deployment": name or "0" * 31,
        "com.docker.compose.project": "--all" if name else "p",
    }
    row = {"name": "n", "labels": labels, "pid": 0, "log": ""}
    (fake.folder / "containers.json").write_text(json.dumps([row]))
    assert await doctor.diagnose(keeper) == []
    (fake.folder / "containers.json").write_text("[]")


async def test_a_name_that_is_none_reaches_no_program(fake: FakeDocker, keeper: Keeper) -> None:
    with pytest.raises(UsageError):
        await keeper.plan(Intent(name="../up", target="compose", image=image("good")))
    assert fake.calls() == []
