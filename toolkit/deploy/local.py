"""This machine as a target: the rendered SDL, run as processes of the person's own.

What runs is decided by a table of known images, never by the SDL. A process gets its
own session, a log file and a mark (`processes`), listens on loopback only, and needs no
daemon of ours: ledger and mark are enough to find it again.
"""

import asyncio
import importlib.util
import os
import sys
from collections.abc import AsyncIterator, Mapping
from decimal import Decimal
from importlib.metadata import version

from toolkit import paths
from toolkit.deploy import folder, keyfile, logfile, processes, ready
from toolkit.deploy.access import endpoint_of
from toolkit.deploy.base import (
    Finding,
    Health,
    Intent,
    Limit,
    Opening,
    Plan,
    Price,
    Record,
    Status,
)
from toolkit.deploy.needs import Needs, make_available, needs_of
from toolkit.deploy.ports import HOST, free_port, is_free
from toolkit.deploy.processes import Started
from toolkit.deploy.services import Job, Program, job_of
from toolkit.errors import (
    ConfigError,
    CredentialsError,
    EndpointError,
    RequestRefused,
    ToolkitError,
)
from toolkit.sdl.advice import OWN_SERVERS
from toolkit.sdl.inputs import RenderInputs
from toolkit.sdl.parse import parse
from toolkit.sdl.render import render

PORT = 11434
PORT_TRIES = 3
STOP_GRACE_S = 10.0
PROBE_S = 5.0  # a server that runs says at once whether it is ready
SHOWN_LOG_LINES = 15
USUAL_LOAD_S = 3.0

SERVER = "akash-llm-server"
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

    `image` is what the rendered SDL will name; a server that is asked to end is killed
    after `stop_grace_s`, one that is looked at has `probe_s` to answer.
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
        self._image = image or f"{SERVER}:{version('akash-llm')}"

    # -- Target ---------------------------------------------------------------------

    async def plan(self, intent: Intent) -> Plan:
        """What it takes here. Writes nothing but the key file of a name that has none."""
        if intent.engine != "llama-cpp":
            raise ConfigError(
                f"the engine {intent.engine!r} does not run on this machine",
                hint="Leave the engine out: llama-cpp runs on any machine.",
            )
        _check_installed()
        needs = await asyncio.to_thread(needs_of, intent)
        sdl = self._render(intent, needs)
        job = self._job(sdl, intent.name)
        return Plan(
            intent=needs.intent,
            resources=needs.resources,
            price=Price.of_hour(Decimal(0)),
            worst_case_usd=Decimal(0),
            limits=_LIMITS,
            privacy=_PRIVACY,
            notices=(*needs.notices, *job.notices),
            sdl=sdl,
        )

    async def apply(self, opening: Opening) -> None:
        record = opening.record
        found = _process_of(record) or _recovered(record.uid)
        if found and record.url:
            opening.note(pid=found.pid, started_at=found.started_at)
            await self._wait(opening, found, is_new=False)
            return
        await processes.end(record.uid, found, grace_s=self._stop_grace_s)
        await self._start(opening)

    async def status(self, record: Record) -> Status:
        process = _process_of(record) or _recovered(record.uid)
        if process is None:
            return Status(Health.GONE, "its process has ended")
        if not record.url:
            return Status(Health.NOT_READY, "it was left half started")
        try:
            async with asyncio.timeout(self._probe_s), endpoint_of(record) as endpoint:
                if not await endpoint.is_ready():
                    return Status(Health.NOT_READY, "it is loading, or does not answer")
                await endpoint.version()
        except TimeoutError:
            return Status(Health.NOT_READY, "it runs, but does not answer")
        except CredentialsError as error:
            return Status(Health.NOT_READY, f"its key does not open it: {error.message}")
        except EndpointError as error:
            return Status(Health.NOT_READY, error.message)
        return Status(Health.READY, "answers")

    async def close(self, record: Record) -> None:
        await processes.end(record.uid, _process_of(record), grace_s=self._stop_grace_s)

    # -- SupportsLogs ---------------------------------------------------------------

    async def logs(self, record: Record, *, follow: bool, tail: int) -> AsyncIterator[str]:
        path = folder.log_of(record)
        if not follow:
            for line in logfile.last_lines(path, tail):
                yield line
            return
        process = _process_of(record)
        if not path.exists():
            return
        async for line in logfile.follow(
            path,
            tail=tail,
            goes_on=lambda: process is not None and processes.is_alive(process, record.uid),
        ):
            yield line

    # -- SupportsInventory ----------------------------------------------------------

    async def inventory(self) -> list[Finding]:
        home = str(paths.home())
        return [
            Finding(uid, f"running: process {', '.join(str(p.pid) for p in members)}")
            for uid, members in processes.marked().items()
            if any(processes.environment_of(p).get(paths.HOME_VARIABLE) == home for p in members)
        ]

    async def discard(self, finding: Finding) -> None:
        await processes.end(finding.uid, None, grace_s=self._stop_grace_s)

    # -- how it is done -------------------------------------------------------------

    def _render(self, intent: Intent, needs: Needs) -> str:
        key = keyfile.ensure(paths.key_file(intent.name))
        return render(
            RenderInputs(
                image=self._image,
                keys_text=keyfile.as_digests(key),
                model=needs.intent.model,
                context=intent.context,
                parallel=intent.parallel,
                memory=needs.memory,
            ),
        )

    def _job(self, sdl: str, name: str) -> Job:
        return job_of(parse(sdl, f"{name}.yaml").sdl, self._programs, folder.mounts(name))

    async def _start(self, opening: Opening) -> None:
        record = opening.record
        opening.report("prepare", "folder, key and model")
        job = self._job(record.sdl, record.name)
        _check_key(record.name, job)
        await make_available(record.intent, lambda line: opening.report("prepare", line))
        folder.prepare(record, job)
        for attempt in range(1, PORT_TRIES + 1):
            port = free_port(PORT if attempt == 1 else 0)
            process = self._spawn(opening, job, port)
            try:
                await self._wait(opening, process, is_new=True)
                return
            except EndpointError:
                # Another program may have taken the port between our look and the start.
                is_alive = processes.is_alive(process, record.uid)
                if is_alive or attempt == PORT_TRIES or is_free(port):
                    raise
                opening.report("start", f"port {port} was taken meanwhile; trying another")

    def _spawn(self, opening: Opening, job: Job, port: int) -> Started:
        record = opening.record
        log = folder.new_log(record)
        if port != PORT:
            opening.report("start", f"port {PORT} is in use, taking {port}")
        # Written first: whoever finds the process by its mark knows where it answers.
        opening.note(url=f"http://{HOST}:{port}", port=port, log=str(log))
        environment = _environment(record.name, job, port)
        try:
            process = processes.start(job.argv, environment, log, uid=record.uid)
        except OSError as error:
            raise ConfigError(
                f"{job.argv[0]} cannot be started: {error.strerror}",
                hint="Is the Python environment still where it was made?",
            ) from None
        opening.note(pid=process.pid, started_at=process.started_at)
        return process

    async def _wait(self, opening: Opening, process: Started, *, is_new: bool) -> None:
        record = opening.record

        def check() -> None:
            if not processes.is_alive(process, record.uid):
                raise _died(opening.record)

        opening.report("load", f"{record.intent.model} is being loaded", USUAL_LOAD_S)
        async with endpoint_of(opening.record) as endpoint:
            try:
                await ready.wait_until_ready(endpoint, check, is_new=is_new)
            except EndpointError as error:
                check()  # a process that died says more than a connection that broke
                if isinstance(error, RequestRefused) and error.status >= 500:
                    error.hint = f"Its log says more: akash-llm logs {record.name}"
                raise
        opening.report("answer", "it has answered")


def _check_installed() -> None:
    missing = [name for name in ("litestar", "llama_cpp") if not importlib.util.find_spec(name)]
    if missing:
        raise ConfigError(
            f"the server is not installed here: {', '.join(missing)} is missing",
            hint="Install it: pip install 'akash-llm[server]'",
        )


def _check_key(name: str, job: Job) -> None:
    key = keyfile.read(paths.key_file(name))
    digests = job.environment.get("AKASH_LLM_KEYS", "")
    try:
        is_known = keyfile.is_known(key, digests)
    except ValueError as error:
        raise ConfigError(f"AKASH_LLM_KEYS of the SDL is not ok: {error}") from None
    if not is_known:
        raise ConfigError(
            f"the plan was made for another key than the one in {paths.key_file(name)}",
            hint="Plan again: the key file has changed since.",
        )


def _process_of(record: Record) -> Started | None:
    """The living process that the record names."""
    pid, started_at = record.handle.get("pid"), record.handle.get("started_at")
    if pid is None or started_at is None:
        return None
    process = Started(int(pid), float(started_at))
    return process if processes.is_alive(process, record.uid) else None


def _recovered(uid: str) -> Started | None:
    """The leader of processes with that mark, when nobody could note its number."""
    leaders = (p for p in processes.marked(uid).get(uid, ()) if processes.is_leader(p))
    return next((Started(p.pid, p.create_time()) for p in leaders), None)


def _environment(name: str, job: Job, port: int) -> dict[str, str]:
    """Ours without its secrets and settings, then the SDL's, then what is fixed."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("AKASH_")}
    return {
        **inherited,
        **job.environment,
        "AKASH_LLM_HOST": HOST,
        "AKASH_LLM_PORT": str(port),
        "AKASH_LLM_STATE": str(paths.state(name)),
        "PYTHONUNBUFFERED": "1",
        paths.HOME_VARIABLE: str(paths.home()),
    }


def _died(record: Record) -> ToolkitError:
    lines = logfile.last_lines(folder.log_of(record), SHOWN_LOG_LINES)
    said = "\n".join(f"  {line}" for line in lines) or "  (it said nothing)"
    return EndpointError(
        f"the server of {record.name} ended while it was starting. It said last:\n{said}",
        hint=f"The whole log: {folder.log_of(record)}",
    )
