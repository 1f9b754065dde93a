"""Docker Compose as a target: the rendered SDL as containers of this machine.

The containers are those of a rented place, published on loopback only. Docker keeps them
running without us. Their project's name is noted before they are started and their labels
say whose they are, so that they are found again whoever dies.
"""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Final

import psutil

from toolkit import paths
from toolkit.deploy.base import (
    Finding,
    Health,
    Intent,
    Limit,
    Opening,
    Plan,
    Price,
    Record,
    Resource,
    State,
    Status,
)
from toolkit.deploy.docker import file, parts, program, project, starting
from toolkit.deploy.docker.demand import demanded
from toolkit.deploy.docker.program import Machine
from toolkit.deploy.docker.project import Project
from toolkit.deploy.ready import looked_at
from toolkit.errors import ConfigError, EndpointError

STOP_GRACE_S: Final = 10.0
PROBE_S: Final = 5.0

_PRIVACY: Final = (
    "Prompts and answers stay on this machine: containers publish on 127.0.0.1 only. Whoever may"
    " use Docker here can look into them.",
    "The key lies in a file that only you can read; the containers know its digest.",
)
_LIMITS: Final = (Limit("runs until it is closed, also after a restart; costs only power", True),)


class ComposeTarget:
    """Endpoints as projects of Docker Compose. Containers that are asked to end are killed
    after `stop_grace_s`; an endpoint that is looked at has `probe_s` to answer."""

    name = "compose"

    def __init__(self, *, stop_grace_s: float = STOP_GRACE_S, probe_s: float = PROBE_S) -> None:
        self._stop_grace_s = stop_grace_s
        self._probe_s = probe_s

    # -- Target ---------------------------------------------------------------------

    async def plan(self, intent: Intent) -> Plan:
        """What it takes here. Writes nothing but the key file of a name that has none."""
        notices: tuple[str, ...] = ()
        try:
            _, machine = await program.find()
        except ConfigError as error:
            machine = Machine(os.cpu_count() or 1, psutil.virtual_memory().total)
            left = "Deploying will write the file and stop."
            notices = (f"{error.message} {left}", starting.how_by_hand(intent.name))
        demand = await demanded(intent, machine)
        return Plan(
            intent=demand.intent,
            resources=(*demand.resources, *_places(demand.intent)),
            price=Price.of_hour(Decimal(0)),
            worst_case_usd=Decimal(0),
            limits=_LIMITS,
            privacy=_PRIVACY,
            notices=(*notices, *demand.notices),
            sdl=demand.sdl,
        )

    async def apply(self, opening: Opening) -> None:
        record = opening.record
        try:
            docker, _ = await program.find()
        except ConfigError as error:
            raise starting.by_hand(record, error) from None
        noted = project.noted_name(record)
        if noted and record.url:
            made = Project(docker, noted)
            if parts.ended(record, await made.containers()) is None:
                await starting.wait(opening, made)
                return
        await self.close(record)
        try:
            await starting.start(opening, docker, self.close)
        except BaseException:
            if record.state is State.READY:  # who called closes only what never was
                await self.close(opening.record)
            raise

    async def status(self, record: Record) -> Status:
        noted = project.noted_name(record)
        if not noted:
            return Status(Health.GONE, "nothing was started")
        try:
            docker, _ = await program.find()
            found = await Project(docker, noted).containers()
        except (ConfigError, EndpointError) as error:
            return Status(Health.NOT_READY, error.message)
        seen = parts.parts(record, found)
        if not found:
            return Status(Health.GONE, "its containers are gone", seen)
        what = parts.ended(record, found)
        if what is not None:
            return Status(Health.NOT_READY, what, seen)
        health, detail = await looked_at(record, within_s=self._probe_s, loading="it is loading")
        return Status(health, detail, seen)

    async def close(self, record: Record) -> None:
        """Ends its containers and removes them with their network; the models stay."""
        noted = project.noted_name(record)
        if not noted:
            return
        docker, _ = await program.find()
        made = Project(docker, noted)
        with suppress(EndpointError):  # keeping its logs must not keep it running
            logs = made.logs(follow=False, tail=parts.KEPT_LINES)
            lines = [(who, line[: parts.KEPT_CHARACTERS]) async for who, line in logs]
            parts.keep(record, lines)
        await made.end(grace_s=self._stop_grace_s)

    # -- SupportsLogs ---------------------------------------------------------------

    async def logs(
        self, record: Record, *, follow: bool, tail: int, service: str | None = None
    ) -> AsyncIterator[str]:
        wanted = parts.service_of(record, service)
        noted = project.noted_name(record)
        if not noted or not record.is_open:
            for line in parts.kept(record, tail, service):
                yield line
            return
        docker, _ = await program.find()
        is_one = wanted is not None or len(parts.services(record)) == 1
        lines = Project(docker, noted).logs(follow=follow, tail=tail, service=wanted)
        try:
            async for who, line in lines:
                yield line if is_one else f"{parts.part_of(record, who)} | {line}"
        finally:
            await lines.aclose()

    def services(self, record: Record) -> Sequence[str]:
        return tuple(parts.services(record))

    # -- SupportsInventory ----------------------------------------------------------

    async def inventory(self) -> list[Finding]:
        try:
            docker, _ = await program.find()
        except ConfigError:
            return []  # where there is no Docker there are no containers
        names: dict[str, list[str]] = {}
        for stray in await project.strays(docker, paths.home()):
            names.setdefault(stray.uid, []).append(stray.name)
        return [Finding(uid, f"containers: {', '.join(found)}") for uid, found in names.items()]

    async def discard(self, finding: Finding) -> None:
        docker, _ = await program.find()
        found = await project.strays(docker, paths.home())
        for name in sorted({stray.project for stray in found if stray.uid == finding.uid}):
            await Project(docker, name).end(grace_s=self._stop_grace_s)


def _places(intent: Intent) -> tuple[Resource, ...]:
    """What is written where."""
    port = f"127.0.0.1:{starting.PORT}"
    volume = file.volume_of(intent.engine)
    return (
        Resource("port", port, "or else a free one; reached from this machine only"),
        Resource("file", str(file.compose_file(intent.name)), "what Docker Compose is given"),
        Resource("models", f"volume {volume}", "stays when the endpoint is closed"),
    )
