"""The structure of an SDL: which keys there are and what values they take.

One function per part of the language, each reading one typed value off a cursor. These are
the rules of the network's JSON schema; rules that need two places of the file to compare
are in `semantics`.
"""

import re
from typing import Any, Literal, cast

from toolkit.sdl.cursor import Cursor
from toolkit.sdl.model import (
    CPU,
    GPU,
    SDL,
    Allocation,
    Credentials,
    Expose,
    ExposeTo,
    GPUAttributes,
    GPUModel,
    GPUVendor,
    HTTPOptions,
    Mount,
    Number,
    Params,
    Placement,
    Price,
    Profiles,
    Proto,
    Resources,
    Service,
    SignedBy,
    Tee,
    Version,
    Volume,
    VolumeAttributes,
)
from toolkit.sdl.problems import Level, child
from toolkit.sdl.scalars import value_text

_ENDPOINT_NAME = re.compile(r"[a-z]+[-_0-9a-z]+")
_UNITS = re.compile(r"[0-9]+(\.[0-9]+)?[a-zA-Z]*")
_ZERO_CPU = re.compile(r"0+(\.0+)?m?")
_ZERO = re.compile(r"0+(\.0+)?")
_AMOUNT = re.compile(r"[0-9]+(\.[0-9]+)?")
_NEXT_CASES = ("error", "timeout", "500", "502", "503", "504", "403", "404", "429", "off")
_MUST_PERSIST = ("default", "beta1", "beta2", "beta3")
# Keys of Docker Compose that people write by habit.
_COMPOSE_KEYS = {
    "depends_on": "remove it: services of one deployment start together and must retry",
    "environment": 'write env: with a list of "NAME=value"',
    "ports": "write expose: with port:, as: and to:",
    "volumes": "name the volume under profiles.compute and mount it under params.storage",
    "restart": "remove it: the provider restarts a service that ends",
    "cmd": "write command: or args:",
    "links": "remove it: services reach each other by name",
}


def sdl(at: Cursor) -> SDL:
    """The whole file."""
    fields = at.fields(
        ("version", "services", "profiles", "deployment"), ("endpoints", "reclamation", "include")
    )
    fields.maybe("include", _texts)
    return SDL(
        version=cast(Version, fields["version"].choice(("2.0", "2.1"))),
        services=fields["services"].mapping(_service),
        profiles=_profiles(fields["profiles"]),
        deployment=fields["deployment"].mapping(lambda each: each.mapping(_allocation)),
        endpoints=fields.maybe("endpoints", _endpoints) or (),
        min_window=fields.maybe("reclamation", _min_window),
    )


def _texts(at: Cursor) -> tuple[str, ...]:
    return at.items(Cursor.text)


def _texts_or_null(at: Cursor) -> tuple[str, ...] | None:
    return None if at.node.value is None else _texts(at)


# -- services -----------------------------------------------------------------


def _service(at: Cursor) -> Service:
    fields = at.fields(
        ("image",),
        ("command", "args", "env", "expose", "dependencies", "params", "credentials"),
        **_COMPOSE_KEYS,
    )
    return Service(
        image=fields["image"].text(min_length=1),
        command=fields.maybe("command", _texts_or_null),
        args=fields.maybe("args", _texts_or_null),
        env=fields.maybe("env", _texts_or_null),
        expose=fields.maybe("expose", _exposes) or (),
        dependencies=fields.maybe("dependencies", _dependencies) or (),
        params=fields.maybe("params", _params),
        credentials=fields.maybe("credentials", _credentials),
    )


def _dependencies(at: Cursor) -> tuple[str, ...]:
    read = at.items(lambda item: item.fields((), ("service",)).maybe("service", Cursor.text))
    return tuple(name for name in read if name is not None)


def _credentials(at: Cursor) -> Credentials:
    fields = at.fields(("host", "username", "password"), ("email",))
    return Credentials(
        host=fields["host"].text(min_length=1),
        username=fields["username"].text(min_length=1),
        password=fields["password"].text(min_length=6),
        email=fields.maybe("email", lambda email: email.text(min_length=5)) or "",
    )


def _params(at: Cursor) -> Params:
    fields = at.fields((), ("storage", "permissions", "tee"))
    return Params(
        storage=fields.maybe("storage", lambda storage: storage.mapping(_mount)),
        permissions=fields.maybe("permissions", _permissions),
        tee=cast(Tee | None, fields.maybe("tee", lambda tee: tee.choice(("cpu", "cpu-gpu")))),
    )


def _mount(at: Cursor) -> Mount:
    fields = at.fields((), ("mount", "readOnly"))
    return Mount(
        mount=fields.maybe("mount", _absolute_path),
        read_only=fields.maybe("readOnly", Cursor.boolean),
    )


def _absolute_path(at: Cursor) -> str:
    return at.matching(r"/[\s\S]*", "an absolute path", "begin it with /")


def _permissions(at: Cursor) -> tuple[str, ...]:
    kinds = ("deployment", "logs", "events")
    read = at.fields((), ("read",)).maybe(
        "read", lambda items: items.items(lambda item: item.choice(kinds))
    )
    return read or ()


def _exposes(at: Cursor) -> tuple[Expose, ...]:
    return () if at.node.value is None else at.items(_expose)


def _expose(at: Cursor) -> Expose:
    fields = at.fields(("port",), ("as", "proto", "to", "accept", "http_options"))
    proto = fields.maybe("proto", lambda each: each.choice(("TCP", "UDP", "tcp", "udp")))
    return Expose(
        port=fields["port"].integer(1, 65535),
        as_port=fields.maybe("as", lambda port: port.integer(1, 65535)),
        proto=cast(Proto, (proto or "TCP").upper()),
        to=fields.maybe("to", lambda to: to.items(_expose_to)) or (),
        accept=fields.maybe("accept", _texts),
        http_options=fields.maybe("http_options", _http_options) or HTTPOptions(),
    )


def _expose_to(at: Cursor) -> ExposeTo:
    fields = at.fields((), ("service", "global", "ip"))
    to = ExposeTo(
        service=fields.maybe("service", Cursor.text),
        is_global=fields.maybe("global", Cursor.boolean),
        ip=fields.maybe("ip", lambda ip: ip.text(min_length=1)),
    )
    if to.ip and not to.is_global:
        at.problem(f"{at.name} leases an IP, which needs global: true", "add global: true")
    return to


def _http_options(at: Cursor) -> HTTPOptions:
    fields = at.fields(
        (),
        (
            "max_body_size",
            "read_timeout",
            "send_timeout",
            "next_tries",
            "next_timeout",
            "next_cases",
            "proxy_buffer_size",
        ),
    )

    def limited(key: str, maximum: int | None = None) -> int | None:
        return fields.maybe(key, lambda value: value.integer(0, maximum))

    return HTTPOptions(
        max_body_size=limited("max_body_size", 104857600),
        read_timeout=limited("read_timeout", 60000),
        send_timeout=limited("send_timeout", 60000),
        next_tries=limited("next_tries"),
        next_timeout=limited("next_timeout"),
        next_cases=fields.maybe("next_cases", _next_cases),
        proxy_buffer_size=limited("proxy_buffer_size", 1048576),
    )


def _next_cases(at: Cursor) -> tuple[str, ...]:
    cases = at.items(lambda item: item.choice(_NEXT_CASES))
    if "off" in cases and len(cases) > 1:
        at.problem("`off` in `next_cases` excludes all others", 'write next_cases: ["off"]')
    return cases


# -- profiles -----------------------------------------------------------------


def _profiles(at: Cursor) -> Profiles:
    fields = at.fields(("compute", "placement"))
    return Profiles(
        compute=fields["compute"].mapping(_compute),
        placement=fields["placement"].mapping(_placement),
    )


def _compute(at: Cursor) -> Resources:
    fields = at.fields(("resources",))["resources"].fields(("cpu", "memory", "storage"), ("gpu",))
    return Resources(
        cpu=_cpu(fields["cpu"]),
        memory=_size(fields["memory"].fields(("size",))["size"]),
        storage=_storage(fields["storage"]),
        gpu=fields.maybe("gpu", _gpu),
    )


def _cpu(at: Cursor) -> CPU:
    fields = at.fields(("units",), ("attributes",))
    return CPU(_cpu_units(fields["units"]), fields.maybe("attributes", _attributes))


def _cpu_units(at: Cursor) -> Number | str:
    value = at.node.value
    if isinstance(value, str) and _UNITS.fullmatch(value) and not _ZERO_CPU.fullmatch(value):
        return value
    if at.number is not None and at.number > 0:
        return at.number
    at.expected("a number of cores above 0", 'write for example 4, 0.5 or "500m"')
    return 1


def _size(at: Cursor) -> str:
    if at.number is not None:
        at.expected("text with a unit", f'write "{value_text(at.number)}Gi" or another unit')
        return ""
    return at.text()


def _storage(at: Cursor) -> Volume | tuple[Volume, ...]:
    return at.items(_volume) if isinstance(at.node.value, list) else _volume(at)


def _volume(at: Cursor) -> Volume:
    fields = at.fields(("size",), ("name", "attributes"))
    return Volume(
        size=_size(fields["size"]),
        name=fields.maybe("name", Cursor.text),
        attributes=fields.maybe("attributes", _volume_attributes),
    )


def _volume_attributes(at: Cursor) -> VolumeAttributes:
    fields = at.fields(("class", "persistent"))
    attributes = VolumeAttributes(fields["class"].text(), _persistent(fields["persistent"]))
    if attributes.class_name == "ram" and attributes.persistent == "true":
        at.problem("a volume of class ram cannot be persistent", "write persistent: false")
    elif attributes.class_name in _MUST_PERSIST and attributes.persistent != "true":
        at.problem(
            f"a volume of class {attributes.class_name} must be persistent",
            "write persistent: true, or remove attributes: for storage that a restart empties",
        )
    return attributes


def _persistent(at: Cursor) -> str:
    value = at.node.value
    return value if isinstance(value, str) else value_text(at.boolean())


def _gpu(at: Cursor) -> GPU:
    fields = at.fields((), ("units", "attributes"))
    gpu = GPU(fields.maybe("units", _gpu_units), fields.maybe("attributes", _gpu_attributes))
    is_some = gpu.units is not None and not _is_zero(gpu.units)
    if is_some and gpu.attributes is None:
        at.log.add(
            at.path,
            at.key,
            f"{at.name} asks for GPUs but does not say which",
            "add attributes: {vendor: {nvidia: }} for any, or list models below nvidia:",
            spoils=child(at.path, "attributes"),
        )
    elif gpu.attributes is not None and not is_some:
        at.problem(f"{at.name} has attributes but no units", "write units: 1, or remove gpu:")
    return gpu


def _gpu_units(at: Cursor) -> Number | str:
    value = at.number if at.number is not None else at.node.value
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        return value
    at.expected("a number of GPUs")
    return 0


def _is_zero(units: Number | str) -> bool:
    return bool(_ZERO.fullmatch(units)) if isinstance(units, str) else units <= 0


def _gpu_attributes(at: Cursor) -> GPUAttributes:
    return GPUAttributes(at.fields((), ("vendor",)).maybe("vendor", _gpu_vendor))


def _gpu_vendor(at: Cursor) -> GPUVendor:
    if at.node.value == {}:
        at.problem("`vendor` must name a vendor", "add nvidia: below it")
    fields = at.fields((), ("nvidia",), amd="the network knows only nvidia for now")
    return GPUVendor(fields.maybe("nvidia", _gpu_models))


def _gpu_models(at: Cursor) -> tuple[GPUModel, ...] | None:
    return None if at.node.value is None else at.items(_gpu_model)


def _gpu_model(at: Cursor) -> GPUModel:
    fields = at.fields((), ("model", "ram", "interface"))
    interface = fields.maybe("interface", lambda each: each.choice(("pcie", "sxm")))
    return GPUModel(
        model=fields.maybe("model", Cursor.text),
        ram=fields.maybe("ram", Cursor.text),
        interface=cast(Literal["pcie", "sxm"] | None, interface),
    )


def _placement(at: Cursor) -> Placement:
    fields = at.fields(("pricing",), ("attributes", "signedBy"))
    return Placement(
        pricing=fields["pricing"].mapping(_price),
        attributes=fields.maybe("attributes", _attributes),
        signed_by=fields.maybe("signedBy", _signed_by) or SignedBy(),
    )


def _attributes(at: Cursor) -> dict[str, str]:
    return at.mapping(_attribute)


def _attribute(at: Cursor) -> str:
    value: Any = at.node.value
    if isinstance(value, list | dict):
        at.log.add(
            at.path,
            at.key,
            f"{at.name} must be one value, as all attributes",
            "write it as text",
            level=Level.REJECTED,
            spoils=at.path,
        )
        return ""
    return value_text(value)


def _signed_by(at: Cursor) -> SignedBy:
    fields = at.fields((), ("anyOf", "allOf"))
    return SignedBy(
        any_of=fields.maybe("anyOf", _texts) or (), all_of=fields.maybe("allOf", _texts) or ()
    )


def _price(at: Cursor) -> Price:
    fields = at.fields(("denom", "amount"))
    denom = fields["denom"].choice(("uact", "uakt"), "write uact (1 ACT = 1000000 uact)")
    return Price(denom, _amount(fields["amount"]))


def _amount(at: Cursor) -> Number | str:
    value = at.node.value
    if isinstance(value, str) and _AMOUNT.fullmatch(value):
        return value
    if at.number is not None and at.number >= 0:
        return at.number
    at.expected("an amount without unit or sign", "write for example 10000")
    return 1


# -- deployment, endpoints, reclamation ---------------------------------------


def _allocation(at: Cursor) -> Allocation:
    fields = at.fields(("profile", "count"))
    return Allocation(fields["profile"].text(), fields["count"].integer(1))


def _endpoints(at: Cursor) -> tuple[str, ...]:
    names = []
    for name, endpoint in at.entries():
        if not _ENDPOINT_NAME.fullmatch(name):
            at.log.add(
                at.path,
                endpoint.key,
                f"`{name}` cannot name an endpoint",
                "two or more lower-case letters, digits, - or _, beginning with a letter",
                spoils=endpoint.path,
            )
        endpoint.fields(("kind",))["kind"].choice(("ip",))
        names.append(name)
    return tuple(names)


def _min_window(at: Cursor) -> str:
    return at.fields(("min_window",))["min_window"].matching(
        r"[1-9][0-9]*[smh]", "a whole number followed by s, m or h", "write for example 24h"
    )
