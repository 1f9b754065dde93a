"""Which bid to take. Pure: bids, what is known of their providers, and what is asked for.

A bid is not a promise to be what was ordered: a wildcard may come back as any GPU, and a
price may be in a coin that pays for nothing. So everything is compared again before money
depends on it.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal

import msgspec

from toolkit.deploy.console.amounts import most_usd_per_hour, usd_per_hour
from toolkit.deploy.console.bids import OPEN, Amount, Bid, Offered
from toolkit.deploy.console.market import Provider
from toolkit.sdl.groups import gpu_parts
from toolkit.units import GIB

# A provider that was away for a hundredth of the week is worth so much less.
_DOWNTIME_WEIGHT = Decimal(2)
# One that has served us well may cost so much more than another.
_KNOWN_BONUS = Decimal("0.95")
_MOST_DIGITS = 25
_UNMEASURED_UPTIME = Decimal("0.9")


class Replica(msgspec.Struct, frozen=True, kw_only=True):
    """What one replica of one service needs: thousandths of a core, bytes, and GPUs, whose
    `gpu_keys` are those that will do, in the network's form; `*` at the end stands for any."""

    cpu: int
    memory: int
    gpus: int = 0
    gpu_keys: tuple[str, ...] = ()


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What a bid must keep. `most_usd` is what all of it may cost in `hours`."""

    replicas: tuple[Replica, ...]
    max_usd_per_hour: Decimal
    hours: float
    most_usd: Decimal | None = None
    region: str = ""
    left_out: frozenset[str] = frozenset()
    known_good: frozenset[str] = frozenset()


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """A bid, and why it will not do; empty where it will."""

    bid: Bid
    why_not: str = ""

    @property
    def usd_per_hour(self) -> Decimal:
        return usd_per_hour(self.bid.price.amount)


def judged(
    bids: Iterable[Bid], providers: Mapping[str, Provider], terms: Terms
) -> tuple[list[Judged], list[Judged]]:
    """The bids that will do, best first, and those that will not, each with the reason."""
    all_of_them = [Judged(bid=bid, why_not=_why_not(bid, providers, terms)) for bid in bids]
    good = [each for each in all_of_them if not each.why_not]
    good.sort(key=lambda each: _worth(each.bid, providers, terms))
    return good, [each for each in all_of_them if each.why_not]


def _why_not(bid: Bid, providers: Mapping[str, Provider], terms: Terms) -> str:
    """What is wrong with the offer itself goes before that it is over."""
    if bid.id.provider in terms.left_out:
        return "the provider failed within the last day"
    lasting = _price(bid, terms) or _provider(bid, providers, terms) or _hardware(bid, terms)
    return lasting or ("" if bid.state == OPEN else f"it is {bid.state}")


def _price(bid: Bid, terms: Terms) -> str:
    if not bid.has_price:
        return f"its price is no price: {bid.price.amount} {bid.price.denom}"
    most = most_usd_per_hour(bid.price.amount)
    if most > terms.max_usd_per_hour:
        return f"${most:.4f} an hour is over the cap of ${terms.max_usd_per_hour}"
    if terms.most_usd is not None and most * Decimal(str(terms.hours)) > terms.most_usd:
        return f"in {terms.hours:g} h it could cost more than the ${terms.most_usd:.2f} left"
    return ""


def _provider(bid: Bid, providers: Mapping[str, Provider], terms: Terms) -> str:
    provider = providers.get(bid.id.provider)
    if provider is None:
        return "the Console does not know the provider"
    if not provider.is_online:
        return "the provider is offline"
    if terms.region and terms.region not in provider.regions:
        return f"the provider is not in {terms.region}"
    return ""


def _hardware(bid: Bid, terms: Terms) -> str:
    """Why the replicas offered are not those asked for, in whatever order they come."""
    left = [
        offered
        for offered in bid.resources_offer
        for _ in range(min(max(offered.count, 0), len(terms.replicas)))
    ]
    if not left:  # an older Console may not say
        return "it does not say what is offered" if any(d.gpus for d in terms.replicas) else ""
    for replica in sorted(terms.replicas, key=lambda each: -each.gpus):
        fitting = next((offered for offered in left if not _lacks(offered, replica)), None)
        if fitting is None:
            return min((_lacks(offered, replica) for offered in left), key=len, default="too few")
        left.remove(fitting)
    return ""


def _lacks(offered: Offered, replica: Replica) -> str:
    resources = offered.resources
    cpu, memory = _whole(resources.cpu.units), _whole(resources.memory.quantity)
    gpus = _whole(resources.gpu.units)
    if cpu < replica.cpu:
        return f"it offers {cpu / 1000:g} cores"
    if memory < replica.memory:
        return f"it offers {memory / GIB:.1f} GiB of memory"
    if gpus < replica.gpus:
        return f"it offers {gpus} GPUs"
    if replica.gpus and not any(_will_do(key, replica.gpu_keys) for key in offered.gpu_keys):
        return f"it offers {', '.join(offered.gpu_keys) or 'a GPU that it does not name'}"
    return ""


def _whole(amount: Amount) -> int:
    """The number that it says, 0 if it is none."""
    text = str(amount.val)
    return int(text) if text.isascii() and text.isdecimal() and len(text) < _MOST_DIGITS else 0


def _will_do(offered: str, wanted: Iterable[str]) -> bool:
    """Whether a GPU is one of those: what a wish leaves open may be anything."""
    parts = gpu_parts(offered.lower())
    return any(
        all(
            parts.get(key) == value
            for key, value in gpu_parts(wish.lower()).items()
            if value != "*"
        )
        for wish in wanted
    )


def _worth(bid: Bid, providers: Mapping[str, Provider], terms: Terms) -> tuple[Decimal, str]:
    """Its price, made dearer by the time that the provider was away."""
    provider = providers[bid.id.provider]
    uptime = provider.uptime7d if provider.uptime7d is not None else provider.uptime1d
    share = _UNMEASURED_UPTIME if uptime is None else Decimal(str(uptime))
    worth = bid.price.amount * (1 + _DOWNTIME_WEIGHT * (1 - share))
    if bid.id.provider in terms.known_good:
        worth *= _KNOWN_BONUS
    return worth, bid.id.provider
