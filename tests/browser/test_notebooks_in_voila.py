"""Every notebook as a web page of Voila, with its defaults and in their order: it runs to its
end, shows no code and no error, and its panel does what it does in JupyterLab."""

import json
import re

import pytest
from playwright.async_api import expect

from tests.browser import stories
from tests.browser.axe import Axe
from tests.browser.panel import NOTEBOOKS
from tests.browser.voila import OpenedPage

SHORTEST_LINE = 20


@pytest.mark.goal(3, 8, 10)
async def test_a_person_goes_through_all_of_them(opened_page: OpenedPage, axe: Axe) -> None:
    page = opened_page

    await page.visit("01_start.ipynb")
    await expect(page.page.get_by_role("table").last).to_contain_text("ready")
    await assert_is_a_page(page, "01_start.ipynb", "tokens, the first after")
    # What is printed piece by piece is one text.
    answer = page.page.locator("pre", has_text="tokens, the first after")
    assert not re.match(r"\s*\d+ tokens", await answer.inner_text())

    await page.open("02_models.ipynb")
    await assert_is_a_page(page, "02_models.ipynb", "134.52M")
    await stories.look_at_a_model(page)
    await axe.check(page)

    await page.visit("03_sdl.ipynb")
    await assert_is_a_page(page, "03_sdl.ipynb", "the chain keeps")

    await page.open("05_chat.ipynb")
    await page.wait_for_figures(1)
    await assert_is_a_page(page, "05_chat.ipynb", "first token after")
    await page.say("Name a colour.")
    await page.wait_for_figures(2)
    await axe.check(page)

    await page.open("06_benchmark.ipynb")
    await expect(page.status).to_contain_text("0 of 12 requests failed")
    await assert_is_a_page(page, "06_benchmark.ipynb", "requests failed")
    await stories.measure(page, requests="500", loads="1, 2")
    await stories.stop_measuring(page)
    await stories.compare_with_first(page)
    await expect(page.panel.get_by_role("img")).to_be_visible()
    await axe.check(page)

    await page.open("04_deploy.ipynb")  # it adopts what the first has begun
    await assert_is_a_page(page, "04_deploy.ipynb", "answers at http://127.0.0.1")
    await stories.close(page)
    await stories.plan(page)
    await axe.check(page)
    await stories.agree(page)
    await axe.check(page)
    await stories.close(page)

    await page.open("07_manage.ipynb")
    await expect(page.status).to_contain_text("managed is closed.")
    await expect(page.page.get_by_role("table", name="Ledger").last).to_contain_text("closed")
    await assert_is_a_page(page, "07_manage.ipynb", "nothing runs")
    await axe.check(page)


async def test_why_a_notebook_ends_is_said_on_its_page(opened_page: OpenedPage) -> None:
    page = opened_page
    await page.visit("06_benchmark.ipynb", name="nobody")
    body = page.page.locator("body")
    await expect(body).to_contain_text("no endpoint named 'nobody' is open")
    await expect(body).to_contain_text("akash-llm up")
    assert "connect(name)" not in await body.inner_text()  # the way it came


async def assert_is_a_page(opened: OpenedPage, name: str, said: str) -> None:
    """It has got to its end, without an error, and nobody sees code."""
    body = opened.page.locator("body")
    await expect(body).to_contain_text(said)
    shown = await body.inner_text()
    for sign in ("There was an error", "Traceback", "Error:", "Warning:"):
        assert sign not in shown, shown
    failed = opened.page.locator("[data-mime-type$=stderr], [data-mime-type$=error]")
    await expect(failed).to_have_count(0)
    cells = json.loads((NOTEBOOKS / name).read_text(encoding="utf-8"))["cells"]
    told = "".join(
        line for cell in cells if cell["cell_type"] == "markdown" for line in cell["source"]
    )
    code = [
        line
        for cell in cells
        if cell["cell_type"] == "code"
        for line in map(str.strip, cell["source"])
        if len(line) > SHORTEST_LINE and line not in told
    ]
    assert code and [line for line in code if line in shown] == []
