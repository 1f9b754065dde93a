"""What the Console is asked about an order, whole and with one condition less at a time. Pure."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from toolkit.deploy.console.amounts import UACT
from toolkit.deploy.console.market import ScreenedResource, Screening
from toolkit.sdl import SDL, group_specs
from toolkit.sdl.groups import gpu_parts
from toolkit.sdl.provider import MAX_PRICE

_ANY_GPU = "vendor/nvidia/model/*"

JSON = Mapping[str, Any]


class Relaxed(msgspec.Struct, frozen=True):
    """The question with one condition less; `what` goes before "some could take it". With
    `is_risky` the model may not have room then."""

    what: str
    question: Screening
    is_risky: bool = False


def questions_of(sdl: SDL) -> tuple[Screening, ...]:
    """What the network would be asked, group by group."""
    return tuple(
        Screening(
            resources=tuple(_resource(unit) for unit in group["resources"]),
            requirements=group["requirements"],
        )
        for group in group_specs(sdl)
    )


def _resource(unit: JSON) -> ScreenedResource:
    given = unit["resource"]
    resource = {
        **{name: given[name] for name in ("id", "cpu", "gpu")},
        "memory": {"quantity": given["memory"]["size"]},
        "storage": [_volume(volume) for volume in given["storage"] or ()],
    }
    amount = int(float(unit["price"]["amount"]))
    return ScreenedResource(resource, unit["count"], {"denom": UACT, "amount": str(amount)})


def _volume(volume: JSON) -> JSON:
    return {("quantity" if key == "size" else key): value for key, value in volume.items()}


# -- one condition less


def relaxations(question: Screening) -> Iterator[Relaxed]:
    """The question without each of its conditions, one at a time."""
    units = max((_units(each.resource) for each in question.resources), default=0)
    if any("interface" in gpu_parts(key) for key in _keys(question)):
        interfaces = sorted({gpu_parts(key).get("interface", "") for key in _keys(question)} - {""})
        what = f"without `interface: {' or '.join(interfaces)}`"
        yield Relaxed(what, _with_gpu(question, lambda key: _without(key, "interface")))
    if any("ram" in gpu_parts(key) for key in _keys(question)):
        what = "with another memory size of the same GPUs"
        yield Relaxed(what, _with_gpu(question, lambda key: _without(key, "ram")), is_risky=True)
    if any(key != _ANY_GPU for key in _keys(question)):
        what = "with other GPUs"
        yield Relaxed(what, _with_gpu(question, lambda key: _ANY_GPU), is_risky=True)
    if units > 1:
        what = f"with 1 GPU on a node instead of {units}"
        yield Relaxed(what, _with_resources(question, _single), is_risky=True)
    for each in question.requirements.get("attributes", ()):
        yield Relaxed(f"without `{each['key']}: {each['value']}`", _elsewhere(question, each))
    if any(_classes(each.resource) for each in question.resources):
        classes = sorted({name for each in question.resources for name in _classes(each.resource)})
        what = f"without storage that stays ({', '.join(classes)})"
        yield Relaxed(what, _with_resources(question, _forgetful))
    yield Relaxed("at a higher price than your cap", _at_any_price(question))


def _units(resource: JSON) -> int:
    return int(resource["gpu"]["units"]["val"])


def _keys(question: Screening) -> list[str]:
    return [
        attribute["key"]
        for each in question.resources
        for attribute in each.resource["gpu"].get("attributes", ())
    ]


def _without(key: str, *names: str) -> str:
    kept = {name: value for name, value in gpu_parts(key).items() if name not in names}
    return "/".join(word for pair in kept.items() for word in pair)


def _with_gpu(question: Screening, change: Callable[[str], str]) -> Screening:
    def changed(resource: JSON) -> JSON:
        gpu = resource["gpu"]
        keys = dict.fromkeys(change(each["key"]) for each in gpu.get("attributes", ()))
        attributes = [{"key": key, "value": "true"} for key in keys]
        return {**resource, "gpu": {**gpu, "attributes": attributes}} if keys else resource

    return _with_resources(question, changed)


def _single(resource: JSON) -> JSON:
    gpu = resource["gpu"]
    return {**resource, "gpu": {**gpu, "units": {"val": "1"}}} if _units(resource) > 1 else resource


def _classes(resource: JSON) -> list[str]:
    """The classes of the volumes that outlive a restart."""
    told = ({a["key"]: a["value"] for a in v.get("attributes", ())} for v in resource["storage"])
    return [each["class"] for each in told if each.get("persistent") == "true"]


def _forgetful(resource: JSON) -> JSON:
    """The same with volumes that are emptied."""
    volumes = [
        {key: value for key, value in volume.items() if key != "attributes"}
        if {"key": "persistent", "value": "true"} in volume.get("attributes", ())
        else volume
        for volume in resource["storage"]
    ]
    return {**resource, "storage": volumes}


def _with_resources(question: Screening, change: Callable[[JSON], JSON]) -> Screening:
    resources = tuple(
        msgspec.structs.replace(each, resource=change(each.resource)) for each in question.resources
    )
    return msgspec.structs.replace(question, resources=resources)


def _elsewhere(question: Screening, attribute: JSON) -> Screening:
    kept = [each for each in question.requirements["attributes"] if each != attribute]
    requirements = {**question.requirements, "attributes": kept}
    return msgspec.structs.replace(question, requirements=requirements)


def _at_any_price(question: Screening) -> Screening:
    price = {"denom": UACT, "amount": str(MAX_PRICE)}
    resources = tuple(msgspec.structs.replace(each, price=price) for each in question.resources)
    return msgspec.structs.replace(question, resources=resources)
