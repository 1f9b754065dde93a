"""The gateway of a host of the world, on a real port: what it tells is what the world does."""

import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.certificates import KeyPair
from tests.support.console import replies
from tests.support.console.states import Deployment, Lease
from tests.support.console.world import World
from tests.support.provider_gateway import ProviderGateway
from tests.support.provider_lease import HostedLease

POD = "5cf7d8bb9-x2x4z"


@asynccontextmanager
async def serve_gateway(
    world: World, provider: str, certificate: KeyPair
) -> AsyncIterator[ProviderGateway]:
    """The gateway of the host with this address; the world names it as its `host_uri`.

    It accepts the tokens that the Console makes. A test that uses the client has to make
    `certificate` known as the host's, by a chain or by the authorities of the web.
    """
    leases = WorldLeases(world, provider)
    async with ProviderGateway(certificate, world.issuer, leases.find).serve() as gateway:
        host = world.hosts[provider]
        world.hosts[provider] = dataclasses.replace(host, gateway=gateway.uri)
        try:
            yield gateway
        finally:
            world.hosts[provider] = host


class WorldLeases:
    """The leases that a host has in the world; what they tell grows as they are looked at."""

    def __init__(self, world: World, provider: str) -> None:
        self._world = world
        self._provider = provider
        self._hosted: dict[str, HostedLease] = {}
        self._told: set[tuple[str, str]] = set()

    def find(self, path: str) -> HostedLease | None:
        """The lease at `/lease/DSEQ/GSEQ/OSEQ`, while it is active."""
        for deployment in self._world.deployments.values():
            for lease in deployment.active_leases:
                is_meant = path == f"/lease/{deployment.dseq}/{lease.gseq}/1"
                if is_meant and lease.provider == self._provider:
                    return self._current(path, deployment, lease)
        return None

    def _current(self, path: str, deployment: Deployment, lease: Lease) -> HostedLease:
        """Images are pulled once the manifest is there, and a line is printed once it runs."""
        hosted = self._hosted.setdefault(path, HostedLease())
        hosted.status = self._status(deployment, lease)
        is_crashing = self._provider in self._world.crashing
        hosted.has_pods = is_crashing or self._world.is_available(lease)
        (group,) = (group for group in deployment.groups if group.gseq == lease.gseq)
        for service in group.services:
            name, image = service["name"], service["image"]
            if lease.manifest_at is not None and self._is_first(path, f"pull {name}"):
                hosted.happen("Pulling", f'Pulling image "{image}"')
            if is_crashing and lease.manifest_at is not None:
                hosted.happen("BackOff", f"Back-off restarting failed container {name}")
                hosted.write(f"{name}-{POD}", f"{name} cannot go on")
            elif hosted.has_pods and self._is_first(path, f"start {name}"):
                hosted.happen("Started", f"Started container {name}")
                hosted.write(f"{name}-{POD}", f"{name} is up")
        return hosted

    def _status(self, deployment: Deployment, lease: Lease) -> tuple[int, object]:
        if self._provider in self._world.silent:
            return 503, {"message": "kube is unavailable"}
        body = replies.lease_status(self._world, deployment, lease)
        return (404, None) if body is None else (200, body)

    def _is_first(self, path: str, what: str) -> bool:
        is_first = (path, what) not in self._told
        self._told.add((path, what))
        return is_first
