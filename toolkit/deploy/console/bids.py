"""Bids: which provider offers what, at which price per block.

`resources_offer` is what is leased, whatever was asked for: a wildcard in the order can
come back as any GPU. The attributes of a GPU are the parts of one key, as in
`vendor/nvidia/model/h100/ram/80Gi/interface/sxm`.
"""

import msgspec

from toolkit.deploy.console.amounts import UACT, Coin
from toolkit.deploy.console.deployments import LeaseId

OPEN = "open"


class Attribute(msgspec.Struct, frozen=True):
    key: str
    value: str = ""


class Amount(msgspec.Struct, frozen=True):
    """A whole number as text, at times as a number."""

    val: str | int = 0


class Cpu(msgspec.Struct, frozen=True):
    units: Amount = Amount()


class Gpu(msgspec.Struct, frozen=True):
    units: Amount = Amount()
    attributes: tuple[Attribute, ...] = ()


class Memory(msgspec.Struct, frozen=True):
    quantity: Amount = Amount()


class Volume(msgspec.Struct, frozen=True):
    name: str = ""
    quantity: Amount = Amount()
    attributes: tuple[Attribute, ...] = ()


class Resources(msgspec.Struct, frozen=True):
    """Of one replica: cpu in thousandths of a core, memory and storage in bytes."""

    cpu: Cpu = Cpu()
    memory: Memory = Memory()
    gpu: Gpu = Gpu()
    storage: tuple[Volume, ...] = ()


class Offered(msgspec.Struct, frozen=True):
    resources: Resources = Resources()
    count: int = 1

    @property
    def gpu_keys(self) -> tuple[str, ...]:
        """The GPUs it may be, each as its whole key."""
        return tuple(attribute.key for attribute in self.resources.gpu.attributes)


class Bid(msgspec.Struct, frozen=True):
    """An offer. `reclamation_window` such as `86400s`: the provider may take it back."""

    id: LeaseId
    state: str
    price: Coin
    created_at: str = ""
    resources_offer: tuple[Offered, ...] = ()
    reclamation_window: str | None = None

    @property
    def is_leasable(self) -> bool:
        """Whether it is open, and at a price that is one."""
        return self.state == OPEN and self.has_price

    @property
    def has_price(self) -> bool:
        """Whether its price is one: in what deployments are paid in, and more than nothing."""
        return self.price.denom == UACT and self.price.amount > 0


class BidEntry(msgspec.Struct, frozen=True):
    bid: Bid


class Choice(msgspec.Struct, frozen=True):
    """A bid as `POST /v1/leases` names it."""

    dseq: str
    gseq: int
    oseq: int
    provider: str

    @classmethod
    def of(cls, bid: Bid) -> "Choice":
        return cls(bid.id.dseq, bid.id.gseq, bid.id.oseq, bid.id.provider)
