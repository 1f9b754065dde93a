"""An SDL as a file for Docker Compose: the same containers on a machine of one's own.

Ports that the world sees through an ingress are published on loopback only; who wants more
puts a proxy with TLS before them. Persistent volumes are named volumes, volumes of memory
become `shm_size` or a tmpfs. A port for one service is published nowhere, and that service
starts later. What only a market knows (prices, placement, auditors) is left
out. Secrets are taken from the environment of who runs Compose.
"""

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from toolkit.sdl.dump import Tree, written
from toolkit.sdl.model import SDL, Expose, Resources, Service
from toolkit.sdl.quantities import count_text, cpu_text, size_text
from toolkit.sdl.sealed import secret_name

_SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108 (a mount point in a container)


class Host(msgspec.Struct, frozen=True):
    """What the machine adds. `ports` are published in the place of the services' own; `labels`
    mark every container; `volumes` are names that hold beyond one project, by the file's own."""

    ports: Mapping[int, int] = {}
    labels: Mapping[str, str] = {}
    volumes: Mapping[str, str] = {}


ANY_HOST: Final = Host()


def compose(sdl: SDL, host: Host = ANY_HOST) -> str:
    """The text of a Compose file. The SDL is valid."""
    services: Tree = {}
    volumes: Tree = {}
    awaited = _awaited(sdl)
    for name, placements in sdl.deployment.items():
        for allocation in placements.values():
            resources = sdl.profiles.compute[allocation.profile]
            made = _service(name, sdl.services[name], resources, allocation.count, host)
            services[name] = made | ({"depends_on": awaited[name]} if awaited[name] else {})
            volumes.update({volume: _volume(volume, host) for volume in kept(name, resources)})
    file: Tree = {"services": services}
    return written(file | ({"volumes": volumes} if volumes else {}))


def _awaited(sdl: SDL) -> dict[str, list[str]]:
    """Which others each service uses: those that have a port for it. Compose refuses circles,
    so whoever uses each other need not wait."""
    uses: dict[str, set[str]] = {name: set() for name, places in sdl.deployment.items() if places}
    for name in uses:
        for to in (to for expose in sdl.services[name].expose for to in expose.to):
            if to.service in uses:
                uses[to.service].add(name)
    return {
        name: sorted(other for other in others if name not in _reached(other, uses))
        for name, others in uses.items()
    }


def _reached(start: str, uses: dict[str, set[str]]) -> set[str]:
    """This one and all that it uses, directly or through others."""
    reached, ahead = {start}, [start]
    while ahead:
        new = uses[ahead.pop()] - reached
        reached |= new
        ahead += new
    return reached


def _service(name: str, service: Service, resources: Resources, count: int, host: Host) -> Tree:
    mounted = dict(_mounts(name, service, resources))
    ram = {path: size for path, size in _memory_mounts(service, resources) if path not in mounted}
    shm = ram.pop(_SHARED_MEMORY, None)
    fields = {
        "image": _text(service.image),
        "entrypoint": [_text(word) for word in service.command or ()],
        "command": [_text(word) for word in service.args or ()],
        "environment": {key: _value(value) for key, value in service.environment.items()},
        "labels": {key: _text(value) for key, value in host.labels.items()},
        "ports": sorted({port for each in service.expose for port in _ports(each, count, host)}),
        "expose": sorted({str(each.port) for each in service.expose}),
        "volumes": [f"{volume}:{path}" for path, volume in mounted.items()],
        "shm_size": shm,
        "tmpfs": [f"{path}:size={size}" for path, size in ram.items()],
        "restart": "unless-stopped",
        "stop_grace_period": "45s",
        "deploy": _deploy(resources, count),
    }
    return {key: value for key, value in fields.items() if value}


def _text(text: str) -> str:
    """Compose takes a dollar for a variable."""
    return text.replace("$", "$$")


def _value(text: str) -> str:
    secret = secret_name(text)
    if not secret:
        return _text(text)
    name = secret.upper()
    return f"${{{name}:?set {name} before you start this}}"


def _ports(expose: Expose, count: int, host: Host) -> Iterator[str]:
    """Replicas cannot share a port of the machine: each gets one of its own."""
    suffix = "/udp" if expose.proto == "UDP" else ""
    if any(to.is_global for to in expose.to):
        published = f"{host.ports.get(expose.port, expose.port)}:" if count == 1 else ""
        yield f"127.0.0.1:{published}{expose.port}{suffix}"


def _volume(name: str, host: Host) -> Tree:
    return {"name": _text(host.volumes[name])} if name in host.volumes else {}


def kept(service: str, resources: Resources) -> list[str]:
    """The volumes of a service that outlive its containers, by the names of the file."""
    return [f"{service}-{each.name}" for each in resources.volumes if each.is_persistent]


def _mounts(name: str, service: Service, resources: Resources) -> Iterator[tuple[str, str]]:
    for volume in resources.volumes:
        mount = service.mounts.get(volume.name or "")
        if volume.is_persistent and mount and mount.mount:
            yield mount.mount, f"{name}-{volume.name}"


def _memory_mounts(service: Service, resources: Resources) -> Iterator[tuple[str, str]]:
    for volume in resources.volumes:
        mount = service.mounts.get(volume.name or "")
        if volume.is_ram and mount and mount.mount:
            yield mount.mount, size_text(volume.size)


def _deploy(resources: Resources, count: int) -> Tree:
    limits = {
        "cpus": str(float(cpu_text(resources.cpu.units)) / 1000),
        "memory": size_text(resources.memory),
    }
    gpus = count_text(resources.gpu.units if resources.gpu else None)
    made: Tree = {"resources": {"limits": limits}}
    if gpus != "0":
        device = {"driver": "nvidia", "count": int(gpus), "capabilities": ["gpu"]}
        made["resources"]["reservations"] = {"devices": [device]}
    return made if count == 1 else made | {"replicas": count}
