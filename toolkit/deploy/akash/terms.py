"""The terms of a deployment in words: what ends it, who can see what, what if it fails. Pure."""

from collections.abc import Iterator
from decimal import Decimal

from toolkit.deploy.akash.pricing import (
    ceilings,
    missing_caps,
    whole_hours,
    worst_case_usd,
)
from toolkit.deploy.base import Intent, Limit
from toolkit.deploy.console.amounts import usd_per_hour
from toolkit.deploy.table import in_hours, usd
from toolkit.sdl.inputs import TEMPLATES

# The provider's clocks (facts of its own programs): a bid, and a container that does not run.
CLOCKS = (
    "Providers bid within about a minute, and each bid lapses 5 minutes after it was made: the "
    "best one within your limits is taken without asking again.",
    "If it does not come up there it is closed, and another provider is tried, for what is left "
    "of the same money: a try that failed makes the time shorter, not the sum larger.",
    "A provider itself ends what has no running container for about 8 minutes (sometimes 3). The "
    "download of the image counts, that of the model does not.",
    "Its disk is lost when it ends, or when a provider fails: the model is downloaded again then.",
)


def limits(intent: Intent, *, is_newer: bool) -> tuple[Limit, ...]:
    """What bounds it; a limit that somebody has to watch does not hold alone."""
    return tuple(_limits(intent, is_newer))


def _limits(intent: Intent, is_newer: bool) -> Iterator[Limit]:
    hours, asked = whole_hours(intent.runtime_hours), intent.runtime_hours
    if intent.max_usd_per_hour is not None:
        cap = usd(intent.max_usd_per_hour)
        yield Limit(f"costs at most {cap} per hour: the network takes no dearer bid", True)
    if is_newer and hours is not None:
        yield Limit(
            f"ends at the latest {in_hours(hours)} after it starts: the Console sees to that", True
        )
    if not is_newer and (worst := worst_case_usd(intent, is_newer=False)) is not None:
        yield Limit(f"ends when its deposit of {usd(worst)} is used up", True)
    if asked is not None and (not is_newer or asked != hours):
        yield Limit(f"ends {in_hours(asked)} after it starts", False)
    if intent.max_usd_total is not None:
        yield Limit(f"ends when it has cost {usd(intent.max_usd_total)} in all", False)
    if intent.idle_minutes is not None:
        yield Limit(f"ends when nobody has used it for {intent.idle_minutes:g} minutes", False)
    yield Limit("ends when the money of the account is used up", True)


def privacy(intent: Intent, sealed: tuple[str, ...]) -> tuple[str, ...]:
    """Who can see what."""
    told = [
        "The provider runs the machine and ends the encryption of the web there: it could read "
        "prompts, answers and memory. Send nothing that it must not see.",
        "Confidential hardware (TEE) would keep the provider out. Few have it, and this plan does "
        "not ask for it; `akash-llm sdl render --tee cpu` writes an order that does.",
        "The world can reach the address, and is answered only with the key. The key stays in a "
        "file on this machine that only you can read; its SHA-256 digest travels.",
        "The network's chain shows everybody the account, the hardware, the price and the "
        "provider. The image, the model's name and the settings are seen by the Console and the "
        "provider.",
    ]
    if sealed:
        names = " and ".join(sealed)
        told.append(f"{names}: sealed here, opened by the Console, and seen by the provider.")
    if intent.registry:
        told.append(f"The provider pulls the image from the registry as {intent.registry}.")
    return tuple(told)


def missing(intent: Intent, *, has_key: bool, unset: tuple[str, ...]) -> Iterator[str]:
    """What has to be there before it can be deployed."""
    if names := missing_caps(intent):
        yield (
            f"It has no {' and no '.join(names)}, and nothing is deployed without both."
            f"{_open_price(intent)}"
        )
    if not has_key:
        yield (
            "A key of an account at the Akash Console: make one at console.akash.network, "
            "Settings, API Keys, and set it as AKASH_API_KEY."
        )
    for name in unset:
        yield f"{name} is not set in this environment, and its value has to go along."


def _open_price(intent: Intent) -> str:
    if intent.max_usd_per_hour is not None:
        return ""
    open_ = ceilings(None, has_gateway=TEMPLATES[intent.engine].has_gateway)
    allowed = usd_per_hour(Decimal(open_.engine + open_.gateway))
    return f" Without a cap its order would allow a price of {usd(allowed)} per hour."
