"""Rules that compare two places of the file, as the network's own tools apply them.

One function per rule. What they find is `invalid`.
"""

from collections.abc import Collection

from toolkit.sdl.findings import Findings, Rule, at, mount_path, volume_path
from toolkit.sdl.model import GPU
from toolkit.sdl.quantities import size_text


def _every_service_is_deployed(found: Findings) -> None:
    for _, name, _ in found.services():
        if name not in found.sdl.deployment:
            found.add(
                "/deployment",
                f"the service `{name}` is not deployed anywhere",
                f"add {name}: with a placement, a profile and a count, or remove the service",
            )


def _only_services_are_deployed(found: Findings) -> None:
    for name in found.sdl.deployment:
        if name not in found.sdl.services:
            found.add(
                at("deployment", name),
                f"`{name}` is deployed but is no service",
                _one_of("services", found.sdl.services),
                "/services",
            )


def _allocations_refer_to_profiles(found: Findings) -> None:
    profiles = found.sdl.profiles
    for service, placement, allocation in found.sdl.allocations():
        path = at("deployment", service, placement)
        if placement not in profiles.placement:
            found.add(
                path,
                f"the placement `{placement}` is not defined",
                _one_of("placements", profiles.placement),
                "/profiles/placement",
            )
        if allocation.profile not in profiles.compute:
            found.add(
                f"{path}/profile",
                f"the compute profile `{allocation.profile}` is not defined",
                _one_of("compute profiles", profiles.compute),
                "/profiles/compute",
            )


def _profiles_have_a_price(found: Findings) -> None:
    for service, name, allocation in found.sdl.allocations():
        placement = found.sdl.profiles.placement.get(name)
        if placement is not None and allocation.profile not in placement.pricing:
            found.add(
                at("profiles", "placement", name, "pricing"),
                f"the placement `{name}` has no price for the profile `{allocation.profile}`",
                f"add {allocation.profile}: with denom: and amount:",
                at("deployment", service, name, "profile"),
            )


def _mounted_volumes_exist(found: Findings) -> None:
    for placed in found.placed():
        # A volume without a name cannot be mounted, not even as "default".
        names = [volume.name for volume in placed.resources.volumes if volume.name is not None]
        for name in placed.service.mounts:
            if name not in names:
                found.add(
                    mount_path(placed.service_path, name),
                    f"the profile `{placed.profile_name}` has no volume called `{name}`",
                    f"add name: {name} to a volume below its storage:",
                    f"{placed.resources_path}/storage",
                )


def _mounts_are_distinct(found: Findings) -> None:
    for placed in found.placed():
        used: dict[str | None, str] = {}
        for name, mount in placed.service.mounts.items():
            other = used.setdefault(mount.mount, name)
            if other != name:
                where = f"is already the mount of `{other}`" if mount.mount else "needs a mount:"
                found.add(
                    f"{mount_path(placed.service_path, name)}/mount",
                    f"{mount.mount or f'the volume `{name}`'} {where}",
                    "give each volume a path of its own",
                )


def _persistent_volumes_are_mounted(found: Findings) -> None:
    for placed in found.placed():
        for index, volume in enumerate(placed.resources.volumes):
            mount = placed.service.mounts.get(volume.name or "")
            if volume.is_persistent and (mount is None or not mount.mount):
                name = volume.name or "data"
                named = "" if volume.name else f"name it ({name}) and "
                path = volume_path(placed.resources_path, placed.resources, index)
                found.add(
                    path,
                    f"the service `{placed.service_name}` does not mount the persistent volume"
                    f" `{volume.name or 'default'}`",
                    f"{named}add params: {{storage: {{{name}: {{mount: /data}}}}}} to the service",
                    mount_path(placed.service_path, volume.name or ""),
                )


def _gpus_name_a_vendor(found: Findings) -> None:
    for placed in found.placed():
        gpu = placed.resources.gpu
        if gpu is None or not _has_units(gpu):
            continue
        path = f"{placed.resources_path}/gpu"
        if gpu.attributes is None:
            found.add(
                path,
                "`gpu` has units but does not say which GPUs",
                "remove gpu: for none, or write the units as a number",
                f"{path}/attributes",
            )
        elif gpu.attributes.vendor is None:
            found.add(
                f"{path}/attributes", "`gpu` names no vendor", "add vendor: {nvidia: } for any GPU"
            )


def _has_units(gpu: GPU) -> bool:
    """Only the number 0 means none to the network's tools; the text "0" does not."""
    return gpu.units is not None and gpu.units != 0


def _tee_needs(found: Findings) -> None:
    kinds: dict[str, tuple[str, str]] = {}
    for placed in found.placed():
        tee = placed.service.params.tee if placed.service.params else None
        if tee is None:
            continue
        path = f"{placed.service_path}/params/tee"
        gpu = placed.resources.gpu
        if tee == "cpu-gpu" and (gpu is None or not gpu.units or gpu.units == "0"):
            found.add(
                path,
                f"`tee: cpu-gpu` of `{placed.service_name}` needs a GPU",
                f"add gpu: to the profile {placed.profile_name}, or write tee: cpu",
                f"{placed.resources_path}/gpu",
            )
        other, kind = kinds.setdefault(placed.placement_name, (placed.service_name, tee))
        if kind != tee:
            found.add(
                path,
                f"`{placed.service_name}` asks for tee {tee} and `{other}` for {kind} in the same"
                f" placement `{placed.placement_name}`",
                "use one kind per placement",
            )


def _leased_ips_exist(found: Findings) -> None:
    for path, _, _, to in found.targets():
        if to.ip and to.ip not in found.sdl.endpoints:
            found.add(
                f"{path}/ip",
                f"the endpoint `{to.ip}` is not defined",
                f"add endpoints: {{{to.ip}: {{kind: ip}}}} at the left margin",
                "/endpoints",
            )


def _leased_ports_are_distinct(found: Findings) -> None:
    used: dict[tuple[str, int, str], str] = {}
    for path, name, expose, to in found.targets():
        if not to.ip:
            continue
        key = (to.ip, expose.external_port, expose.proto)
        if key in used:
            found.add(
                f"{path}/ip",
                f"port {expose.external_port} {expose.proto} of the endpoint `{to.ip}` is already"
                f" taken by `{used[key]}`",
                "give one of them another as:",
            )
        used.setdefault(key, name)


def _endpoints_are_used(found: Findings) -> None:
    used = {to.ip for _, _, _, to in found.targets()}
    for name in found.sdl.endpoints:
        if name not in used:
            found.add(
                at("endpoints", name),
                f"the endpoint `{name}` is never used",
                f"remove it, or add ip: {name} to a to: with global: true",
                "/services",
            )


def _sizes_have_a_unit(found: Findings) -> None:
    for path, resources in found.compute():
        _check_size(found, f"{path}/memory/size", resources.memory)
    for path, volume in found.volumes():
        _check_size(found, f"{path}/size", volume.size)


def _check_size(found: Findings, path: str, size: str) -> None:
    try:
        size_text(size)
    except ValueError:
        hint = f'write "{size}Gi"' if size.isdecimal() else 'write for example "512Mi" or "10Gi"'
        found.add(path, f"`{size}` is no size: a number and a unit, without a space", hint)


def _one_of(what: str, names: Collection[str]) -> str:
    listed = ", ".join(names)
    return f"the {what} are: {listed}" if listed else f"there are no {what} yet"


RULES: tuple[Rule, ...] = (
    _every_service_is_deployed,
    _only_services_are_deployed,
    _allocations_refer_to_profiles,
    _profiles_have_a_price,
    _mounted_volumes_exist,
    _mounts_are_distinct,
    _persistent_volumes_are_mounted,
    _gpus_name_a_vendor,
    _tee_needs,
    _leased_ips_exist,
    _leased_ports_are_distinct,
    _endpoints_are_used,
    _sizes_have_a_unit,
)
