"""This machine as a target: the rendered SDL, run as processes of the person's own.

What runs is decided by tables of known images and engines, never by the SDL. A process gets
its own session, a log file and a mark (`processes`), listens on loopback only, and needs no
daemon of ours: ledger and mark are enough to find it again. An engine and the server before
it are one endpoint: started together, and ended together.
"""

import asyncio
import importlib.util
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path

from toolkit import paths
from toolkit.deploy import folder, keyfile, logfile, members, processes
from toolkit.deploy.base import (
    DEFAULT_ENGINE,
    Finding,
    Health,
    Intent,
    Limit,
    Opening,
    Plan,
    Price,
    Record,
    State,
    Status,
)
from toolkit.deploy.engines import ENGINES
from toolkit.deploy.engines.base import LocalEngine
from toolkit.deploy.engines.program import find_program
from toolkit.deploy.needs import Needs, needs_of
from toolkit.deploy.ready import looked_at
from toolkit.deploy.services import Jobs, Program, jobs_of
from toolkit.deploy.starting import note, start, wait
from toolkit.errors import (
    ConfigError,
    UsageError,
)
from toolkit.sdl.advice import OWN_SERVERS
from toolkit.sdl.inputs import GPURequest, RenderInputs
from toolkit.sdl.parse import parse
from toolkit.sdl.render import render

STOP_GRACE_S = 10.0
PROBE_S = 5.0  # a server that runs says at once whether it is ready

SERVER = "akash-llm-server"
GATEWAY = "akash-llm-gateway"
# Our images differ in what they are built for; here it is the server that is installed.
PROGRAMS: Mapping[str, Program] = dict.fromkeys(
    sorted(OWN_SERVERS), Program((sys.executable, "-P", "-m", "server"))
)

_PRIVACY = (
    "Prompts and answers stay on this machine; the server listens on 127.0.0.1 only.",
    "The key lies in a file that only you can read; the server knows its digest.",
)
_LIMITS = (Limit("runs until it is closed or this machine restarts; costs only power", True),)


class LocalTarget:
    """Endpoints as processes here.

    `image` is what the rendered SDL will name for our server. One that is asked to end is
    killed after `stop_grace_s`, one that is looked at has `probe_s` to answer.
    """

    name = "local"

    def __init__(
        self,
        programs: Mapping[str, Program] = PROGRAMS,
        *,
        image: str | None = None,
        stop_grace_s: float = STOP_GRACE_S,
        probe_s: float = PROBE_S,
    ) -> None:
        self._programs = programs
        self._stop_grace_s = stop_grace_s
        self._probe_s = probe_s
        self._image = image

    # -- Target ---------------------------------------------------------------------

    async def plan(self, intent: Intent) -> Plan:
        """What it takes here. Writes nothing but the key file of a name that has none."""
        engine = _engine_of(intent)
        _check_installed(intent.engine)
        if engine is None:
            needs = await asyncio.to_thread(needs_of, intent)
        else:
            needs = await engine.needs(intent, find_program(engine))
        sdl = self._render(intent, needs)
        jobs = self._jobs(sdl, needs.intent)
        return Plan(
            intent=needs.intent,
            resources=needs.resources,
            price=Price.of_hour(Decimal(0)),
            worst_case_usd=Decimal(0),
            limits=_LIMITS,
            privacy=_PRIVACY,
            notices=(*needs.notices, *jobs.notices),
            sdl=sdl,
        )

    async def apply(self, opening: Opening) -> None:
        record = opening.record
        alive = members.living(record)
        if members.is_whole(record, alive) and record.url:
            for service, process in alive.items():
                note(opening, service, process)
            await wait(opening, alive, is_new=False)
            return
        await self.close(record)
        try:
            await start(opening, self._jobs(record.sdl, record.intent), self.close)
        except BaseException:
            if record.state is State.READY:  # who called closes only what never was
                await self.close(opening.record)
            raise

    async def status(self, record: Record) -> Status:
        parts = members.parts(record)
        ended = [part.service for part in parts if not part.is_running]
        if len(ended) == len(parts):
            what = "its process has ended" if len(parts) == 1 else "its processes have ended"
            return Status(Health.GONE, what, parts)
        if ended:
            return Status(Health.NOT_READY, f"its {ended[0]} has ended", parts)
        if not record.url:
            return Status(Health.NOT_READY, "it was left half started", parts)
        is_behind = members.ENGINE in members.services(record)
        who = f"its engine {record.intent.engine}" if is_behind else "it"
        loading = f"{who} is loading, or does not answer"
        health, detail = await looked_at(record, within_s=self._probe_s, loading=loading)
        return Status(health, detail, parts)

    async def close(self, record: Record) -> None:
        started = members.noted(record).values()
        await processes.end(record.uid, *started, grace_s=self._stop_grace_s)

    # -- SupportsLogs ---------------------------------------------------------------

    async def logs(
        self, record: Record, *, follow: bool, tail: int, service: str | None = None
    ) -> AsyncIterator[str]:
        files = _logs_of(record, service)
        if follow:
            lines = logfile.follow(files, tail=tail, goes_on=lambda: bool(members.living(record)))
            async for name, line in lines:
                yield line if len(files) == 1 else f"{name} | {line}"
            return
        for name, path in files.items():
            for line in logfile.last_lines(path, tail):
                yield line if len(files) == 1 else f"{name} | {line}"

    def services(self, record: Record) -> Sequence[str]:
        return members.services(record)

    # -- SupportsInventory ----------------------------------------------------------

    async def inventory(self) -> list[Finding]:
        home = str(paths.home())
        return [
            Finding(uid, f"running: process {', '.join(str(p.pid) for p in found)}")
            for uid, found in processes.marked().items()
            if any(processes.environment_of(p).get(paths.HOME_VARIABLE) == home for p in found)
        ]

    async def discard(self, finding: Finding) -> None:
        await processes.end(finding.uid, grace_s=self._stop_grace_s)

    # -- how it is done -------------------------------------------------------------

    def _render(self, intent: Intent, needs: Needs) -> str:
        key = keyfile.ensure(paths.key_file(intent.name))
        has_engine = intent.engine in ENGINES
        name = GATEWAY if has_engine else SERVER
        inputs = RenderInputs(
            image=self._image or f"{name}:{version('akash-llm')}",
            keys_text=keyfile.as_digests(key),
            model=needs.intent.model,
            context=intent.context,
            parallel=intent.parallel,
            memory=needs.memory,
            gpu=GPURequest(units=needs.gpus) if intent.engine == "vllm" else None,
        )
        return render(inputs, intent.engine)

    def _jobs(self, sdl: str, intent: Intent) -> Jobs:
        name = intent.name
        found = parse(sdl, f"{name}.yaml").sdl
        jobs = jobs_of(found, self._programs, folder.mounts(name), intent.model)
        if jobs.engine_name != intent.engine:
            raise ConfigError(
                f"the SDL is for the engine {jobs.engine_name}, and {intent.engine} was asked for",
                hint="Plan again, with the engine that you want.",
            )
        return jobs


def _engine_of(intent: Intent) -> LocalEngine | None:
    """The engine behind our server; None where the server runs models itself."""
    if intent.engine == DEFAULT_ENGINE:
        return None
    if intent.engine not in ENGINES:
        raise ConfigError(
            f"the engine {intent.engine!r} does not run on this machine",
            hint=f"There are: {', '.join((DEFAULT_ENGINE, *ENGINES))}. Left out, it is"
            f" {DEFAULT_ENGINE}, which runs on any machine.",
        )
    return ENGINES[intent.engine]


def _check_installed(engine: str) -> None:
    wanted = ("litestar", "llama_cpp") if engine == DEFAULT_ENGINE else ("litestar",)
    missing = [name for name in wanted if not importlib.util.find_spec(name)]
    if missing:
        raise ConfigError(
            f"the server is not installed here: {', '.join(missing)} is missing",
            hint="Install it: pip install 'akash-llm[server]'",
        )


def _logs_of(record: Record, service: str | None) -> dict[str, Path]:
    """The logs that there are, by service; of one only, if it is named."""
    known = members.services(record)
    if service is not None and service not in known:
        raise UsageError(f"{record.name} has no {service!r}", hint=f"It has: {', '.join(known)}.")
    wanted = known if service is None else (service,)
    found = {name: members.log_of(record, name) for name in wanted}
    return {name: path for name, path in found.items() if path is not None}
