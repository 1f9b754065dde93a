"""Panels held against axe-core, which the checkers of accessibility in browsers are made of.

What is asked is WCAG 2.2, levels A and AA, and what axe calls best practice.
"""

from pathlib import Path
from typing import Any

from playwright.async_api import Page

from tests.browser.panel import Opened
from tests.support.npm import installed

SOURCE = Path(__file__).with_name("axe")
TAGS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
# Landmarks and headings of the page are those of the front end, which the panels are only a part
# of.
NOT_OURS = ("region",)


class Axe:
    """The checker, whose script is put into a page when it is first asked there."""

    def __init__(self, folder: Path) -> None:
        package = installed(SOURCE, folder) / "node_modules" / "axe-core"
        self._script = (package / "axe.min.js").read_text(encoding="utf-8")

    async def check(self, opened: Opened) -> None:
        """All panels of a page, in light and in dark colours. `AssertionError`, with the rule, the
        element and how to mend it, for what is amiss."""

        async def check(theme: str) -> None:
            told = await self.violations(opened.page)
            assert not told, "\n".join([f"in {theme} colours:", *told])

        await opened.in_each_theme(check)

    async def violations(self, page: Page, selector: str = ".akl") -> list[str]:
        """What is amiss in the parts of a page that `selector` finds, a paragraph each."""
        if await page.evaluate("typeof axe") == "undefined":
            await page.evaluate(self._script)
            # All of JupyterLab lies outside of its body, which has no height; to axe, whatever
            # does is out of sight, and it would look at no colours.
            await page.evaluate("document.body.style.minHeight = '100vh'")
        # Nor does it look at what is scrolled away.
        await page.locator(selector).first.scroll_into_view_if_needed()
        options = {
            "runOnly": {"type": "tag", "values": list(TAGS)},
            "rules": {rule: {"enabled": False} for rule in NOT_OURS},
            "resultTypes": ["violations"],
        }
        found = await page.evaluate("([where, how]) => axe.run(where, how)", [selector, options])
        assert any(rule["id"] == "color-contrast" for rule in found["passes"]), "it sees no text"
        return [line for one in found["violations"] for line in _lines(one)]


def _lines(violation: dict[str, Any]) -> list[str]:
    rule = f"{violation['id']} ({violation['impact']}): {violation['help']}"
    return [
        f"{rule}\n  {' '.join(map(str, node['target']))}\n  {node['html']}\n  "
        + node["failureSummary"].replace("\n", "\n  ")
        for node in violation["nodes"]
    ]
