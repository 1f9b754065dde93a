"""The Compose file of an endpoint: written for us to start, or for a person to."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from server.models.files import replace_file
from toolkit import paths
from toolkit.deploy.base import Record
from toolkit.sdl.compose import Host, compose, kept
from toolkit.sdl.model import SDL

SERVER_PORT: Final = 11434  # in the container
_MODE: Final = 0o600


def compose_file(name: str) -> Path:
    """Where the file of an endpoint lies."""
    return paths.endpoint(name) / "compose.yaml"


def volume_of(engine: str) -> str:
    """The volume in which all endpoints of an engine keep their models."""
    return f"akash-llm-models-{engine}"


def write(record: Record, sdl: SDL, port: int, labels: Mapping[str, str]) -> Path:
    """Write the file, and the SDL beside it; only their owner can read them."""
    volume = volume_of(record.intent.engine)
    names = [name for service, each in sdl.profiles.compute.items() for name in kept(service, each)]
    host = Host(ports={SERVER_PORT: port}, labels=labels, volumes=dict.fromkeys(names, volume))
    path = compose_file(record.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    _replace(path, compose(sdl, host))
    _replace(path.with_name("deploy.yaml"), record.sdl)
    return path


def _replace(path: Path, text: str) -> None:
    """All of it or nothing, whoever dies."""
    replace_file(path, text.encode(), mode=0o600)
