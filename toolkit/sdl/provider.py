"""Rules that only the chain and the providers apply, after a deployment was paid for.

One function per rule. What they find is `rejected`.
"""

import re
from collections import Counter
from typing import Final

from toolkit.sdl.findings import Findings, Rule, at, mount_path
from toolkit.sdl.groups import gpu_key
from toolkit.sdl.model import Resources
from toolkit.sdl.quantities import (
    FACTORS,
    cpu_text,
    exact_amount,
    exact_count,
    exact_cpu,
    exact_size,
    is_chain_cpu,
    is_chain_size,
    size_text,
)

_SERVICE_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_ENV_NAME = re.compile(r"(?!\.\.)[-._a-zA-Z][-._a-zA-Z0-9]*", re.ASCII)
_HOST = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_ATTRIBUTE_KEY = re.compile(r"[a-zA-Z][\w/.\-]{1,126}[\w*]?", re.ASCII)
_GPU_RAM = re.compile(r"[0-9]+([KMGTPE]i)?")
_CLASSES: Final = ("default", "beta1", "beta2", "beta3", "ram")

_MI, _TI = FACTORS["Mi"], FACTORS["Ti"]
CPU_RANGE: Final = (10, 384_000)
MEMORY_RANGE: Final = (_MI, 2 * _TI)
VOLUME_RANGE: Final = (5 * _MI, 32 * _TI)
MAX_GPUS: Final = 24
# A group may hold this many times the most that one replica may have.
GROUP_FACTOR: Final = 50
MAX_PRICE: Final = 10_000_000
_REPLICA_MAXIMA: Final = {
    "cpu": CPU_RANGE[1],
    "memory": MEMORY_RANGE[1],
    "storage": VOLUME_RANGE[1],
    "gpu": MAX_GPUS,
}


def _something_is_deployed(found: Findings) -> None:
    if not found.sdl.allocations():
        found.add("/deployment", "nothing is deployed", "add a service with a placement below it")


def _service_names(found: Findings) -> None:
    for path, name, _ in found.services():
        if not _SERVICE_NAME.fullmatch(name):
            found.add(
                path,
                f"`{name}` cannot name a service",
                "use lower-case letters, digits and -, beginning with a letter",
            )


def _images_are_not_blank(found: Findings) -> None:
    for path, name, service in found.services():
        if not service.image.strip():
            found.add(f"{path}/image", f"the image of `{name}` is blank", "name an image")


def _environment_names(found: Findings) -> None:
    for path, _, service in found.services():
        for index, item in enumerate(service.env or ()):
            name = item.partition("=")[0]
            if not _ENV_NAME.fullmatch(name) or name == ".":
                found.add(
                    f"{path}/env/{index}",
                    "this cannot be the name of an environment variable",
                    'write "NAME=value" with letters, digits and _ in the name',
                )


def _credentials_are_not_blank(found: Findings) -> None:
    for path, _, service in found.services():
        given = service.credentials
        for key in ("host", "username", "password") if given else ():
            if not getattr(given, key).strip():
                found.add(f"{path}/credentials/{key}", f"`{key}` is blank", "fill it in")


def _host_names(found: Findings) -> None:
    used: dict[str, str] = {}
    for path, name, _, expose in found.exposes():
        for index, host in enumerate(expose.accept or ()):
            place = f"{path}/accept/{index}"
            if len(host) > 255 or not _HOST.fullmatch(host):
                found.add(place, f"`{host}` is no host name", "write for example chat.example.com")
            elif host in used or len(expose.to) > 1:
                other = used.get(host, name)
                found.add(
                    place,
                    f"the host name `{host}` would belong to two entries (see `{other}`)",
                    "let each accept: stand in one expose with one to:",
                )
            used.setdefault(host, name)


def _something_is_global(found: Findings) -> None:
    if found.sdl.services and not any(to.is_global for _, _, _, to in found.targets()):
        found.add(
            "/services",
            "no port of any service can be reached from outside",
            "add to: [{global: true}] to an expose",
        )


def _leased_ports_say_as(found: Findings) -> None:
    used = Counter(to.ip for _, _, expose, to in found.targets() if to.ip and not expose.as_port)
    for path, _, expose, to in found.targets():
        if to.ip and not expose.as_port and used[to.ip] > 1:
            found.add(
                path.rpartition("/to/")[0],
                f"two ports without as: share the endpoint `{to.ip}`",
                f"write as: {expose.port}",
            )


def _volumes_have_a_mount_path(found: Findings) -> None:
    for path, _, service in found.services():
        for name, mount in service.mounts.items():
            if not mount.mount:
                found.add(
                    mount_path(path, name),
                    f"the volume `{name}` has no mount path",
                    "add for example mount: /data",
                )


def _ram_is_writable(found: Findings) -> None:
    if found.sdl.version != "2.1":
        return
    for placed in found.placed():
        for volume in placed.resources.volumes:
            mount = placed.service.mounts.get(volume.name or "")
            if volume.is_ram and mount and mount.read_only:
                found.add(
                    f"{mount_path(placed.service_path, volume.name or '')}/readOnly",
                    f"`{volume.name}` lies in memory and cannot be read-only",
                    "write readOnly: false",
                )


def _volume_names_are_unique(found: Findings) -> None:
    for path, resources in found.compute():
        names = [volume.name or "default" for volume in resources.volumes]
        for index, name in enumerate(names):
            if name in names[:index]:
                found.add(
                    f"{path}/storage/{index}",
                    f"two volumes are called `{name}`",
                    "give each a name: of its own",
                )


def _volume_classes(found: Findings) -> None:
    for path, volume in found.volumes():
        given = volume.attributes
        if given is None:
            continue
        if given.class_name not in _CLASSES:
            found.add(
                f"{path}/attributes/class",
                f"`{given.class_name}` is no class of storage",
                f"the classes are: {', '.join(_CLASSES)}",
            )
        if given.persistent not in ("true", "false"):
            found.add(
                f"{path}/attributes/persistent",
                f"`persistent` must be true or false, not `{given.persistent}`",
                "write it without quotes",
            )


def _cpu_units(found: Findings) -> None:
    for path, resources in found.compute():
        units = resources.cpu.units
        place = f"{path}/cpu/units"
        if not is_chain_cpu(units):
            found.add(place, f"`{units}` is no amount of CPU", 'write cores, or whole "500m"')
            continue
        least, most = CPU_RANGE
        if not least <= float(cpu_text(units)) <= most:
            found.add(place, f"{units} is out of range", "one replica may have 10m to 384 cores")


def _cpu_attributes(found: Findings) -> None:
    for path, resources in found.compute():
        for key in resources.cpu.attributes or {}:
            if key != "arch":
                found.add(
                    f"{path}/cpu/attributes{at(key)}",
                    f"a CPU has no attribute `{key}`",
                    "only arch: is known",
                )


def _memory_sizes(found: Findings) -> None:
    for path, resources in found.compute():
        _check_size(found, f"{path}/memory/size", resources.memory, MEMORY_RANGE, "1Mi to 2Ti")


def _volume_sizes(found: Findings) -> None:
    for path, volume in found.volumes():
        _check_size(found, f"{path}/size", volume.size, VOLUME_RANGE, "5Mi to 32Ti")


def _check_size(
    found: Findings, path: str, size: str, limits: tuple[int, int], allowed: str
) -> None:
    try:
        value = float(size_text(size))
    except ValueError:
        return  # not a size to anybody: reported as invalid
    if not is_chain_size(size):
        found.add(path, f"the chain cannot read the size `{size}`", _better_size(size))
    elif not limits[0] <= value <= limits[1]:
        found.add(path, f"`{size}` is out of range", f"it may be {allowed}")


def _better_size(size: str) -> str:
    """`12GB` and `12gib` are forms that only some tools read."""
    found = re.match(r"([0-9]+(?:\.[0-9]+)?)([kmgtpeKMGTPE])", size)
    if found is None:
        return "write a number and a unit, such as 512Mi or 10Gi"
    letter = found[2].upper()
    return f"write {found[1]}{'k' if letter == 'K' else letter} or {found[1]}{letter}i"


def _gpu_units(found: Findings) -> None:
    for path, resources in found.compute():
        units = resources.gpu.units if resources.gpu else None
        count = exact_count(units)
        if count is None or count > MAX_GPUS:
            found.add(
                f"{path}/gpu/units",
                f"{units} GPUs cannot be had",
                f"write a whole number up to {MAX_GPUS}",
            )


def _gpu_models(found: Findings) -> None:
    for path, resources in found.compute():
        attributes = resources.gpu.attributes if resources.gpu else None
        vendor = attributes.vendor if attributes else None
        keys: set[str] = set()
        for index, model in enumerate((vendor.nvidia if vendor else None) or ()):
            place = f"{path}/gpu/attributes/vendor/nvidia/{index}"
            key = gpu_key(model)
            if not model.model:
                found.add(place, "this GPU has no model", "add for example model: a100")
            elif model.ram is not None and not _GPU_RAM.fullmatch(model.ram):
                found.add(f"{place}/ram", f"`{model.ram}` is no GPU memory", 'write it as "80Gi"')
            elif not _ATTRIBUTE_KEY.fullmatch(key):
                found.add(place, f"`{model.model}` is no GPU model", "write it as providers do")
            elif key in keys:
                found.add(place, f"`{model.model}` is listed twice", "remove one of them")
            keys.add(key)


def _placement_attributes(found: Findings) -> None:
    for name, placement in found.sdl.profiles.placement.items():
        for key in placement.attributes or {}:
            if not _ATTRIBUTE_KEY.fullmatch(key):
                found.add(
                    f"{at('profiles', 'placement', name, 'attributes', key)}",
                    f"`{key}` cannot name an attribute",
                    "use letters, digits, _, -, . and /, beginning with a letter",
                )


def _prices(found: Findings) -> None:
    for name, placement in found.sdl.profiles.placement.items():
        for profile, price in placement.pricing.items():
            amount = exact_amount(price.amount)
            path = f"{at('profiles', 'placement', name, 'pricing', profile)}/amount"
            if amount is None:
                found.add(
                    path,
                    "the chain cannot hold this amount",
                    "write at most 18 digits after the point, and no exponent",
                )
            elif not 0 < amount <= MAX_PRICE:
                found.add(
                    path,
                    f"the price per block must be above 0 and at most {MAX_PRICE}",
                    "write for example 10000",
                )


def _one_currency(found: Findings) -> None:
    first = None
    for service, name, allocation in found.sdl.allocations():
        placement = found.sdl.profiles.placement.get(name)
        price = placement.pricing.get(allocation.profile) if placement else None
        if price is None:
            continue
        first = first or price.denom
        if price.denom != first:
            found.add(
                f"{at('profiles', 'placement', name, 'pricing', allocation.profile)}/denom",
                f"prices in {first} and {price.denom} cannot stand in one deployment",
                f"write {first} everywhere",
                at("deployment", service, name),
            )


def _group_totals(found: Findings) -> None:
    totals: dict[str, Counter[str]] = {}
    for placed in found.placed():
        total = totals.setdefault(placed.placement_name, Counter())
        for what, amount in _amounts(placed.resources).items():
            total[what] += amount * placed.count
    for name, total in totals.items():
        for what, most in _REPLICA_MAXIMA.items():
            if total[what] > most * GROUP_FACTOR:
                found.add(
                    at("profiles", "placement", name),
                    f"all replicas in `{name}` together ask for too much {what}",
                    "lower the counts or the resources",
                    "/deployment",
                    "/profiles/compute",
                )


def _amounts(resources: Resources) -> dict[str, int]:
    return {
        "cpu": exact_cpu(resources.cpu.units) or 0,
        "memory": exact_size(resources.memory) or 0,
        "storage": sum(exact_size(volume.size) or 0 for volume in resources.volumes),
        "gpu": exact_count(resources.gpu.units if resources.gpu else None) or 0,
    }


RULES: tuple[Rule, ...] = (
    _something_is_deployed,
    _service_names,
    _images_are_not_blank,
    _environment_names,
    _credentials_are_not_blank,
    _host_names,
    _something_is_global,
    _leased_ports_say_as,
    _volumes_have_a_mount_path,
    _ram_is_writable,
    _volume_names_are_unique,
    _volume_classes,
    _cpu_units,
    _cpu_attributes,
    _memory_sizes,
    _volume_sizes,
    _gpu_units,
    _gpu_models,
    _placement_attributes,
    _prices,
    _one_currency,
    _group_totals,
)
