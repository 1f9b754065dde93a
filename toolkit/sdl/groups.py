"""Group specifications: what goes on chain, one group per placement.

Named and ordered as the network's TypeScript tools do it.
"""

from enum import StrEnum
from typing import Any

from toolkit.sdl.model import (
    CPU,
    DEFAULT_VOLUME,
    GPU,
    SDL,
    Allocation,
    GPUModel,
    Placement,
    Resources,
    Service,
    Volume,
)
from toolkit.sdl.quantities import amount_text, count_text, cpu_text, size_text

JSON = dict[str, Any]

# Kinds of endpoints. The first is the default and is left out.
SHARED_HTTP, RANDOM_PORT, LEASED_IP = range(3)


class Units(StrEnum):
    """What becomes one resource unit where services of a placement share a compute profile.

    PROFILE: the profile, with the counts of its services added up (the TypeScript tools; the
    Go tools for SDL 2.1). SERVICE: each service for itself (the Go tools for SDL 2.0).
    """

    PROFILE = "profile"
    SERVICE = "service"


def group_specs(sdl: SDL, units: Units = Units.PROFILE) -> list[JSON]:
    """One specification per placement in use, sorted by name."""
    numbers = endpoint_numbers(sdl)
    by_placement: dict[str, list[tuple[str, Allocation]]] = {}
    for service, placement, allocation in _sorted(sdl):
        by_placement.setdefault(placement, []).append((service, allocation))
    return [_group(sdl, name, by_placement[name], numbers, units) for name in sorted(by_placement)]


def resource_ids(sdl: SDL, units: Units = Units.PROFILE) -> dict[tuple[str, str], int]:
    """The id of the unit of each (placement, service): its place in the group, from 1."""
    ids: dict[tuple[str, str], int] = {}
    places: dict[str, dict[str, int]] = {}
    for service, placement, allocation in _sorted(sdl):
        group = places.setdefault(placement, {})
        unit = _unit_name(service, allocation, units)
        ids[placement, service] = group.setdefault(unit, len(group) + 1)
    return ids


def _unit_name(service: str, allocation: Allocation, units: Units) -> str:
    return service if units is Units.SERVICE else allocation.profile


def endpoint_numbers(sdl: SDL) -> dict[str, int]:
    """The sequence number of each leased IP: its last place among all uses, sorted by name."""
    uses = [
        to.ip
        for service in sdl.services.values()
        for expose in service.expose
        for to in expose.to
        if to.ip and to.is_global
    ]
    return {name: number for number, name in enumerate(sorted(uses), start=1)}


def endpoints(service: Service, numbers: dict[str, int]) -> list[JSON]:
    """What the world reaches of a service, in the order of the file."""
    made = []
    for expose in service.expose:
        for to in expose.to:
            if not to.is_global:
                continue
            made.append(_endpoint(SHARED_HTTP if expose.is_ingress(to) else RANDOM_PORT, 0))
            if to.ip:
                made.append(_endpoint(LEASED_IP, numbers.get(to.ip, 0)))
    return made


def unit_resources(number: int, resources: Resources, reached: list[JSON]) -> JSON:
    """The resources of one replica, as number `number` of their group."""
    return {
        "id": number,
        "cpu": _cpu(resources.cpu),
        "memory": {"size": {"val": size_text(resources.memory)}},
        "storage": [_volume(volume) for volume in resources.volumes] or None,
        "gpu": _gpu(resources.gpu),
        "endpoints": reached,
    }


def _sorted(sdl: SDL) -> list[tuple[str, str, Allocation]]:
    return sorted(sdl.allocations(), key=lambda each: each[0])


def _group(
    sdl: SDL,
    name: str,
    members: list[tuple[str, Allocation]],
    numbers: dict[str, int],
    units: Units,
) -> JSON:
    placement = sdl.profiles.placement[name]
    made: dict[str, JSON] = {}
    for service_name, allocation in members:
        reached = endpoints(sdl.services[service_name], numbers)
        unit_name = _unit_name(service_name, allocation, units)
        if unit_name in made:
            unit = made[unit_name]
            unit["count"] += allocation.count
            unit["resource"]["endpoints"] += reached
        else:
            made[unit_name] = _unit(sdl, placement, allocation, len(made) + 1, reached)
    for unit in made.values():
        unit["resource"]["endpoints"].sort(key=_kind_and_number)
    tees = {_tee(sdl.services[service]) for service, _ in members} - {None}
    return {
        "name": name,
        "requirements": _requirements(placement, next(iter(tees), None)),
        "resources": list(made.values()),
    }


def _unit(
    sdl: SDL, placement: Placement, allocation: Allocation, number: int, reached: list[JSON]
) -> JSON:
    price = placement.pricing[allocation.profile]
    return {
        "resource": unit_resources(number, sdl.profiles.compute[allocation.profile], reached),
        "count": allocation.count,
        "price": {"denom": price.denom, "amount": amount_text(price.amount)},
    }


def _tee(service: Service) -> str | None:
    return service.params.tee if service.params else None


def _requirements(placement: Placement, tee: str | None) -> JSON:
    attributes = dict(placement.attributes or {})
    if tee is not None:
        attributes["tee/type"] = tee
    signed_by = placement.signed_by
    made: JSON = {
        "signedBy": {"allOf": list(signed_by.all_of), "anyOf": list(signed_by.any_of)},
    }
    return _with_attributes(made, sorted(attributes.items()))


def _endpoint(kind: int, number: int) -> JSON:
    return ({"kind": kind} if kind else {}) | {"sequence_number": number}


def _kind_and_number(endpoint: JSON) -> tuple[int, int]:
    return endpoint.get("kind", SHARED_HTTP), endpoint["sequence_number"]


def _cpu(cpu: CPU) -> JSON:
    made: JSON = {"units": {"val": cpu_text(cpu.units)}}
    return _with_attributes(made, sorted((cpu.attributes or {}).items()))


def _volume(volume: Volume) -> JSON:
    made: JSON = {
        "name": volume.name or DEFAULT_VOLUME,
        "size": {"val": size_text(volume.size)},
    }
    if volume.attributes is None:
        return made
    pairs = [
        ("class", volume.attributes.class_name),
        ("persistent", volume.attributes.persistent),
    ]
    return _with_attributes(made, pairs)


def _gpu(gpu: GPU | None) -> JSON:
    made: JSON = {"units": {"val": count_text(gpu.units if gpu else None)}}
    vendor = gpu.attributes.vendor if gpu and gpu.attributes else None
    if vendor is None:
        return made
    models = [GPUModel("*")] if vendor.nvidia is None else vendor.nvidia
    return _with_attributes(made, [(gpu_key(model), "true") for model in models])


def gpu_key(model: GPUModel) -> str:
    """The attribute that asks a provider for a GPU."""
    # A model that is left out is written so by the network's tools, which matches no GPU.
    key = f"vendor/nvidia/model/{model.model or 'undefined'}"
    if model.ram:
        key += f"/ram/{model.ram}"
    return f"{key}/interface/{model.interface}" if model.interface else key


def gpu_parts(key: str) -> dict[str, str]:
    """What such an attribute says: `vendor/nvidia/model/a100/ram/80Gi` as pairs."""
    words = key.split("/")
    return dict(zip(words[::2], words[1::2], strict=False))


def _with_attributes(made: JSON, pairs: list[tuple[str, str]]) -> JSON:
    if pairs:
        made["attributes"] = [{"key": key, "value": value} for key, value in pairs]
    return made
