"""What the services of a Compose file are called to people, and how they are."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from toolkit import paths
from toolkit.deploy import logfile
from toolkit.deploy.base import Part, Record
from toolkit.deploy.docker.project import Container
from toolkit.deploy.members import ENGINE, SERVER
from toolkit.errors import UsageError
from toolkit.sdl.inputs import GATEWAY_SERVICE, TEMPLATES, RenderInputs

KEPT_LINES: Final = 2000
KEPT_CHARACTERS: Final = 4000  # of each
_ONLY: Final = RenderInputs().service


def services(record: Record) -> dict[str, str]:
    """Ours, or ours and the engine behind it: what people call each -> its service."""
    template = TEMPLATES.get(record.intent.engine)
    if template is not None and template.has_gateway:
        return {SERVER: GATEWAY_SERVICE, ENGINE: _ONLY}
    return {SERVER: _ONLY}


def service_of(record: Record, part: str | None) -> str | None:
    """The service that people mean; `UsageError` if there is none of that name."""
    known = services(record)
    if part is not None and part not in known:
        raise UsageError(f"{record.name} has no {part!r}", hint=f"It has: {', '.join(known)}.")
    return None if part is None else known[part]


def part_of(record: Record, service: str) -> str:
    """What people call a service."""
    return next((part for part, name in services(record).items() if name == service), service)


def parts(record: Record, found: Sequence[Container]) -> tuple[Part, ...]:
    """Each, and whether it runs."""
    running = {each.service for each in found if each.is_running}
    return tuple(Part(part, name in running) for part, name in services(record).items())


def ended(record: Record, found: Sequence[Container]) -> str | None:
    """What has ended of it, in words; None while all of it runs."""
    by_name = {each.service: each for each in found}
    for part, name in services(record).items():
        container = by_name.get(name)
        if container is None:
            return f"its {part} has no container"
        if not container.is_running:
            return f"its {part} is {container.state[:20]} (it ended with {container.exit_code})"
    return None


def started_again(record: Record, before: Mapping[str, int], now: Mapping[str, int]) -> str | None:
    """What has ended between two counts of restarts, in words; None for nothing."""
    for part, name in services(record).items():
        if now.get(name, 0) > before.get(name, 0):
            return f"its {part} ended and was started again"
    return None


def kept_log(record: Record) -> Path:
    """What it wrote last, kept when its containers are removed."""
    return paths.endpoint(record.name) / "logs" / f"compose-{record.uid}.log"


def keep(record: Record, lines: Sequence[tuple[str, str]]) -> None:
    """Keep lines, each with its service; those of earlier stay."""
    path = kept_log(record)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    with path.open("a", encoding="utf-8") as file:
        file.writelines(f"{part_of(record, service)} | {line}\n" for service, line in lines)


def kept(record: Record, tail: int, part: str | None) -> list[str]:
    """The last kept lines, of all parts or of one, as they are shown."""
    lines = logfile.last_lines(kept_log(record), KEPT_LINES)
    if part is not None or len(services(record)) == 1:
        wanted = part or SERVER
        found = [line.partition(" | ") for line in lines]
        lines = [text for who, _, text in found if who == wanted]
    return lines[-tail:] if tail else []
