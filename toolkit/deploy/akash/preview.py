"""What the Console makes of an SDL before it is ordered, so that nobody is surprised.

It pays in `uact` only: whatever a price is in, it becomes as many `uact`, without conversion.
And it lets only providers bid that its auditor has approved. Pure.
"""

import base64
import hashlib
from collections.abc import Iterator

import msgspec

from toolkit.deploy.console.amounts import UACT, usd_per_hour
from toolkit.sdl import SDL, dump, manifest, parse
from toolkit.sdl.inputs import AUDITOR
from toolkit.sdl.manifest import canonical
from toolkit.sdl.model import Placement
from toolkit.sdl.quantities import exact_amount


class Preview(msgspec.Struct, frozen=True):
    """An SDL as the Console orders it: the model, its text, and how it differs from what was
    given, in words. `hash` is that of the manifest in base64, as a deployment shows it; with
    secrets in the SDL it is of the names that stand for them. `manifest` is the text that is
    hashed."""

    sdl: SDL
    text: str
    differences: tuple[str, ...]
    hash: str
    manifest: str


def previewed(text: str) -> Preview:
    """What becomes of the SDL `text`. `SDLError` if it is none."""
    given = parse(text).sdl
    made = _rewritten(given)
    manifest_text = canonical(manifest(made))
    version = base64.b64encode(hashlib.sha256(manifest_text).digest()).decode()
    return Preview(made, dump(made), tuple(_differences(given)), version, manifest_text.decode())


def _rewritten(sdl: SDL) -> SDL:
    placements = {name: _ordered(each) for name, each in sdl.profiles.placement.items()}
    profiles = msgspec.structs.replace(sdl.profiles, placement=placements)
    return msgspec.structs.replace(sdl, profiles=profiles)


def _ordered(placement: Placement) -> Placement:
    pricing = {
        profile: msgspec.structs.replace(price, denom=UACT)
        for profile, price in placement.pricing.items()
    }
    signed_by = placement.signed_by
    if AUDITOR not in signed_by.any_of:
        any_of = (*signed_by.any_of, AUDITOR)
        signed_by = msgspec.structs.replace(signed_by, any_of=any_of)
    return msgspec.structs.replace(placement, pricing=pricing, signed_by=signed_by)


def _differences(sdl: SDL) -> Iterator[str]:
    for name, placement in sdl.profiles.placement.items():
        for profile, price in placement.pricing.items():
            if price.denom == UACT:
                continue
            yield (
                f"The price of {profile} in {name} is in {price.denom}: the Console takes "
                f"{price.amount} {price.denom} for {price.amount} {UACT} a block"
                f"{_in_dollars(price.amount)}, without converting it."
            )
        if AUDITOR not in placement.signed_by.any_of:
            also = ", too" if placement.signed_by.any_of else ""
            yield (
                f"In {name} the Console lets providers bid that its own auditor has "
                f"approved{also}, and shows no bids of others."
            )


def _in_dollars(amount: float | str) -> str:
    exact = exact_amount(amount)
    return "" if exact is None else f", which is ${usd_per_hour(exact):f} an hour"
