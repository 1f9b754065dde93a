"""Which images can be deployed, and how private ones are got at."""

import re
from collections.abc import Iterable

from toolkit.errors import ConfigError
from toolkit.sdl.inputs import RegistryAccess, RenderInputs, Template
from toolkit.sdl.refusal import require
from toolkit.sdl.sealed import is_sealed

_TAGGED = re.compile(r"[^\s@]+:(?!latest$)[\w][\w.-]*|[^\s@]+@sha256:[0-9a-f]{64}", re.ASCII)


def check_images(inputs: RenderInputs, name: str, template: Template) -> None:
    """Refuse images that are missing or of no one version: ConfigError. UsageError for access
    that is none, or that would stand in the file."""
    for image in _images(inputs, template):
        if not image:
            raise _missing(template)
        if not _TAGGED.fullmatch(image):
            raise ConfigError(
                f"the image {image!r} does not say which version it is",
                hint="end it with a tag other than latest, or with @sha256: and its digest",
            )
    require(
        template.has_gateway or not (inputs.engine_image or inputs.engine_registry),
        f"the template {name} has one image only",
        "give it with --image, and access to it with --registry",
    )
    for access in (inputs.registry, inputs.engine_registry):
        if access is not None:
            _check_registry(access)


def _images(inputs: RenderInputs, template: Template) -> Iterable[str]:
    """Of each service one; empty where none is known."""
    if template.has_gateway:
        return inputs.image, inputs.engine_image or template.image
    return (inputs.image or template.image,)


def _missing(template: Template) -> ConfigError:
    if not template.is_ours:
        return ConfigError(
            "there is no image to deploy",
            hint="give one with its version: --image ghcr.io/ggml-org/llama.cpp:server-bNNNN",
        )
    kind = "gateway" if template.has_gateway else "server"
    return ConfigError(
        f"there is no {kind} image to deploy",
        hint=f"make one with `make image IMAGE=REGISTRY/{template.ours}:VERSION`, "
        "and give it with --image",
    )


def _check_registry(registry: RegistryAccess) -> None:
    require(registry.host.strip(), "the registry has no host", "write for example ghcr.io")
    require(registry.username.strip(), "the registry has no user", "write your name there")
    require(
        is_sealed(registry.password),
        "the password of the registry would stand in the file for all who read it",
        "write the name of a secret: ac-secret://registry_password",
    )
