"""What rules work with: the typed document, and a place to put what they find."""

from collections.abc import Callable, Iterator

import msgspec

from toolkit.sdl.model import SDL, Expose, ExposeTo, Resources, Service, Volume
from toolkit.sdl.parse import Document
from toolkit.sdl.problems import Level, Log, child

Rule = Callable[["Findings"], None]


class Placed(msgspec.Struct, frozen=True):
    """One service in one placement with its compute profile, where all three exist."""

    service_name: str
    service: Service
    placement_name: str
    profile_name: str
    resources: Resources
    count: int

    @property
    def service_path(self) -> str:
        return at("services", self.service_name)

    @property
    def resources_path(self) -> str:
        return at("profiles", "compute", self.profile_name, "resources")


class Findings:
    """The document under examination at one level; rules read `sdl` and call `add`."""

    def __init__(self, document: Document, log: Log, level: Level) -> None:
        self.sdl: SDL = document.sdl
        self._document = document
        self._log = log
        self._level = level

    def add(self, path: str, message: str, hint: str, *related: str) -> None:
        """Report a problem at `path`, unless it or `related` paths could not be read anyway."""
        if self._log.is_spoiled(path, *related):
            return
        position = self._document.position(path)
        self._log.add(path, position, message, hint, level=self._level)

    def placed(self) -> Iterator[Placed]:
        """What will run, as far as its parts exist."""
        for name, placement, allocation in self.sdl.allocations():
            service = self.sdl.services.get(name)
            resources = self.sdl.profiles.compute.get(allocation.profile)
            if service is not None and resources is not None:
                yield Placed(
                    name, service, placement, allocation.profile, resources, allocation.count
                )

    def compute(self) -> Iterator[tuple[str, Resources]]:
        """Every compute profile with the path of its resources."""
        for name, resources in self.sdl.profiles.compute.items():
            yield at("profiles", "compute", name, "resources"), resources

    def volumes(self) -> Iterator[tuple[str, Volume]]:
        """Every volume of every compute profile with its path."""
        for path, resources in self.compute():
            for index, volume in enumerate(resources.volumes):
                yield volume_path(path, resources, index), volume

    def services(self) -> Iterator[tuple[str, str, Service]]:
        """Every service: its path, its name, itself."""
        for name, service in self.sdl.services.items():
            yield at("services", name), name, service

    def exposes(self) -> Iterator[tuple[str, str, Service, Expose]]:
        """Every exposed port: its path, the name of its service, the service, itself."""
        for path, name, service in self.services():
            for index, expose in enumerate(service.expose):
                yield f"{path}/expose/{index}", name, service, expose

    def targets(self) -> Iterator[tuple[str, str, Expose, ExposeTo]]:
        """Every `to` of every exposed port: its path, its service's name, the port, itself."""
        for path, name, _, expose in self.exposes():
            for index, to in enumerate(expose.to):
                yield f"{path}/to/{index}", name, expose, to


def at(*parts: str) -> str:
    """The JSON pointer of a chain of keys."""
    path = ""
    for part in parts:
        path = child(path, part)
    return path


def volume_path(resources_path: str, resources: Resources, index: int) -> str:
    """The path of a volume, which depends on whether `storage` is a list."""
    path = f"{resources_path}/storage"
    return path if isinstance(resources.storage, Volume) else f"{path}/{index}"


def mount_path(service_path: str, volume: str) -> str:
    """The path of a service's mount."""
    return child(f"{service_path}/params/storage", volume)
