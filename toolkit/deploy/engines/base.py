"""What an engine behind our server is to this machine: its part of an SDL, and its program."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from toolkit.deploy.base import Intent
from toolkit.deploy.needs import Needs
from toolkit.sdl.model import Service


class EngineJob(msgspec.Struct, frozen=True):
    """An engine's service, ready to be started once its program and a port are known.

    `arguments` and `environment` hold only what was read and checked. `serves` is the model's
    name as clients write it.
    """

    service: str
    engine: str
    serves: str
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = {}
    notices: tuple[str, ...] = ()


class Place(NamedTuple):
    """Where an engine is to listen, on the socket if there is one, and the key that it is to ask
    for, if it knows keys."""

    host: str
    port: int
    key: str
    socket: Path | None = None

    @property
    def url(self) -> str:
        """As our server is told it."""
        return f"unix:{self.socket}" if self.socket else f"http://{self.host}:{self.port}"


class Launch(NamedTuple):
    """A program with its arguments, and what of its environment is fixed."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]


class LocalEngine(Protocol):
    """One kind of engine. `job` is pure, the others look at this machine."""

    @property
    def name(self) -> str:
        """As `--engine` writes it, and the name of its program."""

    @property
    def image(self) -> str:
        """The last part of the repository of its image."""

    @property
    def how_to_get(self) -> str:
        """The next step of who does not have it."""

    @property
    def has_keys(self) -> bool:
        """Whether it refuses who does not have its key."""

    @property
    def takes_socket(self) -> bool:
        """Whether it can listen on a socket in a folder, where no other user comes."""

    @property
    def usual_load_s(self) -> float:
        """How long it mostly takes until it answers."""

    async def needs(self, intent: Intent, program: Path) -> Needs:
        """What the intent takes. `UsageError` for a model that is none, `ConfigError` for one
        that cannot be served, `CapacityError` if it cannot fit."""

    def job(self, name: str, service: Service, model: str) -> EngineJob:
        """What of a service reaches the engine. `model` is what the person asked for.

        `ConfigError` for values that cannot be meant, and for another model.
        """

    async def prepare(self, intent: Intent, report: Callable[[str], None]) -> None:
        """Bring what has to be here before it starts; `ConfigError` if it cannot be."""

    async def launch(self, job: EngineJob, program: Path, place: Place, intent: Intent) -> Launch:
        """How it is started."""


def ignored(name: str, what: str) -> str:
    """The notice about a part of an SDL that does not count here."""
    return f"{name}: {what} of the SDL is ignored on this machine"
