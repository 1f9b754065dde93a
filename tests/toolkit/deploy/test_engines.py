"""An engine and our server before it on this machine: real processes that stand in for both."""

import asyncio
import http.server
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from tests.support.deploying import STAND_IN, MakeKeeper, until
from tests.support.pairs import install, pair_sdl
from toolkit import paths
from toolkit.deploy import keyfile, members, processes
from toolkit.deploy.access import endpoint_of
from toolkit.deploy.base import Health, Intent, Plan, Price, Record, State, Update
from toolkit.deploy.doctor import diagnose
from toolkit.deploy.keeper import Keeper
from toolkit.deploy.ports import free_port
from toolkit.errors import ConfigError, DeadlineError, EndpointError, UsageError

MakePlan = Callable[..., Plan]


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on PATH with stand-ins for both engines, and no others to be found."""
    folder = tmp_path / "bin"
    for name in ("vllm", "ollama"):
        install(folder, name)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A folder that is a model as far as its config goes."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


@pytest.fixture
def short_home(stocked_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The home by a path that is short enough for a socket in it."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder, "h")
        home.symlink_to(stocked_home)
        monkeypatch.setenv("AKASH_LLM_HOME", str(home))
        yield home


@pytest.fixture
def plan(programs: Path) -> MakePlan:
    """Plans of an SDL of two services."""

    def make(engine: str = "vllm", model: str = "org/tiny", **changes: Any) -> Plan:
        keys = keyfile.as_digests(keyfile.ensure(paths.key_file("mine")))
        return Plan(
            intent=Intent(name="mine", engine=engine, model=model, context=512, parallel=2),
            resources=(),
            price=Price.of_hour(Decimal(0)),
            worst_case_usd=Decimal(0),
            limits=(),
            privacy=(),
            sdl=pair_sdl(engine, model=model, keys=keys, **changes),
        )

    return make


@pytest.fixture
def elsewhere() -> Iterator[int]:
    """A port where another program answers."""
    other = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    thread = threading.Thread(target=other.serve_forever)
    thread.start()
    yield other.server_port
    other.shutdown()
    thread.join()
    other.server_close()


async def opened(keeper: Keeper, plan: Plan) -> Record:
    return await keeper.apply(plan, deadline_s=60)


def said(record: Record, service: str) -> Any:
    """What a stand-in wrote first: its arguments and its environment."""
    log = members.log_of(record, service)
    assert log is not None
    return json.loads(log.read_text().splitlines()[0])


def living(record: Record) -> list[psutil.Process]:
    return processes.family(record.uid, *members.noted(record).values())


def engine_of(record: Record) -> psutil.Process:
    return psutil.Process(int(record.handle["engine_pid"]))


# -- open, adopt, close -------------------------------------------------------------


async def test_open_look_close(keeper: MakeKeeper, plan: MakePlan) -> None:
    keep, updates = keeper("gateway"), list[Update]()
    record = await keep.apply(plan(), progress=updates.append, deadline_s=60)
    assert record.state is State.READY
    assert any("vllm is loading org/tiny" in update.text for update in updates)
    (seen,) = await keep.status()
    assert (seen.health, seen.engine) == (Health.READY, "vllm")
    assert [(part.service, part.is_running) for part in seen.parts] == [
        ("server", True),
        ("engine", True),
    ]
    pids = {part.pid for part in seen.parts}
    assert pids == {record.handle["pid"], record.handle["engine_pid"]}
    assert all(os.getsid(pid) == pid for pid in pids if pid)
    closed = await keep.close("mine")
    assert closed is not None and closed.state is State.CLOSED and closed.error is None
    assert living(record) == []
    assert await diagnose(keep) == []


async def test_vllm_is_told_what_the_sdl_may_say(
    short_home: Path, keeper: MakeKeeper, plan: MakePlan, programs: Path
) -> None:
    record = await opened(keeper("gateway"), plan(engine_env={"LD_PRELOAD": "/tmp/evil.so"}))
    argv = said(record, "engine")["argv"]
    socket = str(paths.endpoint("mine") / "engine.sock")
    assert argv[0] == str(programs / "vllm")
    assert argv[1:] == [
        *("serve", "org/tiny", "--max-model-len", "512", "--max-num-seqs", "2"),
        *("--tensor-parallel-size", "1", "--enable-prompt-tokens-details"),
        *("--served-model-name", "org/tiny", "--uds", socket),
    ]
    assert "LD_PRELOAD" not in said(record, "engine")["env"]


async def test_the_key_between_them_is_in_their_environments_only(
    keeper: MakeKeeper, plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AKASH_API_KEY", "canary-of-the-console")
    monkeypatch.setenv("VLLM_API_KEY", "canary-of-the-person")
    monkeypatch.setenv("PYTHONPATH", "/of/our/python")
    keep = keeper("gateway")
    record = await opened(keep, plan())
    server, engine = (said(record, service)["env"] for service in ("server", "engine"))
    key = engine["VLLM_API_KEY"]
    assert len(key) >= 32 and server["AKASH_LLM_UPSTREAM_KEY"] == key
    assert not {"AKASH_API_KEY", "PYTHONPATH", "AKASH_LLM_KEYS"} & set(engine)
    assert key not in json.dumps(said(record, "engine")["argv"])
    rows = msgspec.json.encode([keep.ledger.records(), keep.ledger.events(record.uid)]).decode()
    assert key not in rows
    folder = [p for p in paths.endpoint("mine").rglob("*") if p.is_file() and p.suffix != ".log"]
    assert [path for path in folder if key in path.read_text()] == []
    await keep.close("mine")
    again = await opened(keep, plan())
    assert said(again, "engine")["env"]["VLLM_API_KEY"] != key


async def test_no_other_user_reaches_what_has_a_socket(
    short_home: Path, keeper: MakeKeeper, plan: MakePlan
) -> None:
    keep = keeper("gateway")
    record = await opened(keep, plan())
    socket = paths.endpoint("mine") / "engine.sock"
    assert said(record, "server")["env"]["AKASH_LLM_UPSTREAM"] == f"unix:{socket}"
    assert socket.is_socket() and socket.parent.stat().st_mode & 0o777 == 0o700
    listening = [c for process in living(record) for c in process.net_connections("tcp")]
    assert {c.laddr.port for c in listening} == {record.handle["port"]}
    await keep.close("mine")
    assert (await opened(keep, plan())).state is State.READY  # whatever was left of the socket


async def test_where_a_path_is_too_long_for_a_socket_it_is_said(
    stocked_home: Path, keeper: MakeKeeper, plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AKASH_LLM_HOME", str(stocked_home / ("long" * 20)))
    keep, updates = keeper("gateway"), list[Update]()
    record = await keep.apply(plan(), progress=updates.append, deadline_s=60)
    port = record.handle["engine_port"]
    assert said(record, "server")["env"]["AKASH_LLM_UPSTREAM"] == f"http://127.0.0.1:{port}"
    assert any("too long for a socket: vllm listens on a port" in one.text for one in updates)


async def test_ollama_serves_our_store_and_has_no_key(keeper: MakeKeeper, plan: MakePlan) -> None:
    known = {"OLLAMA_NUM_PARALLEL": "2"}
    record = await opened(keeper("gateway"), plan("ollama", "smollm2:135m", engine_env=known))
    environment = said(record, "engine")["env"]
    assert said(record, "engine")["argv"][1:] == ["serve"]
    assert environment["OLLAMA_HOST"] == f"127.0.0.1:{record.handle['engine_port']}"
    assert environment["OLLAMA_MODELS"] == str(paths.models())
    assert environment["OLLAMA_NUM_PARALLEL"] == "2"
    assert "AKASH_LLM_UPSTREAM_KEY" not in said(record, "server")["env"]


async def test_a_folder_is_used_by_its_name(
    keeper: MakeKeeper, plan: MakePlan, weights: Path
) -> None:
    keep = keeper("gateway")
    record = await opened(keep, plan(model=str(weights)))
    assert said(record, "engine")["argv"][2] == str(weights)
    assert said(record, "engine")["env"]["HF_HUB_OFFLINE"] == "1"
    assert said(record, "server")["env"]["AKASH_LLM_PRELOAD"] == "tiny"
    async with endpoint_of(record) as endpoint:
        assert endpoint.model == "tiny"
    (seen,) = await keep.status()
    assert seen.model == "tiny"


async def test_asked_for_twice_it_is_there(keeper: MakeKeeper, plan: MakePlan) -> None:
    keep = keeper("gateway")
    first = await opened(keep, plan())
    second = await opened(keep, plan())
    assert (second.uid, second.handle) == (first.uid, first.handle)


async def test_another_engine_is_another_intent(keeper: MakeKeeper, plan: MakePlan) -> None:
    keep = keeper("gateway")
    first = await opened(keep, plan())
    with pytest.raises(UsageError, match="engine vllm → ollama"):
        await opened(keep, plan("ollama", "smollm2:135m"))
    assert len(living(first)) == 2


async def test_logs_say_whose_they_are(keeper: MakeKeeper, plan: MakePlan) -> None:
    keep = keeper("gateway")
    await opened(keep, plan())
    async with asyncio.timeout(30):
        followed = keep.logs("mine", follow=True, tail=1)
        seen = {(await anext(followed)).partition(" | ")[0] for _ in range(2)}
        assert seen == {"server", "engine"}
        await keep.close("mine")
        rest = [line async for line in followed]
    assert all(line.startswith(("server | ", "engine | ")) for line in rest)
    both = [line async for line in keep.logs("mine", tail=1)]
    assert [line.partition(" | ")[0] for line in both] == ["server", "engine"]
    (only,) = [line async for line in keep.logs("mine", tail=1, service="engine")]
    assert json.loads(only)["argv"][1] == "serve"
    with pytest.raises(UsageError, match="no 'moon'"):
        await anext(keep.logs("mine", service="moon"))


# -- crashes ------------------------------------------------------------------------


async def test_an_engine_that_dies_shows_its_last_words(
    keeper: MakeKeeper, plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_MANNERS", "dies")
    keep = keeper("gateway")
    with pytest.raises(EndpointError, match="engine vllm of mine ended") as caught:
        await opened(keep, plan())
    assert "no kernel image" in caught.value.message and "engine.log" in caught.value.hint
    (record,) = keep.ledger.records()
    assert record.state is State.CLOSED and living(record) == []


async def test_a_server_that_dies_takes_the_engine_along(
    keeper: MakeKeeper, plan: MakePlan
) -> None:
    keep = keeper("dies")
    changed = plan(gateway="example.org/test/stand-in:1")
    with pytest.raises(EndpointError, match="the server of mine ended"):
        await opened(keep, changed)
    (record,) = keep.ledger.records()
    assert record.state is State.CLOSED and "engine_pid" in record.handle
    assert living(record) == []


async def test_an_engine_that_is_never_ready_ends_at_the_deadline(
    keeper: MakeKeeper, plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_MANNERS", "slow")
    keep = keeper("gateway")
    with pytest.raises(DeadlineError, match="phase was 'load'"):
        await keep.apply(plan(), deadline_s=2)
    (record,) = keep.ledger.records()
    assert record.state is State.CLOSED and living(record) == []


@pytest.mark.parametrize("service", ["engine", "server"])
async def test_one_that_was_killed_is_told_and_both_are_begun_anew(
    keeper: MakeKeeper, plan: MakePlan, service: str
) -> None:
    keep = keeper("gateway")
    first = await opened(keep, plan())
    os.kill(members.noted(first)[service].pid, signal.SIGKILL)
    await until(lambda: service not in members.living(first))
    (seen,) = await keep.status()
    assert (seen.health, seen.detail) == (Health.NOT_READY, f"its {service} has ended")
    assert [part.service for part in seen.parts if not part.is_running] == [service]
    again = await opened(keep, plan())
    assert again.uid == first.uid and members.is_whole(again, members.living(again))
    assert again.handle["pid"] != first.handle["pid"]
    assert again.handle["engine_pid"] != first.handle["engine_pid"]
    assert len(living(again)) == 2


async def test_begun_anew_in_vain_nothing_is_left(
    keeper: MakeKeeper, plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = keeper("gateway")
    record = await opened(keep, plan())
    engine_of(record).kill()
    monkeypatch.setenv("STAND_IN_MANNERS", "dies")
    await until(lambda: "engine" not in members.living(record))
    with pytest.raises(EndpointError, match="engine vllm of mine ended"):
        await opened(keep, plan())
    assert living(keep.record("mine")) == []


async def test_both_gone_is_gone(keeper: MakeKeeper, plan: MakePlan) -> None:
    keep = keeper("gateway")
    record = await opened(keep, plan())
    for process in living(record):
        process.kill()
    await until(lambda: members.living(record) == {})
    (seen,) = await keep.status()
    assert (seen.health, seen.detail) == (Health.GONE, "its processes have ended")
    assert (await opened(keep, plan())).uid != record.uid


async def test_children_without_a_mark_end_with_a_killed_engine(
    keeper: MakeKeeper, plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """vLLM's engine core writes its title over its environment, and outlives who started it."""
    monkeypatch.setenv("STAND_IN_MANNERS", "forks")
    keep = keeper("gateway")
    record = await opened(keep, plan())
    (child,) = engine_of(record).children()
    engine_of(record).kill()
    await until(lambda: "engine" not in members.living(record))
    assert child.is_running()
    await keep.close("mine")
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


async def test_killed_half_way_the_next_one_goes_on(
    keeper: MakeKeeper, plan: MakePlan, monkeypatch: pytest.MonkeyPatch, stocked_home: Path
) -> None:
    """What a program that was killed leaves: both processes loading, and an open row."""
    monkeypatch.setenv("STAND_IN_MANNERS", "slow")
    keep = keeper("gateway")
    left = await _left_loading(keep, plan(), stocked_home)
    async with asyncio.timeout(60):  # it may not listen yet
        while not (detail := (await keep.status())[0].detail).endswith("gateway one is not ready"):
            assert "engine vllm is loading" in detail

    def go_on(update: Update) -> None:
        if update.text == "not yet: the gateway one is not ready":
            (stocked_home / "go").touch()

    again = await keep.apply(plan(), progress=go_on, deadline_s=60)
    assert (again.uid, again.handle) == (left.uid, left.handle)


async def test_half_a_pair_is_begun_anew(
    keeper: MakeKeeper, plan: MakePlan, monkeypatch: pytest.MonkeyPatch, stocked_home: Path
) -> None:
    monkeypatch.setenv("STAND_IN_MANNERS", "slow")
    keep = keeper("gateway")
    left = await _left_loading(keep, plan(), stocked_home)
    psutil.Process(int(left.handle["pid"])).kill()
    await until(lambda: "server" not in members.living(left))
    (stocked_home / "go").touch()
    again = await opened(keep, plan())
    assert again.uid == left.uid and len(living(again)) == 2
    assert not processes.is_alive(members.noted(left)["engine"], left.uid)


APPLY = """
import asyncio, sys
from pathlib import Path
from toolkit.deploy.base import Plan
from toolkit.deploy.keeper import Keeper
from toolkit.deploy.local import LocalTarget
from toolkit.deploy.services import Program

server, plan = sys.argv[1:]
programs = {"akash-llm-gateway": Program((sys.executable, server, "gateway"))}
keeper = Keeper(targets={"local": LocalTarget(programs)})
asyncio.run(keeper.apply(Plan.from_json(Path(plan).read_bytes())))
"""


async def _left_loading(keep: Keeper, plan: Plan, folder: Path) -> Record:
    """The record of an apply whose program was killed while both processes were loading."""
    file = folder / "plan.json"
    file.write_bytes(plan.to_json())
    with subprocess.Popen([sys.executable, "-c", APPLY, str(STAND_IN), str(file)]) as program:
        await until(
            lambda: any({"pid", "engine_pid"} <= set(r.handle) for r in keep.ledger.open_records())
        )
        program.kill()
    (record,) = keep.ledger.open_records()
    return record


async def test_a_port_that_was_taken_meanwhile_is_left_to_the_other(
    keeper: MakeKeeper, plan: MakePlan, monkeypatch: pytest.MonkeyPatch, elsewhere: int
) -> None:
    ports = iter([elsewhere])
    monkeypatch.setattr(
        "toolkit.deploy.starting.free_port", lambda wanted: next(ports, 0) or free_port(wanted)
    )
    updates = list[Update]()
    record = await keeper("gateway").apply(plan(), progress=updates.append, deadline_s=60)
    assert record.handle["port"] != elsewhere
    assert any(f"port {elsewhere} was taken meanwhile" in update.text for update in updates)
    assert len(living(record)) == 2


# -- what is refused ----------------------------------------------------------------


async def test_a_plan_for_another_engine_is_refused(keeper: MakeKeeper, plan: MakePlan) -> None:
    made = plan()
    other = msgspec.structs.replace(made.intent, engine="llama-cpp")
    with pytest.raises(ConfigError, match="for the engine vllm"):
        await opened(keeper("gateway"), msgspec.structs.replace(made, intent=other))


async def test_a_plan_that_was_tampered_with_sends_nothing_away(
    keeper: MakeKeeper, plan: MakePlan
) -> None:
    keep = keeper("gateway")
    with pytest.raises(ConfigError, match="not the engine of this SDL"):
        await opened(keep, plan(env={"AKASH_LLM_UPSTREAM": "http://example.org"}))
    assert keep.ledger.open_records() == []


async def test_a_folder_that_has_gone_is_told(
    keeper: MakeKeeper, plan: MakePlan, weights: Path
) -> None:
    made = plan(model=str(weights))
    (weights / "config.json").unlink()
    with pytest.raises(ConfigError, match="is no folder with a config"):
        await opened(keeper("gateway"), made)


async def test_a_folder_that_hides_a_name_is_told(
    keeper: MakeKeeper, plan: MakePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "org" / "tiny").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="would take it for the model"):
        await opened(keeper("gateway"), plan())
