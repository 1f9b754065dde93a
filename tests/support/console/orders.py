"""From the text of an SDL to what is ordered, as the Console rewrites it."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec
import yaml

from tests.support.console import references
from tests.support.console.states import Group, Refusal
from toolkit.errors import SDLError
from toolkit.sdl import SDL, Level, group_specs, manifest, validate
from toolkit.sdl.manifest import canonical
from toolkit.sdl.parse import parse

AUDITOR = "akash1365yvmc4s7awdyj3n2sav7xfx76adc6dnmlx63"


def read(text: str) -> SDL:
    """The order, with prices in uact and the Console's auditor; amounts are not converted."""
    try:
        sdl = parse(text).sdl
    except SDLError as error:
        raise Refusal(400, f"Invalid SDL: {error.message}") from None
    invalid = [each for each in validate(text).problems if each.level is Level.INVALID]
    if invalid:
        raise Refusal(400, f"Invalid SDL: {invalid[0].message}")
    placements = {
        name: msgspec.structs.replace(
            placement,
            pricing={
                profile: msgspec.structs.replace(price, denom="uact")
                for profile, price in placement.pricing.items()
            },
            signed_by=msgspec.structs.replace(
                placement.signed_by,
                any_of=tuple(dict.fromkeys((*placement.signed_by.any_of, AUDITOR))),
            ),
        )
        for name, placement in sdl.profiles.placement.items()
    }
    profiles = msgspec.structs.replace(sdl.profiles, placement=placements)
    return msgspec.structs.replace(sdl, profiles=profiles)


def manifest_text(sdl: SDL) -> str:
    return canonical(manifest(sdl)).decode()


def version_of(sdl: SDL, secrets: references.Secrets) -> str:
    """The hash of what a provider gets, with the secrets in their places."""
    text = manifest_text(references.resolved(sdl, secrets))
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def groups(sdl: SDL) -> tuple[Group, ...]:
    """The groups of the order, numbered from 1."""
    services = {group["name"]: tuple(group["services"]) for group in manifest(sdl)}
    return tuple(
        Group(
            number,
            tuple(spec["resources"]),
            services[spec["name"]],
            cap_of(spec["resources"]),
            spec["requirements"],
        )
        for number, spec in enumerate(group_specs(sdl), start=1)
    )


def cap_of(resources: Sequence[Mapping[str, Any]]) -> Decimal:
    """The most that all replicas may cost per block."""
    return sum(
        (Decimal(str(each["price"]["amount"])) * each["count"] for each in resources),
        Decimal(0),
    )


def patched(text: str, services: Mapping[str, Mapping[str, Any]]) -> str:
    """The SDL with image, command, args and environment of services changed."""
    tree = yaml.safe_load(text)
    for name, change in services.items():
        service = tree["services"].get(name)
        if service is None:
            raise Refusal(422, f"there is no service {name}")
        for field in ("image", "command", "args"):
            if field in change:
                service[field] = change[field]
        if "env" in change:
            service["env"] = _merged(service.get("env") or [], change["env"])
    return yaml.safe_dump({**tree, "version": str(tree["version"])}, sort_keys=False)


def _merged(env: list[str], change: Mapping[str, str | None]) -> list[str]:
    values: dict[str, str | None] = dict(
        (name, value) for name, _, value in (item.partition("=") for item in env)
    )
    values.update(change)
    return [f"{name}={value}" for name, value in values.items() if value is not None]
