"""Templates and inputs to SDL text.

Every value that a template puts out is quoted as JSON, which YAML reads the same, so no
input can become anything but the one leaf it stands for. What comes out is read and
validated before anyone sees it.
"""

import functools
import json
from collections import Counter
from typing import Any, Final

import jinja2
import msgspec
from markupsafe import Markup

from toolkit import paths
from toolkit.errors import UsageError
from toolkit.sdl.dump import quoted as quoted_text
from toolkit.sdl.input_checks import check
from toolkit.sdl.inputs import (
    DEFAULT_TEMPLATE,
    GATEWAY_SERVICE,
    TEMPLATES,
    GPURequest,
    RenderInputs,
    Template,
)
from toolkit.sdl.model import SDL
from toolkit.sdl.parse import parse, sdl_error
from toolkit.sdl.quantities import exact_size
from toolkit.sdl.validate import validate
from toolkit.units import sdl_size

# Begins an engine anew when it ends. It runs as the first process of a container, which
# gets no signal that it does not ask for.
RETRY: Final = """\
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
while True:
    subprocess.run(sys.argv[1:])
    time.sleep(15)
"""

# It keeps no models: keys and usage, which are small.
_GATEWAY_ROOT: Final = "1Gi"


def template_names() -> list[str]:
    """The templates there are."""
    return sorted(TEMPLATES)


def render(inputs: RenderInputs, template: str = DEFAULT_TEMPLATE) -> str:
    """The SDL that `template` makes of `inputs`: always valid, without even a warning.

    UsageError or ConfigError if the inputs cannot be meant, SDLError if what they make is not
    a good SDL.
    """
    found = TEMPLATES.get(template)
    if found is None:
        raise UsageError(
            f"there is no template called {template!r}",
            hint=f"there are: {', '.join(template_names())}",
        )
    check(inputs, template, found)
    made = _environment().get_template(f"{template}.yaml.j2").render(_variables(inputs, found))
    # Pieces that are empty leave lines of spaces.
    lines = [line.rstrip(" ") for line in made.split("\n") if line == "" or line.strip()]
    text = "\n".join(lines)
    report = validate(text, f"<{template}>")
    if report.problems:
        raise sdl_error(report.file, list(report.problems))
    _check_variables(parse(text).sdl)
    return text


def _check_variables(sdl: SDL) -> None:
    """A variable that is there twice has been set over one of the template's."""
    for service in sdl.services.values():
        names = Counter(item.partition("=")[0] for item in service.env or ())
        for name, number in names.items():
            if number > 1:
                raise UsageError(f"{name} is set from another input", hint="leave it out of env")


@functools.cache  # compiling a template takes longer than all the rest
def _environment() -> jinja2.Environment:
    # What escapes is `quoted`; Markup is how it tells what a piece has put out already.
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(paths.templates()),
        undefined=jinja2.StrictUndefined,
        finalize=quoted,
        autoescape=True,
        keep_trailing_newline=True,
    )


def quoted(value: object) -> Markup:
    """A value as JSON that every YAML reader takes for the same value."""
    if isinstance(value, Markup):
        return value
    if isinstance(value, jinja2.Undefined):
        return Markup(str(value))  # noqa: S704 (StrictUndefined raises)
    if isinstance(value, str):
        if "\0" in value:  # no environment variable, path or name can hold it
            raise UsageError(f"{value!r} holds a character that cannot be meant", hint="remove it")
        return Markup(quoted_text(value))  # noqa: S704 (that is the quoting)
    if isinstance(value, int | float):
        return Markup(json.dumps(value))  # noqa: S704
    raise TypeError(f"a template may only put out text and numbers, not {type(value)}")


class _Volume(msgspec.Struct, frozen=True):
    name: str
    size: str
    class_name: str = ""
    is_persistent: bool = False


class _Profile(msgspec.Struct, frozen=True):
    name: str
    cpu: int | float | str
    memory: str
    volumes: list[_Volume]
    price: int | str
    gpu: GPURequest | None = None


def _served(model: str) -> str:
    """What a gateway asks for: a folder goes by its own name."""
    return model.rstrip("/").rpartition("/")[2] if model.startswith("/") else model


def _variables(inputs: RenderInputs, template: Template) -> dict[str, Any]:
    region = {"region": inputs.region} if inputs.region else {}
    given = {name: getattr(inputs, name) for name in RenderInputs.__struct_fields__}
    return {
        **given,
        "image": inputs.image or template.image,
        "engine_image": inputs.engine_image or template.image,
        "served": _served(inputs.model),
        "profiles": _profiles(inputs, template),
        "is_kept": bool(inputs.storage_class),
        "shm": template.has_shm,
        "attributes": {**inputs.attributes, **region},
        "gateway_env": {name: value for name, value in inputs.env.items() if _is_ours(name)},
        "engine_env": {name: value for name, value in inputs.env.items() if not _is_ours(name)},
        "retry": RETRY,
    }


def _is_ours(variable: str) -> bool:
    return variable.startswith("AKASH_LLM_")


def _profiles(inputs: RenderInputs, template: Template) -> list[_Profile]:
    """One for each service, by its name."""
    profile = _Profile(
        inputs.service,
        inputs.cpu,
        _memory(inputs, template),
        _volumes(inputs, template),
        inputs.price,
        _sorted_gpu(inputs.gpu),
    )
    if not template.has_gateway:
        return [profile]
    root = [_Volume("root", _GATEWAY_ROOT)]
    memory, price = inputs.gateway_memory, inputs.gateway_price
    return [_Profile(GATEWAY_SERVICE, inputs.gateway_cpu, memory, root, price), profile]


def _memory(inputs: RenderInputs, template: Template) -> str:
    """What the container has: providers count its volumes of memory in."""
    if not template.has_shm:
        return inputs.memory
    return _sum(inputs.memory, inputs.shm)


def _sum(*sizes: str) -> str:
    return sdl_size(sum(exact_size(size) or 0 for size in sizes))


def _volumes(inputs: RenderInputs, template: Template) -> list[_Volume]:
    """Smallest first, as the network's Go tools sort them: else hashes differ between tools.
    Nor can these tell two of one size apart, so the root makes way."""
    root = inputs.root if inputs.storage_class else _sum(inputs.root, inputs.storage)
    if template.has_shm and exact_size(root) == exact_size(inputs.shm):
        root = _sum(root, "1Gi")
    volumes = [_Volume("root", root)]
    if inputs.storage_class:
        volumes.append(_Volume("models", inputs.storage, inputs.storage_class, is_persistent=True))
    if template.has_shm:
        volumes.append(_Volume("shm", inputs.shm, "ram"))
    return sorted(volumes, key=lambda volume: exact_size(volume.size) or 0)


def _sorted_gpu(gpu: GPURequest | None) -> GPURequest | None:
    return gpu and msgspec.structs.replace(gpu, models=tuple(sorted(gpu.models)))
