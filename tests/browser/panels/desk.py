"""A panel in a notebook of its own, in JupyterLab or as a page of Voila."""

from playwright.async_api import expect

from tests.browser.golden import assert_tree
from tests.browser.panel import Opened
from tests.browser.voila import OpenedPage


class Desk(Opened):
    """A page with one panel, made by a line of code."""

    async def says(self, text: str) -> None:
        """Until the status line says so."""
        await expect(self.status).to_contain_text(text)

    async def is_as_golden(self, name: str) -> None:
        """The accessibility tree is the one that is kept, and every control in it has a name."""
        await expect(self.panel.locator(".akl-state")).not_to_have_text("working")
        await assert_tree(self.panel, name)


class DeskPage(OpenedPage, Desk):
    """The same as a page of Voila."""
