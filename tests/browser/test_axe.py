"""The checker of accessibility finds what is amiss."""

import pytest
from playwright.async_api import BrowserContext

from tests.browser.axe import Axe

AMISS = """<div class="akl"><p>Well.</p><p style="color: #999; background: #fff">Pale.</p>
<input type="text"><table><tr><th></th></tr><tr><td>1</td></tr></table></div><input>"""


@pytest.mark.goal(10)
async def test_it_tells_the_rule_the_element_and_the_remedy(
    context: BrowserContext, axe: Axe
) -> None:
    page = await context.new_page()
    await page.set_content(AMISS)
    told = await axe.violations(page)
    rules = sorted(paragraph.split(" ")[0] for paragraph in told)
    assert rules == ["color-contrast", "empty-table-header", "label"]
    (pale,) = [paragraph for paragraph in told if "color-contrast" in paragraph]
    assert "#999999" in pale and "4.5:1" in pale and "Pale." in pale
