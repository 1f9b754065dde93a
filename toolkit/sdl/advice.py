"""What is accepted everywhere and still not what one wants.

Either tools disagree about the text, so that a deployment made with one cannot be updated
with another, or a language model behind it will fail in a known way. One function per rule;
what they find is a `warning`.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

from toolkit.gpus import find_gpu, find_variant, nearest_name
from toolkit.sdl import stated
from toolkit.sdl.findings import Findings, Placed, Rule, at
from toolkit.sdl.groups import gpu_key
from toolkit.sdl.model import Expose, HTTPOptions, Volume
from toolkit.sdl.quantities import exact_cpu, exact_size, is_chain_cpu, is_chain_size

# Images by the last part of their repository; `make image` makes ours.
OWN_SERVERS: Final = frozenset({"akash-llm-server", "akash-llm-server-cuda", "akash-llm-gateway"})
_MODEL_SERVERS: Final = OWN_SERVERS | frozenset(
    {
        "vllm-openai",
        "sglang",
        "ollama",
        "llama.cpp",
        "text-generation-inference",
    }
)
_SHARED_MEMORY_USERS: Final = frozenset({"vllm-openai", "sglang"})
# These get Transformers' weights, the others GGUF files.
_TRANSFORMERS_USERS: Final = frozenset({"vllm-openai", "sglang", "text-generation-inference"})
_SHARED_MEMORY: Final = "/dev/shm"
_SMALLEST_BODY: Final = 8 * 1024 * 1024
_LONGEST_TIMEOUT_MS: Final = 60_000
_PORTABLE_KEY = re.compile(r"[a-z][a-z0-9./-]*")


def repository(image: str) -> str:
    """The last part of an image's repository: `vllm-openai` of `vllm/vllm-openai:v0.8`."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[0]


# -- language models ----------------------------------------------------------


def _images_say_their_version(found: Findings) -> None:
    for path, _, service in found.services():
        name, _, digest = service.image.partition("@")
        _, _, tag = name.rpartition("/")[2].partition(":")
        if not digest and tag in ("", "latest"):
            what = "has no tag" if not tag else "has the tag latest"
            found.add(
                f"{path}/image",
                f"the image {what}, so providers may run any version, old ones included",
                "write the tag or digest of one version",
            )


def _model_server_has_shared_memory(found: Findings) -> None:
    for placed in found.placed():
        if repository(placed.service.image) not in _SHARED_MEMORY_USERS:
            continue
        ram = {volume.name for volume in placed.resources.volumes if volume.is_ram}
        mounts = placed.service.mounts.items()
        if not any(name in ram and mount.mount == _SHARED_MEMORY for name, mount in mounts):
            found.add(
                f"{placed.service_path}/image",
                "this engine needs more shared memory than a container has",
                f"add a volume of class ram, persistent: false, mounted at {_SHARED_MEMORY}",
                f"{placed.service_path}/params",
                f"{placed.resources_path}/storage",
            )


def _memory_includes_ram_volumes(found: Findings) -> None:
    for path, resources in found.compute():
        ram = sum(exact_size(each.size) or 0 for each in resources.volumes if each.is_ram)
        memory = exact_size(resources.memory)
        if ram and memory is not None and ram >= memory:
            found.add(
                f"{path}/memory/size",
                "volumes of class ram come out of this memory and leave nothing of it",
                "add their sizes to memory",
            )


def _ingress_is_port_80(found: Findings) -> None:
    for path, _, expose, to in found.targets():
        if to.is_global and not to.ip and not expose.is_ingress(to) and expose.proto == "TCP":
            found.add(
                path.rpartition("/to/")[0],
                f"port {expose.external_port} is served as bare TCP on a random port, without TLS",
                "write as: 80 for an address with https",
            )


def _model_ingresses(found: Findings) -> list[tuple[str, Expose]]:
    return [
        (path, expose)
        for path, _, service, expose in found.exposes()
        if repository(service.image) in _MODEL_SERVERS and any(map(expose.is_ingress, expose.to))
    ]


def _ingress_takes_long_prompts(found: Findings) -> None:
    for path, expose in _model_ingresses(found):
        size = expose.http_options.max_body_size
        if size is None or size < _SMALLEST_BODY:
            found.add(
                path,
                "the ingress refuses request bodies above "
                + ("1 MiB" if size is None else f"{size} bytes"),
                "write max_body_size: 104857600 below http_options:",
            )


def _ingress_waits_for_answers(found: Findings) -> None:
    for path, expose in _model_ingresses(found):
        timeout = expose.http_options.read_timeout
        if timeout is not None and timeout < _LONGEST_TIMEOUT_MS:
            found.add(
                f"{path}/http_options/read_timeout",
                f"the ingress gives up after {timeout} ms without a byte of the answer",
                f"write read_timeout: {_LONGEST_TIMEOUT_MS}, the most there is",
            )


def _ingress_does_not_retry(found: Findings) -> None:
    for path, expose in _model_ingresses(found):
        if expose.http_options.next_cases != ("off",):
            found.add(
                path,
                "the ingress sends a failed request again, so that it generates twice",
                'write next_cases: ["off"] below http_options:',
            )


def _own_server_has_keys(found: Findings) -> None:
    for path, name, service in found.services():
        is_ours = repository(service.image) in OWN_SERVERS
        if is_ours and not service.environment.get("AKASH_LLM_KEYS"):
            found.add(
                path,
                f"`{name}` refuses to start: it listens to the world and has no key",
                'add "AKASH_LLM_KEYS=name:scope:sha256" to env:',
            )


def _models_fit_on_the_disk(found: Findings) -> None:
    for placed in found.placed():
        is_gguf = repository(placed.service.image) not in _TRANSFORMERS_USERS
        disk = [each for each in placed.resources.volumes if not each.is_ram]
        room = sum(exact_size(each.size) or 0 for each in disk)
        for model in _models(found, placed):
            least = stated.least_bytes(model, is_gguf=is_gguf)
            if room and least > room:
                found.add(
                    f"{placed.resources_path}/storage",
                    f"`{model}` has at least {least / 1e9:.0f} GB of weights, and the volumes of"
                    f" `{placed.service_name}` hold {room / 1e9:.0f} GB",
                    f"write a volume of {math.ceil(1.2 * least / 2**30)}Gi or more",
                    f"{placed.service_path}/env",
                )


def _models(found: Findings, placed: Placed) -> Iterator[str]:
    """What a service has to hold: what it is told to serve, and what gateways ask it for."""
    told = [
        service
        for _, name, service in found.services()
        if placed.service_name == (stated.upstream(service) or name)
    ]
    yield from dict.fromkeys(model for service in told for model in stated.models(service))


def _gpus_are_offered(found: Findings) -> None:
    for path, resources in found.compute():
        attributes = resources.gpu.attributes if resources.gpu else None
        vendor = attributes.vendor if attributes else None
        for index, model in enumerate((vendor.nvidia if vendor else None) or ()):
            place = f"{path}/gpu/attributes/vendor/nvidia/{index}"
            if model.model is None:
                continue
            known = find_gpu(model.model)
            if known is None:
                near = nearest_name(model.model)
                found.add(
                    f"{place}/model",
                    f"no provider is known to offer a GPU called `{model.model}`",
                    f"write {near}" if near else "look at the models that providers offer",
                )
            elif not find_variant(model.model, model.ram or "", model.interface or ""):
                offered = sorted({f"{each.ram} {each.interface}" for each in known.variants})
                found.add(
                    place,
                    f"no provider is known to offer a {model.model} like this",
                    f"there are: {', '.join(offered)}",
                )


# -- the subset that all tools read alike -------------------------------------


def _exposes_say_to_and_as(found: Findings) -> None:
    for path, _, _, expose in found.exposes():
        if not expose.to:
            found.add(path, "tools disagree about a port without to:", "add to:, or remove it")
        elif expose.as_port is None:
            found.add(path, "tools disagree about a port without as:", f"add as: {expose.port}")


def _exposes_are_sorted(found: Findings) -> None:
    for path, _, service in found.services():
        ports = [expose.port for expose in service.expose]
        if ports != sorted(ports):
            found.add(
                f"{path}/expose",
                "tools disagree about the order of these ports",
                "sort the entries by port:",
            )


def _http_options_are_not_zero(found: Findings) -> None:
    for path, _, _, expose in found.exposes():
        options = expose.http_options
        for key in HTTPOptions.__struct_fields__:
            value = getattr(options, key)
            if value is not None and not value:
                found.add(
                    f"{path}/http_options/{key}",
                    f"tools disagree about an empty {key}: some put the default there",
                    "remove it, or give it a value",
                )


def _lists_are_not_empty(found: Findings) -> None:
    for path, _, service in found.services():
        for key in ("command", "args", "env"):
            if getattr(service, key) == ():
                found.add(f"{path}/{key}", f"tools disagree about an empty {key}", "remove it")
    for path, _, _, expose in found.exposes():
        if expose.accept == ():
            found.add(f"{path}/accept", "tools disagree about an empty accept", "remove it")


def _ips_are_numbered_alike(found: Findings) -> None:
    targets = list(found.targets())
    if not any(to.ip for _, _, _, to in targets):
        return
    for path, _, _, to in targets:
        if not to.is_global:
            found.add(
                path,
                "tools disagree about the numbers of leased IPs beside a port for one service",
                "move the two into deployments of their own",
            )


def _volumes_are_ascending(found: Findings) -> None:
    for path, resources in found.compute():
        sizes = [exact_size(volume.size) or 0 for volume in resources.volumes]
        if sizes != sorted(sizes) or _has_alike(resources.volumes):
            found.add(
                f"{path}/storage",
                "tools disagree about the order of these volumes",
                "list them with the smallest first, no two of the same size",
            )


def _has_alike(volumes: tuple[Volume, ...]) -> bool:
    kinds = Counter((exact_size(volume.size), volume.is_persistent) for volume in volumes)
    return any(number > 1 for number in kinds.values())


def _quantities_are_exact(found: Findings) -> None:
    for path, resources in found.compute():
        units = resources.cpu.units
        if is_chain_cpu(units) and exact_cpu(units) is None:
            found.add(
                f"{path}/cpu/units",
                "tools round this amount of CPU differently",
                'write whole thousandths, such as "2010m"',
            )
        _check_rounding(found, f"{path}/memory/size", resources.memory)
    for path, volume in found.volumes():
        _check_rounding(found, f"{path}/size", volume.size)


def _check_rounding(found: Findings, path: str, size: str) -> None:
    if is_chain_size(size) and exact_size(size) is None:
        found.add(
            path,
            f"tools round the size `{size}` differently",
            "write a whole number and a unit, such as 1331Mi",
        )


def _gpus_are_sorted(found: Findings) -> None:
    for path, resources in found.compute():
        attributes = resources.gpu.attributes if resources.gpu else None
        vendor = attributes.vendor if attributes else None
        keys = [gpu_key(model) for model in (vendor.nvidia if vendor else None) or ()]
        place = f"{path}/gpu/attributes/vendor/nvidia"
        if keys != sorted(keys):
            found.add(place, "tools disagree about the order of these GPUs", "sort them by name")
        if vendor is not None and vendor.nvidia == ():
            found.add(place, "tools disagree about an empty list of GPUs", "remove the []")


def _profiles_are_not_shared(found: Findings) -> None:
    used: dict[tuple[str, str], Placed] = {}
    for placed in found.placed():
        first = used.setdefault((placed.placement_name, placed.profile_name), placed)
        if first is not placed:
            found.add(
                f"{at('deployment', placed.service_name, placed.placement_name)}/profile",
                f"`{first.service_name}` and `{placed.service_name}` share a compute profile, which"
                " SDL 2.0 and 2.1 bill differently",
                "give each service a profile of its own",
            )


def _attribute_keys_sort_alike(found: Findings) -> None:
    for name, placement in found.sdl.profiles.placement.items():
        for key in placement.attributes or {}:
            if not _PORTABLE_KEY.fullmatch(key):
                found.add(
                    at("profiles", "placement", name, "attributes", key),
                    f"tools disagree about where `{key}` is sorted",
                    "use lower-case letters, digits, -, . and /",
                )


RULES: tuple[Rule, ...] = (
    _images_say_their_version,
    _model_server_has_shared_memory,
    _memory_includes_ram_volumes,
    _ingress_is_port_80,
    _ingress_takes_long_prompts,
    _ingress_waits_for_answers,
    _ingress_does_not_retry,
    _own_server_has_keys,
    _models_fit_on_the_disk,
    _gpus_are_offered,
    _exposes_say_to_and_as,
    _exposes_are_sorted,
    _http_options_are_not_zero,
    _lists_are_not_empty,
    _ips_are_numbered_alike,
    _volumes_are_ascending,
    _quantities_are_exact,
    _gpus_are_sorted,
    _profiles_are_not_shared,
    _attribute_keys_sort_alike,
)
