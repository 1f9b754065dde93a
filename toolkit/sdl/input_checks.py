"""What is refused before anything is rendered, each with what to type instead."""

import re
from typing import Final

from server.keys import KeyRing
from toolkit.errors import ConfigError, UsageError
from toolkit.sdl.engine_checks import check_engine
from toolkit.sdl.image_checks import check_images
from toolkit.sdl.inputs import RenderInputs, Template
from toolkit.sdl.provider import MAX_GPUS, MAX_PRICE
from toolkit.sdl.quantities import exact_amount, exact_cpu, exact_size
from toolkit.sdl.refusal import require
from toolkit.sdl.sealed import is_sealed

_SERVICE_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET_NAME = re.compile(r"(^|_)(TOKEN|KEY|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$", re.IGNORECASE)
_ATTRIBUTE_NAME = re.compile(r"[a-z][a-z0-9./-]{0,63}")
_GPU_RAM = re.compile(r"[1-9][0-9]*Gi")
_GPU_MODEL = re.compile(r"[a-z0-9][a-z0-9.-]*")
_DOMAIN = re.compile(
    r"(?=.{4,253}\Z)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]"
)
_MAX_REPLICAS: Final = 50
_DIGESTS = "give its digest as name:scope:sha256, or a key file; the key stays with you"


def check(inputs: RenderInputs, name: str, template: Template) -> None:
    """Refuse what cannot be rendered well: ConfigError or UsageError with the next step."""
    check_images(inputs, name, template)
    _check_access(inputs, name, template)
    _check_service(inputs)
    _check_env(inputs)
    _check_resources(inputs)
    _check_gpu(inputs, name, template)
    _check_web(inputs)
    _check_placement(inputs)
    check_engine(inputs, template)


def _check_access(inputs: RenderInputs, name: str, template: Template) -> None:
    """Digests and names of secrets only: no message repeats what may be a key."""
    if template.is_ours:
        _check_digests(inputs.keys_text)
        return
    require(
        not inputs.keys_text,
        f"the image of {name} knows nothing of our keys",
        f"leave them out, or use the template {_behind_ours(name)}",
    )
    require(
        template.has_auth or inputs.without_auth,
        f"the image of {name} knows no keys: anybody who finds the address could use it",
        f"use the template {_behind_ours(name)}, or insist with --without-auth",
    )
    require(
        is_sealed(inputs.api_key),
        "the key would stand in the file for all who read it",
        "write the name of a secret: ac-secret://api_key",
    )


def _behind_ours(name: str) -> str:
    """The template that has our keys before the same engine."""
    return name.removeprefix("plain-")


def _check_digests(keys_text: str) -> None:
    if not keys_text:
        raise ConfigError("an endpoint that the world can reach needs a key", hint=_DIGESTS)
    try:
        KeyRing.from_text(keys_text)
    except ValueError as error:
        raise UsageError(f"the key digests cannot be read: {error}", hint=_DIGESTS) from None


def _check_service(inputs: RenderInputs) -> None:
    require(
        _SERVICE_NAME.fullmatch(inputs.service),
        f"{inputs.service!r} cannot name a service",
        "use lower-case letters, digits and -, beginning with a letter",
    )
    require(
        inputs.model and "," not in inputs.model and inputs.model == inputs.model.strip(),
        f"{inputs.model!r} cannot name a model",
        "give one name such as smollm2:135m",
    )
    require(inputs.context > 0, "the context must be at least 1 token", "try 2048")
    require(inputs.parallel > 0, "at least 1 request must run at once", "try 4")
    require(
        1 <= inputs.count <= _MAX_REPLICAS,
        f"{inputs.count} replicas cannot be had",
        f"1 to {_MAX_REPLICAS} can",
    )


def _check_env(inputs: RenderInputs) -> None:
    for name, value in inputs.env.items():
        require(
            _ENV_NAME.fullmatch(name),
            f"{name!r} cannot name an environment variable",
            "use letters, digits and _",
        )
        require(
            not _SECRET_NAME.search(name) or is_sealed(value),
            f"the value of {name} would stand in the file for all who read it",
            f"write the name of a secret: {name}=ac-secret://{name}",
        )


def _check_resources(inputs: RenderInputs) -> None:
    for name in ("cpu", "gateway_cpu"):
        cpu = getattr(inputs, name)
        require(_is_exact_cpu(cpu), f"{name} {cpu!r} is not portable", "write 2, 0.5 or 500m")
    for name in ("memory", "root", "storage", "shm", "gateway_memory"):
        size = getattr(inputs, name)
        require(
            exact_size(size),
            f"{name} {size!r} is not a portable size",
            "write it as 2Gi or 512Mi",
        )


def _check_gpu(inputs: RenderInputs, name: str, template: Template) -> None:
    gpu = inputs.gpu
    if gpu is None:
        require(
            not template.needs_gpu,
            f"the image of {name} runs on GPUs only",
            "add --gpu 1, or use the template llama-cpp",
        )
        return
    require(
        0 < gpu.units <= MAX_GPUS,
        f"{gpu.units} GPUs cannot be asked for",
        f"1 to {MAX_GPUS} can; leave gpu out for none",
    )
    require(
        len(set(gpu.models)) == len(gpu.models),
        "a GPU is named twice",
        "name each acceptable GPU once",
    )
    for choice in gpu.models:
        require(
            _GPU_MODEL.fullmatch(choice.model),
            f"{choice.model!r} is no GPU model",
            "write it as providers do, such as rtx4090 or a100",
        )
        require(
            not choice.ram or _GPU_RAM.fullmatch(choice.ram),
            f"{choice.ram!r} is no GPU memory",
            "write it in whole Gi, such as 80Gi",
        )
        require(
            choice.interface in ("", "pcie", "sxm"),
            f"{choice.interface!r} is no interface of a GPU",
            "write pcie or sxm",
        )


def _check_web(inputs: RenderInputs) -> None:
    for domain in inputs.domains:
        require(
            _DOMAIN.fullmatch(domain),
            f"{domain!r} is no domain",
            "write it in small letters, such as llm.example.com",
        )
    require(
        len(set(inputs.domains)) == len(inputs.domains),
        "a domain is named twice",
        "name each once",
    )
    require(
        inputs.tee in ("", "cpu", "cpu-gpu"),
        f"{inputs.tee!r} is no kind of confidential hardware",
        "write cpu or cpu-gpu",
    )
    require(
        inputs.tee != "cpu-gpu" or inputs.gpu,
        "confidential GPUs need a GPU",
        "add --gpu 1, or write --tee cpu",
    )


def _check_placement(inputs: RenderInputs) -> None:
    for price in (inputs.price, inputs.gateway_price):
        amount = exact_amount(price) if _is_amount(price) else None
        require(
            amount is not None and 0 < amount <= MAX_PRICE,
            f"{price!r} is no price per block",
            f"write an amount above 0 and up to {MAX_PRICE}",
        )
    require(inputs.denom in ("uact", "uakt"), f"{inputs.denom!r} is no currency", "write uact")
    for name in inputs.attributes:
        require(
            _ATTRIBUTE_NAME.fullmatch(name),
            f"{name!r} cannot name an attribute",
            "use lower-case letters, digits, -, . and /",
        )


def _is_amount(price: int | str) -> bool:
    return isinstance(price, int) or bool(re.fullmatch(r"[0-9]+(\.[0-9]+)?", price))


def _is_exact_cpu(cpu: float | str) -> bool:
    try:
        return bool(exact_cpu(cpu))
    except ValueError:
        return False
