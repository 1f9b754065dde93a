"""A typed SDL to text that every YAML implementation reads alike.

Keys stand in the order of the language, lists and names in that of the model. Text is plain
only where no reader of YAML 1.1 or 1.2 could take it for anything else, otherwise JSON, which
both read the same; numbers have no exponent, no octal zero and no underscore; there are no
anchors, tags, merges or folded lines.
"""

import json
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from toolkit.errors import UsageError
from toolkit.sdl.model import (
    GPU,
    SDL,
    Credentials,
    Expose,
    ExposeTo,
    GPUModel,
    HTTPOptions,
    Mount,
    Number,
    Params,
    Placement,
    Resources,
    Service,
    SignedBy,
    Volume,
)

Tree = dict[str, Any]

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*", re.ASCII)
# What some reader takes for true, false or nothing (YAML 1.1 has the most of them).
_WORDS: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
# Printable to JSON but not to YAML, or a line break to some YAML readers.
_UNPRINTABLE = re.compile("[\x7f-\xa0\u2028\u2029\ufeff\ufffe\uffff]")
# A longer key must be announced by a question mark.
_LONGEST_KEY: Final = 1000


def dump(sdl: SDL) -> str:
    """The text of an SDL: `parse(dump(sdl)).sdl == sdl`, for every SDL that is valid."""
    return written(tree(sdl))


def written(value: Tree) -> str:
    """Mappings, lists and values as YAML that every reader reads alike."""
    return "".join(f"{line}\n" for line in _lines(value, ""))


def quoted(text: str) -> str:
    """Text as JSON that every YAML reader takes for the same text; UsageError if none could."""
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise UsageError(f"{text!r} holds a character that no text file can", hint="remove it")
    written = json.dumps(text, ensure_ascii=False)
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", written)


# -- text ---------------------------------------------------------------------


def _lines(value: Any, indent: str) -> Iterator[str]:
    """A mapping or a list that is not empty, in block style."""
    if isinstance(value, list):
        for item in value:
            yield from _item(item, indent)
        return
    for key, inner in value.items():
        yield from _entry(_text(key), inner, indent)


def _entry(key: str, value: Any, indent: str) -> Iterator[str]:
    start = f"{indent}{key}:"
    if len(key) > _LONGEST_KEY:
        yield f"{indent}? {key}"
        start = f"{indent}:"
    if isinstance(value, dict | list) and value:
        yield start
        yield from _lines(value, f"{indent}  ")
    else:
        yield f"{start} {_scalar(value)}".rstrip(" ")


def _item(value: Any, indent: str) -> Iterator[str]:
    if not isinstance(value, dict | list) or not value:
        yield f"{indent}- {_scalar(value)}"
        return
    first, *others = _lines(value, f"{indent}  ")
    yield f"{indent}- {first.removeprefix(f'{indent}  ')}"
    yield from others


def _scalar(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int() | float():
            return _number(value)
        case str():
            return _text(value)
    return "[]" if isinstance(value, list) else "{}"


def _text(text: str) -> str:
    is_plain = _PLAIN.fullmatch(text) and text.lower() not in _WORDS
    return text if is_plain else quoted(text)


def _number(value: Number) -> str:
    return str(int(value)) if value == int(value) else format(Decimal(repr(value)), "f")


# -- the language -------------------------------------------------------------


def _said(**fields: Any) -> Tree:
    """The fields that have a value; a trailing _ is for names that Python keeps for itself."""
    return {name.rstrip("_"): value for name, value in fields.items() if value is not None}


def tree(sdl: SDL) -> Tree:
    """The file as mappings, lists and values, without what is not said."""
    return _said(
        version=sdl.version,
        endpoints={name: {"kind": "ip"} for name in sdl.endpoints} or None,
        reclamation=None if sdl.min_window is None else {"min_window": sdl.min_window},
        services={name: _service(each) for name, each in sdl.services.items()},
        profiles={
            "compute": {
                name: {"resources": _resources(each)} for name, each in sdl.profiles.compute.items()
            },
            "placement": {name: _placement(each) for name, each in sdl.profiles.placement.items()},
        },
        deployment={
            service: {
                placement: {"profile": each.profile, "count": each.count}
                for placement, each in placements.items()
            }
            for service, placements in sdl.deployment.items()
        },
    )


def _service(service: Service) -> Tree:
    return _said(
        image=service.image,
        command=_list(service.command),
        args=_list(service.args),
        env=_list(service.env),
        expose=[_expose(each) for each in service.expose] or None,
        dependencies=[{"service": name} for name in service.dependencies] or None,
        params=service.params and _params(service.params),
        credentials=service.credentials and _credentials(service.credentials),
    )


def _list(items: tuple[str, ...] | None) -> list[str] | None:
    return None if items is None else list(items)


def _expose(expose: Expose) -> Tree:
    return _said(
        port=expose.port,
        as_=expose.as_port,
        proto=expose.proto,
        accept=_list(expose.accept),
        to=[_to(each) for each in expose.to] or None,
        http_options=_http_options(expose.http_options) or None,
    )


def _to(to: ExposeTo) -> Tree:
    return _said(service=to.service, global_=to.is_global, ip=to.ip)


def _http_options(options: HTTPOptions) -> Tree:
    made = {name: getattr(options, name) for name in HTTPOptions.__struct_fields__}
    return _said(**made | {"next_cases": _list(options.next_cases)})


def _params(params: Params) -> Tree:
    storage = params.storage
    return _said(
        storage=None if storage is None else {name: _mount(each) for name, each in storage.items()},
        permissions=None if params.permissions is None else {"read": list(params.permissions)},
        tee=params.tee,
    )


def _mount(mount: Mount) -> Tree:
    return _said(mount=mount.mount, readOnly=mount.read_only)


def _credentials(given: Credentials) -> Tree:
    return _said(
        host=given.host,
        username=given.username,
        password=given.password,
        email=given.email or None,
    )


def _resources(resources: Resources) -> Tree:
    storage = resources.storage
    return _said(
        cpu=_said(units=resources.cpu.units, attributes=_mapping(resources.cpu.attributes)),
        memory={"size": resources.memory},
        gpu=resources.gpu and _gpu(resources.gpu),
        storage=_volume(storage)
        if isinstance(storage, Volume)
        else [_volume(each) for each in storage],
    )


def _mapping(attributes: Mapping[str, str] | None) -> Tree | None:
    return None if attributes is None else dict(attributes)


def _volume(volume: Volume) -> Tree:
    given = volume.attributes
    return _said(
        name=volume.name,
        size=volume.size,
        attributes=given
        and {"class": given.class_name, "persistent": _persistent(given.persistent)},
    )


def _persistent(text: str) -> bool | str:
    return text == "true" if text in ("true", "false") else text


def _gpu(gpu: GPU) -> Tree:
    made = _said(units=gpu.units)
    if gpu.attributes is None:
        return made
    vendor = gpu.attributes.vendor
    if vendor is None:
        return made | {"attributes": {}}
    models = None if vendor.nvidia is None else [_gpu_model(each) for each in vendor.nvidia]
    return made | {"attributes": {"vendor": {"nvidia": models}}}


def _gpu_model(model: GPUModel) -> Tree:
    return _said(model=model.model, ram=model.ram, interface=model.interface)


def _placement(placement: Placement) -> Tree:
    return _said(
        attributes=_mapping(placement.attributes),
        signedBy=_signed_by(placement.signed_by) or None,
        pricing={
            name: {"denom": price.denom, "amount": price.amount}
            for name, price in placement.pricing.items()
        },
    )


def _signed_by(signed_by: SignedBy) -> Tree:
    return _said(allOf=_list(signed_by.all_of or None), anyOf=_list(signed_by.any_of or None))
