"""What the Console makes of an SDL, held against the Console that stands in."""

import pytest

from tests.support.console import orders, samples
from tests.support.console.world import World
from toolkit.deploy.akash.preview import previewed
from toolkit.errors import SDLError
from toolkit.sdl import RenderInputs, parse, render, validate

HELD = f"admin:admin:{'0' * 64}"
OURS = render(RenderInputs(image="example.org/you/akash-llm-server:1", keys_text=HELD))
# What is written otherwise in the canonical form of a manifest.
ODD = samples.SDL.replace('"MODEL=a"', '"MODEL=<a>&é"')


@pytest.mark.parametrize("text", [samples.SDL, OURS, ODD])
def test_the_hash_is_that_of_the_deployment(text: str) -> None:
    made = World().create({"sdl": text})
    assert previewed(text).hash == made.hash


@pytest.mark.parametrize("text", [samples.SDL, OURS])
def test_the_order_is_that_of_the_console(text: str) -> None:
    preview = previewed(text)
    assert preview.sdl == orders.read(text) == parse(preview.text).sdl
    assert validate(preview.text).ok


def test_a_price_is_taken_for_another_currency_and_that_is_said() -> None:
    preview = previewed(samples.SDL.replace("amount: 2000", "amount: 10000"))
    price, audit = preview.differences
    assert "10000 uakt for 10000 uact" in price and "$6 an hour" in price
    assert "auditor" in audit
    (placement,) = preview.sdl.profiles.placement.values()
    assert placement.pricing["llm"].amount == 10000


def test_what_is_rendered_here_is_ordered_as_it_stands() -> None:
    preview = previewed(OURS)
    assert preview.differences == ()
    assert preview.sdl == parse(OURS).sdl


def test_auditors_of_ones_own_stay() -> None:
    asked = samples.SDL.replace("pricing:", "signedBy: {anyOf: [akash1mine]}\n      pricing:")
    preview = previewed(asked)
    (placement,) = preview.sdl.profiles.placement.values()
    assert placement.signed_by.any_of == ("akash1mine", orders.AUDITOR)
    assert "auditor has approved, too" in preview.differences[1]


def test_what_is_no_sdl_is_refused() -> None:
    with pytest.raises(SDLError):
        previewed("version: 7")
