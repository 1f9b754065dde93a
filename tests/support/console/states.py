"""What the world is made of: hosts, orders, bids, leases, purses. Money is uact."""

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any

from toolkit.sdl import SDL

BLOCK_MS = 6000
BLOCKS_PER_HOUR = 600


class Generation(StrEnum):
    """Which Console it is: the two have different models of money."""

    NEWER = "newer"
    OLDER = "older"


class Refusal(Exception):
    """The Console says no."""

    def __init__(self, status: int, message: str, code: str = "", data: object = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code or _CODES.get(status, "unknown_error")
        self.data = data


_CODES = {
    400: "bad_request",
    401: "unauthorized",
    402: "payment_required",
    403: "forbidden",
    404: "not_found",
    409: "conflict",
    422: "validation_error",
    500: "internal_server_error",
    502: "bad_gateway",
    503: "service_unavailable",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A provider: what it asks per block and replica group, when it bids and when its
    containers run (in blocks). `gpu` is the key of the GPUs it has, `node_gpus` how many of
    them each of its nodes has free; with `bids_blindly` it bids whatever GPU is asked for, and
    offers its own. `gateway` is where it listens in truth."""

    address: str
    price: Decimal = Decimal(1000)
    gpu: str = ""
    node_gpus: tuple[int, ...] = (8,)
    region: str = "eu-west"
    storage_classes: tuple[str, ...] = ("beta3",)
    bids_after: int = 1
    available_after: int = 2
    bids_blindly: bool = False
    is_audited: bool = True
    uptime: float = 0.99
    gateway: str = ""

    @property
    def attributes(self) -> dict[str, str]:
        """What it says of itself."""
        return {"region": self.region}

    @property
    def name(self) -> str:
        return f"{self.address}.example.org"

    @property
    def uri(self) -> str:
        return self.gateway or f"https://{self.name}:8443"


@dataclass(frozen=True, slots=True)
class Group:
    """One group of the order: what it asks of a provider and of its nodes. `cap` is the most it
    may cost per block."""

    gseq: int
    resources: tuple[dict[str, Any], ...]
    services: tuple[dict[str, Any], ...]
    cap: Decimal
    requirements: dict[str, Any]


@dataclass(slots=True)
class Bid:
    provider: str
    gseq: int
    price: Decimal
    height: int
    state: str = "open"


@dataclass(slots=True)
class Lease:
    """`manifest_at` is the height at which the provider got the manifest."""

    provider: str
    gseq: int
    price: Decimal
    height: int
    state: str = "active"
    closed_on: int = 0
    reason: str = ""
    manifest_at: int | None = None

    def close(self, height: int, reason: str, state: str = "closed") -> None:
        self.state, self.closed_on, self.reason = state, height, reason


@dataclass(slots=True)
class Purse:
    """The escrow: what is true now, and what was when it was last settled, which is shown."""

    funds: Decimal
    paid: Decimal = Decimal(0)
    state: str = "open"
    settled_at: int = 0
    shown_funds: Decimal = Decimal(0)
    shown_paid: Decimal = Decimal(0)

    def settle(self, height: int) -> None:
        self.settled_at, self.shown_funds, self.shown_paid = height, self.funds, self.paid


@dataclass(slots=True)
class Deployment:
    """`auto_top_up` is the row of its settings, None without one; `ends_at` a height.
    `secrets` are those that its SDL refers to."""

    dseq: str
    sdl_text: str
    sdl: SDL
    manifest: str
    hash: str
    height: int
    groups: tuple[Group, ...]
    purse: Purse
    name: str | None = None
    state: str = "active"
    bids: list[Bid] = field(default_factory=list)
    leases: list[Lease] = field(default_factory=list)
    runtime_limit: int | None = None
    ends_at: int | None = None
    auto_top_up: bool | None = None
    secrets: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def is_active(self) -> bool:
        return self.state == "active"

    @property
    def active_leases(self) -> list[Lease]:
        return [lease for lease in self.leases if lease.state == "active"]

    @property
    def price(self) -> Decimal:
        return sum((lease.price for lease in self.active_leases), Decimal(0))

    def started_at(self) -> int | None:
        return min((lease.height for lease in self.leases), default=None)
