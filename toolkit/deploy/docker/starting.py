"""The start of an endpoint's containers, until it has answered."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

from toolkit import paths
from toolkit.deploy import ready
from toolkit.deploy.access import endpoint_of
from toolkit.deploy.base import Opening, Record
from toolkit.deploy.docker import file
from toolkit.deploy.docker.demand import checked
from toolkit.deploy.docker.parts import ended, started_again
from toolkit.deploy.docker.program import Docker
from toolkit.deploy.docker.project import PortTaken, Project, labels_of, new_name
from toolkit.deploy.engines import ENGINES
from toolkit.deploy.ports import HOST, free_port
from toolkit.errors import ConfigError, CredentialsError, EndpointError

PORT: Final = 11434
PORT_TRIES: Final = 3
WATCH_S: Final = 1.0
USUAL_START_S: Final = 5.0
USUAL_LOAD_S: Final = 10.0

Close = Callable[[Record], Awaitable[None]]


async def start(opening: Opening, docker: Docker, close: Close) -> None:
    """Write the file, start it, and wait until it answers. `close` ends what a lost port spoiled.

    Raises what `Target.apply` does, and leaves what it has started to who called.
    """
    record = opening.record
    opening.report("prepare", "key and file")
    sdl = checked(record.sdl, record.intent)
    secrets = _secrets(record)
    for attempt in range(1, PORT_TRIES + 1):
        port = free_port(PORT if attempt == 1 else 0)
        if port != PORT:
            opening.report("start", f"port {PORT} is in use, taking {port}")
        project = Project(docker, new_name(record))
        # Before anything is started: who finds the row can end all of it.
        opening.note(url=f"http://{HOST}:{port}", project=project.name, port=port)
        path = file.write(record, sdl, port, labels_of(record, paths.home()))
        text = "Docker Compose starts it; images that are not here are pulled first"
        opening.report("start", text, USUAL_START_S)
        try:
            await project.up(path, secrets, within_s=max(1.0, opening.deadline_s))
            await wait(opening, project)
            return
        except (PortTaken, CredentialsError):  # who refuses the key is another program
            if attempt == PORT_TRIES:
                raise
            await close(opening.record)
            opening.report("start", f"port {port} was taken meanwhile; trying another")


async def wait(opening: Opening, project: Project) -> None:
    """Return when the endpoint has answered. `EndpointError` if a container ends before."""
    record = opening.record
    model, engine = record.intent.model, record.intent.engine

    def tell(reason: str) -> None:
        opening.report("load", f"not yet: {reason}")

    usual_s = ENGINES[engine].usual_load_s if engine in ENGINES else USUAL_LOAD_S
    opening.report("load", f"{model} is fetched, if it is not here, and loaded", usual_s)
    async with endpoint_of(record) as endpoint, _watched(record, project) as check:
        await ready.wait_until_ready(endpoint, check, is_new=False, tell=tell)
    opening.report("answer", "it has answered")


@asynccontextmanager
async def _watched(record: Record, project: Project) -> AsyncIterator[Callable[[], None]]:
    """A check that raises once a container has ended; Docker is asked beside the waiting."""
    watching = asyncio.create_task(_watch(record, project))

    def check() -> None:
        if watching.done():
            watching.result()

    try:
        yield check
    finally:
        watching.cancel()
        await asyncio.wait([watching])
        if not watching.cancelled():
            watching.exception()  # somebody has seen it, or it came too late to matter


async def _watch(record: Record, project: Project) -> None:
    """Raises once something has ended. Docker starts what ends again within a blink, so what
    counts is also that it was started again since this began to look."""
    before: Mapping[str, int] | None = None
    while True:
        found = await project.containers()
        restarts = await project.restarts(found)
        before = restarts if before is None else before
        what = ended(record, found) or started_again(record, before, restarts)
        if what is not None:
            said = "\n".join(f"  {line}" for line in await project.last_lines())
            raise EndpointError(
                f"{record.name} did not start: {what}. It said last:\n{said or '  (nothing)'}",
                hint=f"The whole log: akash-llm logs {record.name}",
            )
        await asyncio.sleep(WATCH_S)


def _secrets(record: Record) -> dict[str, str]:
    """The values that the file takes from the environment of who starts it."""
    found = {name: os.environ.get(name, "") for name in record.intent.secrets}
    missing = [name for name, value in found.items() if not value]
    if missing:
        raise CredentialsError(
            f"{', '.join(missing)} is not set in this environment",
            hint="Set it where akash-llm runs; its value goes to the container only.",
        )
    return found


def by_hand(record: Record, why: ConfigError) -> ConfigError:
    """Write the file for somebody who starts it themselves; what they are told.

    It bears no mark of ours: what they start is theirs.
    """
    sdl = checked(record.sdl, record.intent)
    file.write(record, sdl, free_port(PORT), {})
    return ConfigError(f"{why.message} The file is written.", hint=how_by_hand(record.name))


def how_by_hand(name: str) -> str:
    """What to type where Docker is."""
    path = file.compose_file(name)
    return (
        f"Where Docker is: docker compose --project-name akash-llm-{name.replace('.', '-')}"
        f" --file {path} up --detach; its key is in {paths.key_file(name)}. Or install Docker"
        " here, and deploy again."
    )
