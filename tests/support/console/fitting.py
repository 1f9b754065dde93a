"""Whether a host has what an order asks for, as providers reckon it: node by node."""

from collections.abc import Iterable
from typing import Any

from tests.support.console.states import Group, Host

JSON = dict[str, Any]


def can_bid(host: Host, group: Group) -> bool:
    """Whether the host is audited and cheap enough for the group, and has room for it; one
    that bids blindly does not look at GPUs."""
    if not host.is_audited or host.price > group.cap:
        return False
    units = [unit["resource"] for unit in group.resources]
    has_gpus = host.bids_blindly or all(has_gpu(host, unit.get("gpu", {})) for unit in units)
    return has_gpus and has_rest(host, units, group.requirements)


def has_rest(host: Host, units: Iterable[JSON], requirements: JSON) -> bool:
    """Whether it is where it should be, and keeps what should be kept."""
    wanted = {each["key"]: each["value"] for each in requirements.get("attributes", [])}
    if any(host.attributes.get(key) != value for key, value in wanted.items()):
        return False
    volumes = [volume for unit in units for volume in unit["storage"] or ()]
    return {_class_of(volume) for volume in volumes} <= {"", "ram", *host.storage_classes}


def has_gpu(host: Host, gpu: JSON) -> bool:
    """Whether one node has so many GPUs free, of a kind that will do."""
    count = int(gpu.get("units", {}).get("val", 0))
    if not count:
        return True
    kinds = [each["key"] for each in gpu.get("attributes", [])]
    return count <= max(host.node_gpus, default=0) and any(is_kind(host.gpu, k) for k in kinds)


def is_kind(gpu: str, wanted: str) -> bool:
    """`vendor/nvidia/model/*` is any of them; what is not asked for does not matter, and
    `sxm` is any of its versions."""
    has, asked = parts_of(gpu), parts_of(wanted)
    return (
        asked["model"] in ("*", has.get("model"))
        and asked.get("ram") in (None, has.get("ram"))
        and has.get("interface", "").startswith(asked.get("interface", ""))
    )


def parts_of(key: str) -> dict[str, str]:
    """`vendor/nvidia/model/a100` as pairs."""
    words = key.split("/")
    return dict(zip(words[::2], words[1::2], strict=False))


def _class_of(volume: JSON) -> str:
    pairs = {each["key"]: each["value"] for each in volume.get("attributes", [])}
    return str(pairs.get("class", ""))
