"""Templates and inputs to SDL text.

Every value that a template puts out is quoted as JSON, which YAML reads the same, so no
input can become anything but the one leaf it stands for. What comes out is read and
validated before anyone sees it.
"""

import json
from typing import Any

import jinja2
import msgspec

from toolkit import paths
from toolkit.errors import UsageError
from toolkit.sdl.dump import quoted as quoted_text
from toolkit.sdl.inputs import GPURequest, RenderInputs
from toolkit.sdl.parse import sdl_error
from toolkit.sdl.quantities import exact_size
from toolkit.sdl.validate import validate

SUFFIX = ".yaml.j2"
DEFAULT_TEMPLATE = "llama-cpp"


def template_names() -> list[str]:
    """The templates there are."""
    return sorted(path.name.removesuffix(SUFFIX) for path in paths.templates().glob(f"*{SUFFIX}"))


def render(inputs: RenderInputs, template: str = DEFAULT_TEMPLATE) -> str:
    """The SDL that `template` makes of `inputs`: always valid, without even a warning.

    UsageError or ConfigError if the inputs cannot be meant, SDLError if what they make is not
    a good SDL.
    """
    inputs.check()
    text = _environment().get_template(_found(template)).render(_variables(inputs))
    report = validate(text, f"<{template}>")
    if report.problems:
        raise sdl_error(report.file, list(report.problems))
    return text


def _found(template: str) -> str:
    names = template_names()
    if template not in names:
        raise UsageError(
            f"there is no template called {template!r}", hint=f"there are: {', '.join(names)}"
        )
    return f"{template}{SUFFIX}"


def _environment() -> jinja2.Environment:
    # Autoescape is for HTML; `quoted` is what makes values safe here.
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(paths.templates()),
        undefined=jinja2.StrictUndefined,
        finalize=quoted,
        keep_trailing_newline=True,
    )


def quoted(value: object) -> str:
    """A value as JSON that every YAML reader takes for the same value."""
    if isinstance(value, jinja2.Undefined):
        return str(value)  # StrictUndefined raises
    if not isinstance(value, str | int | float):
        raise TypeError(f"a template may only put out text and numbers, not {type(value)}")
    if isinstance(value, str):
        if "\0" in value:  # no environment variable, path or name can hold it
            raise UsageError(f"{value!r} holds a character that cannot be meant", hint="remove it")
        return quoted_text(value)
    return json.dumps(value)


class _Volume(msgspec.Struct, frozen=True):
    name: str
    size: str
    class_name: str = ""


def _variables(inputs: RenderInputs) -> dict[str, Any]:
    region = {"region": inputs.region} if inputs.region else {}
    return {
        "service": inputs.service,
        "image": inputs.image,
        "env": inputs.environment(),
        "cpu": inputs.cpu,
        "memory": inputs.memory,
        "volumes": _volumes(inputs),
        "gpu": _sorted_gpu(inputs.gpu),
        "attributes": {**inputs.attributes, **region},
        "signed_by": inputs.signed_by,
        "denom": inputs.denom,
        "amount": inputs.price,
    }


def _volumes(inputs: RenderInputs) -> list[_Volume]:
    """Smallest first, as the network's Go tools sort them: else hashes differ between tools."""
    volumes = [
        _Volume("root", inputs.root),
        _Volume("models", inputs.storage, inputs.storage_class),
    ]
    return sorted(volumes, key=lambda volume: exact_size(volume.size) or 0)


def _sorted_gpu(gpu: GPURequest | None) -> GPURequest | None:
    return gpu and msgspec.structs.replace(gpu, models=tuple(sorted(gpu.models)))
