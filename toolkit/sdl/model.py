"""The typed SDL, versions 2.0 and 2.1, with the names of the language.

Values are as written: `cpu.units` may be `8`, `0.5` or `"500m"`; `quantities` turns them
into numbers. `None` where a key may be left out or empty.
"""

from typing import Literal

import msgspec

Number = int | float
Version = Literal["2.0", "2.1"]
Proto = Literal["TCP", "UDP"]
Tee = Literal["cpu", "cpu-gpu"]

DEFAULT_VOLUME = "default"
WEB_PORT = 80


class Credentials(msgspec.Struct, frozen=True):
    """Access to a private image registry."""

    host: str
    username: str
    password: str
    email: str = ""

    def __repr__(self) -> str:
        return f"Credentials(host={self.host!r}, username={self.username!r}, password=***)"


class HTTPOptions(msgspec.Struct, frozen=True):
    """How the provider's ingress treats a service; `None` means its default."""

    max_body_size: int | None = None
    read_timeout: int | None = None
    send_timeout: int | None = None
    next_tries: int | None = None
    next_timeout: int | None = None
    next_cases: tuple[str, ...] | None = None
    proxy_buffer_size: int | None = None


class ExposeTo(msgspec.Struct, frozen=True):
    """Who may reach an exposed port."""

    service: str | None = None
    is_global: bool | None = None
    ip: str | None = None


class Expose(msgspec.Struct, frozen=True):
    """One port of a service. `as_port` is the `as` of the file."""

    port: int
    as_port: int | None = None
    proto: Proto = "TCP"
    to: tuple[ExposeTo, ...] = ()
    accept: tuple[str, ...] | None = None
    http_options: HTTPOptions = HTTPOptions()

    @property
    def external_port(self) -> int:
        """The port that the world sees, unless the provider chooses one."""
        return self.port if self.as_port is None else self.as_port

    def is_ingress(self, to: ExposeTo) -> bool:
        """Whether `to` is served by the provider's HTTP ingress, and not as a bare port."""
        return bool(to.is_global) and self.proto == "TCP" and self.external_port == WEB_PORT


class Mount(msgspec.Struct, frozen=True):
    """Where a volume of the compute profile appears in the container."""

    mount: str | None = None
    read_only: bool | None = None


class Params(msgspec.Struct, frozen=True):
    """`params` of a service: mounts by volume name, permissions, confidential computing."""

    storage: dict[str, Mount] | None = None
    permissions: tuple[str, ...] | None = None
    tee: Tee | None = None


class Service(msgspec.Struct, frozen=True):
    """One container."""

    image: str
    command: tuple[str, ...] | None = None
    args: tuple[str, ...] | None = None
    env: tuple[str, ...] | None = None
    expose: tuple[Expose, ...] = ()
    dependencies: tuple[str, ...] = ()
    params: Params | None = None
    credentials: Credentials | None = None

    @property
    def environment(self) -> dict[str, str]:
        """`env` split at the first `=`; a bare name has the empty value; the last one wins."""
        pairs = (item.partition("=") for item in self.env or ())
        return {name: value for name, _, value in pairs}

    @property
    def mounts(self) -> dict[str, Mount]:
        """The mounts by volume name."""
        return (self.params.storage if self.params else None) or {}


class CPU(msgspec.Struct, frozen=True):
    """Processor share of one replica."""

    units: Number | str
    attributes: dict[str, str] | None = None


class VolumeAttributes(msgspec.Struct, frozen=True):
    """`class_name` is the `class` of the file; `persistent` as the text true or false."""

    class_name: str
    persistent: str


class Volume(msgspec.Struct, frozen=True):
    """One volume of a compute profile."""

    size: str
    name: str | None = None
    attributes: VolumeAttributes | None = None

    @property
    def is_persistent(self) -> bool:
        """Whether its content outlives a restart of the container."""
        return self.attributes is not None and self.attributes.persistent == "true"

    @property
    def is_ram(self) -> bool:
        """Whether it lies in memory."""
        return self.attributes is not None and self.attributes.class_name == "ram"


class GPUModel(msgspec.Struct, frozen=True):
    """One acceptable GPU."""

    model: str | None = None
    ram: str | None = None
    interface: Literal["pcie", "sxm"] | None = None


class GPUVendor(msgspec.Struct, frozen=True):
    """The acceptable GPUs; `nvidia=None` means any."""

    nvidia: tuple[GPUModel, ...] | None = None


class GPUAttributes(msgspec.Struct, frozen=True):
    """`attributes` of a GPU."""

    vendor: GPUVendor | None = None


class GPU(msgspec.Struct, frozen=True):
    """GPUs of one replica."""

    units: Number | str | None = None
    attributes: GPUAttributes | None = None


class Resources(msgspec.Struct, frozen=True):
    """What one replica gets. `storage` is one volume or a list, as in the file."""

    cpu: CPU
    memory: str
    storage: Volume | tuple[Volume, ...]
    gpu: GPU | None = None

    @property
    def volumes(self) -> tuple[Volume, ...]:
        """The volumes, whichever way they are written."""
        return (self.storage,) if isinstance(self.storage, Volume) else self.storage


class Price(msgspec.Struct, frozen=True):
    """The most that one replica may cost per block."""

    denom: str
    amount: Number | str


class SignedBy(msgspec.Struct, frozen=True):
    """Auditors that a provider must have been approved by."""

    any_of: tuple[str, ...] = ()
    all_of: tuple[str, ...] = ()


class Placement(msgspec.Struct, frozen=True):
    """Which providers may bid, and up to which price per compute profile."""

    pricing: dict[str, Price]
    attributes: dict[str, str] | None = None
    signed_by: SignedBy = SignedBy()


class Profiles(msgspec.Struct, frozen=True):
    """Named resources and named placements."""

    compute: dict[str, Resources]
    placement: dict[str, Placement]


class Allocation(msgspec.Struct, frozen=True):
    """How often a service runs in one placement, and with which resources."""

    profile: str
    count: int


class SDL(msgspec.Struct, frozen=True):
    """One deployment."""

    version: Version
    services: dict[str, Service]
    profiles: Profiles
    deployment: dict[str, dict[str, Allocation]]
    endpoints: tuple[str, ...] = ()
    min_window: str | None = None

    def allocations(self) -> list[tuple[str, str, Allocation]]:
        """Every (service, placement, allocation), in the order of the file."""
        return [
            (service, placement, allocation)
            for service, placements in self.deployment.items()
            for placement, allocation in placements.items()
        ]
