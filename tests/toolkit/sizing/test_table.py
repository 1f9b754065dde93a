"""A sizing as a notebook shows it: numbers with reasons, and shares of places beside pictures."""

import re
from pathlib import Path

import toolkit
from toolkit.sizing.table import sizing_html
from toolkit.units import GIB


async def test_each_place_has_a_picture_and_the_same_in_words(stocked_home: Path) -> None:
    sizing = await toolkit.size("smollm2:135m", context=512, parallel=2)
    roomy, tight = sizing_html(sizing, 64 * GIB), sizing_html(sizing, sizing.memory.bytes // 2)
    assert roomy.count("<svg") == roomy.count('aria-hidden="true"') >= 2
    assert re.search(r"of 64\.0 GiB \(\d+ %\)", roomy) and "does not fit" not in roomy
    assert "does not fit" in tight
    assert sizing.weights.text in roomy and "scope='col'" in roomy and "tok/s" in roomy
    assert "this machine" in sizing._repr_html_()
    assert str(sizing).startswith("smollm2:135m: llama")
