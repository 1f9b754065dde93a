"""A page with a panel: in JupyterLab, or as a page of Voila for tests that ask for that."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import BrowserContext

from tests.browser.conftest import watched
from tests.browser.panels.desk import Desk, DeskPage
from tests.goals import Measure


@pytest.fixture
async def desk(
    request: pytest.FixtureRequest, context: BrowserContext, measured: Measure
) -> AsyncIterator[Desk]:
    """A page; at the end no request may have gone beyond loopback. With the parameter "voila" it
    is one of Voila."""
    is_voila = getattr(request, "param", "lab") == "voila"
    where = request.getfixturevalue("voila" if is_voila else "lab")
    async with watched(context, measured) as page:
        desk = (DeskPage if is_voila else Desk)(page, where)
        yield desk
        await desk.shut_down()
