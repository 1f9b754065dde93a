"""One JupyterLab and one Voila for all tests of this folder, a Chromium page for each.

The kernels of both know a home with the embedded model and a simulated account.

Every page counts what it asks of hosts other than loopback: none is the only good
number.
"""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.async_api import BrowserContext, Page, async_playwright

from tests.browser.account import Account, simulated_account
from tests.browser.axe import Axe
from tests.browser.lab import CHROMIUM, CHROMIUM_FLAGS, Lab, running_lab
from tests.browser.panel import Opened
from tests.browser.voila import OpenedPage, Voila, running_voila
from tests.goals import Measure

LOOPBACK = ("127.0.0.1", "localhost", "[::1]", "::1", None, "")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without a browser nothing here can be said."""
    if CHROMIUM is None:
        for item in items:
            if item.path.is_relative_to(Path(__file__).parent):
                item.add_marker(pytest.mark.skip("there is no Chromium: see system-packages.txt"))


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> Axe:
    """The checker of accessibility."""
    return Axe(tmp_path_factory.mktemp("axe"))


@pytest.fixture(scope="session")
def account(tmp_path_factory: pytest.TempPathFactory, embedded_store: Path) -> Iterator[Account]:
    """What the kernels can reach."""
    with simulated_account(tmp_path_factory.mktemp("account"), embedded_store) as account:
        yield account
        # What a test that failed has left open.
        down = [sys.executable, "-m", "toolkit", "down", "--all"]
        subprocess.run(down, env=os.environ | account.variables, capture_output=True, timeout=120)


@pytest.fixture(scope="session")
def lab(account: Account, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """JupyterLab on an empty folder; tests put their notebooks into it."""
    folder = tmp_path_factory.mktemp("lab") / "notebooks"
    folder.mkdir()
    with running_lab(folder, env=account.variables) as running:
        yield running


@pytest.fixture
async def context() -> AsyncIterator[BrowserContext]:
    """A fresh browser profile."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=list(CHROMIUM_FLAGS)
        )
        try:
            yield await browser.new_context(viewport={"width": 1180, "height": 980})
        finally:
            await browser.close()


@pytest.fixture(scope="session")
def voila(account: Account, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Voila]:
    """Voila on an empty folder; tests put their notebooks into it."""
    folder = tmp_path_factory.mktemp("voila") / "notebooks"
    folder.mkdir()
    with running_voila(folder, env=account.variables) as running:
        yield running


@pytest.fixture
async def opened(lab: Lab, context: BrowserContext, measured: Measure) -> AsyncIterator[Opened]:
    """A page on JupyterLab; at the end no request may have gone beyond loopback."""
    async with watched(context, measured) as page:
        panel = Opened(page, lab)
        yield panel
        await panel.shut_down()


@pytest.fixture
async def opened_page(
    voila: Voila, context: BrowserContext, measured: Measure
) -> AsyncIterator[OpenedPage]:
    """A page on Voila; at the end no request may have gone beyond loopback."""
    async with watched(context, measured) as page:
        panel = OpenedPage(page, voila)
        yield panel
        await panel.shut_down()


@asynccontextmanager
async def watched(context: BrowserContext, measured: Measure) -> AsyncIterator[Page]:
    """A page that asks nothing of other hosts, or the test fails."""
    page = await context.new_page()
    outside: list[str] = []

    def note(url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob") and parts.hostname not in LOOPBACK:
            outside.append(url)

    page.on("request", lambda request: note(request.url))
    page.on("websocket", lambda socket: note(socket.url))
    yield page
    measured(3, "requests of a page to other hosts", len(outside), "", 0)
    assert outside == [], "requests beyond loopback"
