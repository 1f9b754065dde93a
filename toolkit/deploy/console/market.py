"""What there is to rent: providers, GPUs, prices, and who could take an order now."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec


class GpuModel(msgspec.Struct, frozen=True):
    vendor: str = ""
    model: str = ""
    ram: str = ""
    interface: str = ""


class ProviderAttribute(msgspec.Struct, frozen=True, rename="camel"):
    key: str
    value: str = ""
    audited_by: tuple[str, ...] = ()


class Provider(msgspec.Struct, frozen=True, rename="camel"):
    """A provider as the Console knows it. Uptimes are shares of 1, None when not measured;
    `host_uri` is its gateway."""

    owner: str
    host_uri: str
    is_online: bool = False
    is_audited: bool = False
    uptime1d: float | None = None
    uptime7d: float | None = None
    uptime30d: float | None = None
    gpu_models: tuple[GpuModel, ...] = ()
    attributes: tuple[ProviderAttribute, ...] = ()
    organization: str | None = None
    ip_region: str | None = None
    ip_country: str | None = None
    location_region: str | None = None
    feat_persistent_storage: bool = False
    feat_endpoint_ip: bool = False

    @property
    def region(self) -> str:
        """Where it says that it is, in the words that an order is matched by; empty where it does
        not say."""
        return self._stated("region")

    @property
    def regions(self) -> tuple[str, ...]:
        """Every name for where it is, its own first, then what the Console knows of it and of its
        address."""
        stated = (self.region, self._stated("location-region"))
        told = (*stated, self.location_region, self.ip_region)
        return tuple(dict.fromkeys(filter(None, told)))

    def _stated(self, key: str) -> str:
        return next((each.value for each in self.attributes if each.key == key), "")


class Count(msgspec.Struct, frozen=True):
    total: int = 0
    available: int = 0


class HourlyPrice(msgspec.Struct, frozen=True, rename="camel"):
    """US dollars per GPU and hour, from bids of the last weeks. Not a quote."""

    min: Decimal
    max: Decimal
    avg: Decimal
    med: Decimal
    weighted_average: Decimal | None = None


class GpuPrice(msgspec.Struct, frozen=True, rename="camel"):
    """`price` is None when nobody has bid with it."""

    vendor: str
    model: str
    ram: str = ""
    interface: str = ""
    availability: Count = Count()
    provider_availability: Count = Count()
    price: HourlyPrice | None = None


class GpuPrices(msgspec.Struct, frozen=True):
    availability: Count = Count()
    models: tuple[GpuPrice, ...] = ()


class GpuVariant(msgspec.Struct, frozen=True, rename="camel"):
    """One memory size and interface of a model; units free in all and on one node."""

    memory: str | None = None
    interface: str | None = None
    provider_count: int = 0
    available_units: int | None = None
    max_node_free_units: int | None = None


class PlaceableGpu(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    memory: tuple[str, ...] = ()
    interface: tuple[str, ...] = ()
    provider_count: int = 0
    available_units: int | None = None
    max_node_free_units: int | None = None
    variants: tuple[GpuVariant, ...] = ()


class GpuVendor(msgspec.Struct, frozen=True):
    vendor: str
    models: tuple[PlaceableGpu, ...] = ()


class PlacementOptions(msgspec.Struct, frozen=True, rename="camel"):
    """Audited and free now: the best sign that bids will come."""

    regions: tuple[str, ...] = ()
    region_provider_counts: Mapping[str, int] = {}
    gpus: tuple[GpuVendor, ...] = ()


class ScreenedResource(msgspec.Struct, frozen=True):
    """One kind of replica: the API's own form of its resources, the number of replicas and
    the highest price per block as whole `uact`."""

    resource: Mapping[str, Any]
    count: int
    price: Mapping[str, str]


class Screening(msgspec.Struct, frozen=True, rename="camel"):
    """A question: who could take this? `timezone` is an IANA name. The Console's auditor
    has to be among the requirements for the answer to fit what creating does."""

    resources: tuple[ScreenedResource, ...]
    timezone: str = "UTC"
    requirements: Mapping[str, Any] = {}


class Incident(msgspec.Struct, frozen=True, rename="camel"):
    date: str
    has_open_incident: bool = False
    incident_count: int = 0
    downtime_seconds: int = 0


class ScreenedProvider(msgspec.Struct, frozen=True, rename="camel"):
    owner: str
    host_uri: str = ""
    is_audited: bool = False
    location: str | None = None
    organization: str | None = None
    incidents: tuple[Incident, ...] = ()


class Screened(msgspec.Struct, frozen=True):
    """Who could take it; no prices."""

    providers: tuple[ScreenedProvider, ...] = ()
