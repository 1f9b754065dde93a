"""One project of Docker Compose, known by its name alone.

Only starting it needs the file: whoever comes later finds it by the labels that Compose, and
we, put on its containers, with the file gone or without the variables that it mentions.
"""

import os
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from toolkit.deploy.base import Record
from toolkit.deploy.docker.program import SHOWN_LINES, Docker, Said
from toolkit.errors import EndpointError

HOME_LABEL: Final = "akash-llm.home"
UID_LABEL: Final = "akash-llm.deployment"
PROJECT_LABEL: Final = "com.docker.compose.project"
SERVICE_LABEL: Final = "com.docker.compose.service"
END_S: Final = 30.0  # for each step, beside the time that containers are given

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,127}")
_ID: Final = re.compile(r"[0-9a-f]{12,64}")
_UID: Final = re.compile(r"[0-9a-f]{32}")
_PREFIX: Final = re.compile(r"(?P<service>[a-z0-9-]+)-[0-9]+ +\| ?")
_PORT_TAKEN: Final = ("address already in use", "port is already allocated")


class Container(msgspec.Struct, frozen=True, rename="pascal"):
    """A container of a project, as Docker tells it."""

    service: str
    state: str
    exit_code: int = 0
    id: str = msgspec.field(name="ID", default="")

    @property
    def is_running(self) -> bool:
        return self.state == "running"


class Stray(msgspec.Struct, frozen=True):
    """A container that bears our labels: whose it is, and its project and its name."""

    uid: str
    project: str
    name: str


class PortTaken(EndpointError):
    """Another program has the port that was to be published."""


def new_name(record: Record) -> str:
    """What the project of a record is to be called. Compose allows no dots."""
    return f"akash-llm-{record.name.replace('.', '-')}-{record.uid[:8]}"


def noted_name(record: Record) -> str | None:
    """What it was called when it was started, if it was."""
    given = record.handle.get("project")
    return None if given is None else str(given)


def labels_of(record: Record, home: Path) -> Mapping[str, str]:
    """What marks its containers as ours."""
    return {HOME_LABEL: str(home), UID_LABEL: record.uid}


def up_words(name: str, file: Path) -> tuple[str, ...]:
    """The arguments that start it, also for people to type."""
    return ("compose", "--project-name", name, "--file", str(file), "up", "--detach")


class Project:
    """What is there of a project. Every method raises `EndpointError` when Docker fails."""

    def __init__(self, docker: Docker, name: str) -> None:
        self._docker = docker
        self.name = name

    async def up(self, file: Path, secrets: Mapping[str, str], *, within_s: float) -> None:
        """Start all of it; images that are not here are pulled first. `PortTaken` if so."""
        compose, *words = up_words(self.name, file)
        # Nothing is read but this file.
        alone = ("--ansi", "never", "--env-file", os.devnull)
        said = await self._docker.call(
            compose, *alone, *words, "--quiet-pull", within_s=within_s, variables=secrets
        )
        if not said.code:
            return
        last = said.last
        for secret in secrets.values():
            last = last.replace(secret, "(a secret)") if secret else last
        kind = PortTaken if any(words in said.err for words in _PORT_TAKEN) else EndpointError
        raise kind(
            f"Docker Compose could not start {self.name}. It said last:\n{last}",
            hint="Where an image is missing, Docker has to be able to pull it: docker login, or"
            " docker pull IMAGE.",
        )

    async def containers(self) -> tuple[Container, ...]:
        """What there is of it, whether it runs or not."""
        said = await self._compose("ps", "--all", "--format", "json")
        return _containers(said.out)

    async def restarts(self, found: Sequence[Container]) -> Mapping[str, int]:
        """How often Docker has started each service again after it ended by itself.

        Those that cannot be looked at, as they are gone meanwhile, are left out.
        """
        ids = [each.id for each in found if _ID.fullmatch(each.id)]
        if not ids:
            return {}
        shown = f'{{{{.RestartCount}}}} {{{{index .Config.Labels "{SERVICE_LABEL}"}}}}'
        said = await self._docker.call("inspect", "--type", "container", "--format", shown, *ids)
        rows = (line.split() for line in said.out.splitlines())
        return {row[1]: int(row[0]) for row in rows if len(row) == 2 and _is_count(row[0])}

    async def logs(
        self, *, follow: bool, tail: int, service: str | None = None
    ) -> AsyncGenerator[tuple[str, str], None]:
        """Lines with the service that wrote each; `service` for those of one only."""
        words = ["logs", "--no-color", "--tail", str(tail), *(["--follow"] if follow else [])]
        wanted = [service] if service else []
        lines = self._docker.lines(
            *("compose", "--project-name", self.name, *words, *wanted),
            silence_s=None if follow else END_S,
        )
        try:
            async for line in lines:
                found = _PREFIX.match(line)
                if found:
                    yield found["service"], line[found.end() :]
        finally:
            await lines.aclose()

    async def last_lines(self, count: int = SHOWN_LINES) -> list[str]:
        """What it wrote last."""
        return [line async for _, line in self.logs(follow=False, tail=count)]

    async def end(self, *, grace_s: float) -> None:
        """End and remove all of it but named volumes; returns when nothing is left.

        May be repeated. Containers are killed after `grace_s`.
        """
        grace = str(max(0, round(grace_s)))
        await self._compose("stop", "--timeout", grace, within_s=grace_s + END_S)
        await self._compose("rm", "--force", "--volumes", within_s=END_S)
        down = ("down", "--remove-orphans", "--timeout", grace)
        await self._compose(*down, within_s=grace_s + END_S)
        left = await self._docker.call(
            *("ps", "--all", "--quiet", "--filter", f"label={PROJECT_LABEL}={self.name}")
        )
        if left.code or left.out.strip():
            raise EndpointError(
                f"containers of {self.name} cannot be ended.",
                hint="See them with `docker ps --all`; `akash-llm doctor` tries again.",
            )

    async def _compose(self, *words: str, within_s: float = END_S) -> Said:
        said = await self._docker.call(
            "compose", "--project-name", self.name, *words, within_s=within_s
        )
        if said.code:
            raise EndpointError(
                f"`docker compose {words[0]}` failed for {self.name}. It said last:\n{said.last}",
                hint="See whether Docker answers: docker info",
            )
        return said


async def strays(docker: Docker, home: Path) -> list[Stray]:
    """All containers that were started from that home."""
    shown = " ".join(f'{{{{.Label "{label}"}}}}' for label in (UID_LABEL, PROJECT_LABEL))
    said = await docker.call(
        *("ps", "--all", "--no-trunc", "--filter", f"label={HOME_LABEL}={home}"),
        *("--format", f"{shown} {{{{.Names}}}}"),
    )
    rows = [line.split() for line in said.out.splitlines()]
    return [Stray(*row[:3]) for row in rows if _is_ours(row)]


def _is_ours(row: Sequence[str]) -> bool:
    return len(row) == 3 and bool(_UID.fullmatch(row[0]) and _NAME.fullmatch(row[1]))


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10


def _containers(text: str) -> tuple[Container, ...]:
    """Of `ps --format json`: a line each, or with older versions one list."""
    try:
        if text.lstrip().startswith("["):
            return msgspec.json.decode(text, type=tuple[Container, ...])
        return tuple(msgspec.json.Decoder(Container).decode_lines(text))
    except msgspec.MsgspecError as error:
        raise EndpointError(
            f"what `docker compose ps` says cannot be read: {str(error)[:200]}",
            hint="Update Docker Compose: docker compose version",
        ) from None
