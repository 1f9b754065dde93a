"""The start of an endpoint's processes on this machine, until it has answered.

Both of a pair are started at once and noted at once: who is killed a moment later leaves
something that the next one can adopt whole, or end whole.
"""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

from toolkit import paths
from toolkit.deploy import folder, keyfile, logfile, members, processes, ready
from toolkit.deploy.access import endpoint_of
from toolkit.deploy.base import Opening, Record
from toolkit.deploy.engines import ENGINES
from toolkit.deploy.engines.base import LocalEngine
from toolkit.deploy.engines.program import find_program
from toolkit.deploy.launch import Ports, launches
from toolkit.deploy.needs import make_available
from toolkit.deploy.ports import HOST, free_port, is_free
from toolkit.deploy.processes import Started
from toolkit.deploy.services import Job, Jobs
from toolkit.errors import ConfigError, EndpointError, RequestRefused, ToolkitError

PORT: Final = 11434
PORT_TRIES: Final = 3
SHOWN_LOG_LINES: Final = 15
USUAL_LOAD_S: Final = 3.0


async def start(opening: Opening, jobs: Jobs, close: Callable[[Record], Awaitable[None]]) -> None:
    """Start what the jobs say and wait until it answers. `close` ends what a lost port spoiled.

    Raises what `Target.apply` does, and leaves what it has started to who called.
    """
    record = opening.record
    opening.report("prepare", "folder, key and model")
    _check_key(record.name, jobs.server)
    program = await _prepare(opening, jobs)
    folder.prepare(record, jobs.server)
    wanted = _usual_port(opening)
    for attempt in range(1, PORT_TRIES + 1):
        ports = _free_ports(opening, jobs, wanted if attempt == 1 else 0)
        if ports.server != wanted:
            opening.report("start", f"port {wanted} is in use, taking {ports.server}")
        started = await _spawn(opening, jobs, ports, program)
        try:
            await wait(opening, started, is_new=True)
            return
        except EndpointError:
            taken = _taken_port(record, ports, started)
            if not taken or attempt == PORT_TRIES:
                raise
            await close(opening.record)
            opening.report("start", f"port {taken} was taken meanwhile; trying another")


def _usual_port(opening: Opening) -> int:
    """The one that clients know: it had it before, or the last endpoint of that name."""
    former = opening.former
    known = former.handle if former is not None and former.target == opening.record.target else {}
    return int(opening.record.handle.get("port", known.get("port", PORT)))


async def _spawn(
    opening: Opening, jobs: Jobs, ports: Ports, program: Path | None
) -> dict[str, Started]:
    """All processes, each noted as soon as there is something to note."""
    logs = _note_places(opening, jobs, ports)
    made = await launches(opening.record.intent, jobs, ports, program)
    started = {}
    for service, (argv, environment) in made.items():
        try:
            process = processes.start(argv, environment, logs[service], uid=opening.record.uid)
        except OSError as error:
            raise ConfigError(
                f"{argv[0]} cannot be started: {error.strerror}",
                hint="Is the environment of that program still where it was made?",
            ) from None
        note(opening, service, process)
        started[service] = process
    return started


async def wait(opening: Opening, started: Mapping[str, Started], *, is_new: bool) -> None:
    """Return when the endpoint has answered. `EndpointError` if a process ends before."""
    record = opening.record

    def check() -> None:
        for service, process in started.items():
            if not processes.is_alive(process, record.uid):
                raise _died(opening.record, service)

    def tell(reason: str) -> None:
        opening.report("load", f"not yet: {reason}")

    engine = ENGINES[record.intent.engine] if members.ENGINE in started else None
    _report_loading(opening, engine)
    async with endpoint_of(opening.record) as endpoint:
        try:
            await ready.wait_until_ready(
                endpoint, check, is_new=is_new, tell=tell if engine else None
            )
        except EndpointError as error:
            check()  # a process that died says more than a connection that broke
            if isinstance(error, RequestRefused) and error.status >= 500:
                error.hint = f"Its log says more: akash-llm logs {record.name}"
            raise
    opening.report("answer", "it has answered")


async def _prepare(opening: Opening, jobs: Jobs) -> Path | None:
    """Bring the model as far as it is for us to bring; the program of the engine, if any."""
    intent = opening.record.intent

    def tell(line: str) -> None:
        opening.report("prepare", line)

    if jobs.engine is None:
        await make_available(intent, tell)
        return None
    engine = ENGINES[jobs.engine.engine]
    program = find_program(engine)
    await engine.prepare(intent, tell)
    return program


def _free_ports(opening: Opening, jobs: Jobs, wanted: int) -> Ports:
    server = free_port(wanted)
    if jobs.engine is None:
        return Ports(server)
    if socket := _socket(opening, ENGINES[jobs.engine.engine]):
        return Ports(server, socket=socket)
    while (engine := free_port(0)) == server:
        pass
    return Ports(server, engine)


def _socket(opening: Opening, engine: LocalEngine) -> Path | None:
    """Where only this user can reach the engine, if it can listen there."""
    if not engine.takes_socket:
        return None
    name = opening.record.name
    if (socket := folder.new_socket(name)) is None:
        text = (
            f"the path of {paths.endpoint(name)} is too long for a socket: {engine.name} listens"
            f" on a port of {HOST}, where other users of this machine reach it, too"
        )
        opening.report("start", text)
    return socket


def _note_places(opening: Opening, jobs: Jobs, ports: Ports) -> dict[str, Path]:
    """Written before anything is started: whoever finds a process by its mark knows where it
    answers and that there are two. Returns the log of each."""
    server_log, engine_log = folder.new_logs(opening.record)
    values = members.handle(members.SERVER, port=ports.server, log=str(server_log))
    if jobs.engine is not None:
        values |= members.handle(members.ENGINE, port=ports.engine, log=str(engine_log))
        values["model"] = jobs.engine.serves
    opening.note(url=f"http://{HOST}:{ports.server}", **values)
    return {members.SERVER: server_log, members.ENGINE: engine_log}


def note(opening: Opening, service: str, process: Started) -> None:
    """Write down which process it is."""
    values = members.handle(service, pid=process.pid, started_at=process.started_at)
    opening.note(url=None, **values)


def _taken_port(record: Record, ports: Ports, started: Mapping[str, Started]) -> int:
    """The port of a process that has ended, if another program has it now.

    It may have taken it between our look and the start.
    """
    for service, process in started.items():
        port = ports.of(service)
        if not processes.is_alive(process, record.uid) and not is_free(port):
            return port
    return 0


def _report_loading(opening: Opening, engine: LocalEngine | None) -> None:
    model = opening.record.intent.model
    if engine is None:
        opening.report("load", f"{model} is being loaded", USUAL_LOAD_S)
        return
    text = f"{engine.name} is loading {model}; the server before it is waiting"
    opening.report("load", text, engine.usual_load_s)


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


def _died(record: Record, service: str) -> ToolkitError:
    log = members.log_of(record, service) or paths.endpoint(record.name)
    lines = logfile.last_lines(log, SHOWN_LOG_LINES)
    said = "\n".join(f"  {line}" for line in lines) or "  (it said nothing)"
    who = "server" if service == members.SERVER else f"engine {record.intent.engine}"
    return EndpointError(
        f"the {who} of {record.name} ended while it was starting. It said last:\n{said}",
        hint=f"The whole log: {log}",
    )
