"""The providers that could take an order, as a plan shows them. Pure.

What providers say of themselves is text of strangers: cleaned, and cut where it is long.
"""

from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from toolkit.deploy.akash.pricing import fits
from toolkit.deploy.base import Offer
from toolkit.deploy.console.market import Provider, ScreenedProvider
from toolkit.safetext import cleaned
from toolkit.sdl import GPURequest

MOST = 8
_LONGEST = 48
_ROOM_UNKNOWN = "whether it has room now is not known"


def best_offers(
    could: Iterable[ScreenedProvider] | None,
    providers: Iterable[Provider],
    gpu: GPURequest | None,
) -> tuple[Offer, ...]:
    """At most 8 of those that `could` take it, the most dependable first; where that is not
    known (None), of those that look as if. `providers` has what is known of them."""
    known = {each.owner: each for each in providers}
    if could is None:
        found = [_likely(each, gpu) for each in known.values() if _is_likely(each, gpu)]
    else:
        found = [_screened(each, known.get(each.owner), gpu) for each in could]
    return tuple(sorted(found, key=_rank)[:MOST])


def _rank(offer: Offer) -> tuple[float, str, str]:
    return -(offer.uptime if offer.uptime is not None else -1.0), offer.name, offer.provider


def _screened(screened: ScreenedProvider, known: Provider | None, gpu: GPURequest | None) -> Offer:
    name = screened.organization or (known.organization if known else None)
    return Offer(
        provider=screened.owner,
        name=_short(name or _host(screened.host_uri)),
        region=_short(screened.location or _region(known)),
        gpu=_gpus(known, gpu) if known else "",
        uptime=_uptime(known) if known else None,
        remark=_incidents(screened),
    )


def _is_likely(provider: Provider, gpu: GPURequest | None) -> bool:
    is_there = provider.is_online and provider.is_audited
    return is_there and (gpu is None or bool(_gpus(provider, gpu)))


def _likely(provider: Provider, gpu: GPURequest | None) -> Offer:
    return Offer(
        provider=provider.owner,
        name=_short(provider.organization or _host(provider.host_uri)),
        region=_short(_region(provider)),
        gpu=_gpus(provider, gpu),
        uptime=_uptime(provider),
        remark=_ROOM_UNKNOWN,
    )


def _short(text: str) -> str:
    line = " ".join(cleaned(text).split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


def _host(uri: str) -> str:
    try:
        return urlsplit(uri).hostname or ""
    except ValueError:
        return ""


def _region(provider: Provider | None) -> str:
    return provider.regions[0] if provider is not None and provider.regions else ""


def _uptime(provider: Provider) -> float | None:
    measured = (provider.uptime30d, provider.uptime7d, provider.uptime1d)
    return next((each for each in measured if each is not None), None)


def _gpus(provider: Provider | None, gpu: GPURequest | None) -> str:
    """Those of its GPUs that will do."""
    if provider is None or gpu is None:
        return ""
    return _short(", ".join(dict.fromkeys(_fitting(provider, gpu))))


def _fitting(provider: Provider, gpu: GPURequest) -> Iterator[str]:
    for each in provider.gpu_models:
        place = {"model": each.model, "ram": each.ram, "interface": each.interface}
        if any(fits(card, **place) for card in gpu.models):
            yield " ".join(filter(None, (each.model, each.ram, each.interface)))


def _incidents(provider: ScreenedProvider) -> str:
    if any(day.has_open_incident for day in provider.incidents):
        return "has an incident now"
    count = sum(day.incident_count for day in provider.incidents)
    return f"{count} incident{'s' if count > 1 else ''} this week" if count else ""
