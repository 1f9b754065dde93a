"""The benchmark notebook in real JupyterLab: its run, the form, Stop."""

from playwright.async_api import expect

from tests.browser.panel import Opened
from tests.support.endpoint import MODEL, Answer, Pause, Received, ScriptedEndpoint, Step

NOTEBOOK = "06_benchmark.ipynb"


def paced(received: Received) -> Answer:
    steps: list[Step] = [Pause(0.05)]
    for _ in range(received.body["options"]["num_predict"]):
        steps += ["w ", Pause(0.01)]
    return Answer(steps)


async def test_a_run_fills_table_and_plot_and_stop_keeps_what_is_there(opened: Opened) -> None:
    async with ScriptedEndpoint(paced) as server:
        await opened.open(NOTEBOOK, url=server.url, model=MODEL, requests=4, output_tokens=8)
        panel = opened.page.locator(".akl")
        rows = panel.locator("tbody tr")
        await expect(panel.locator(".akl-status")).to_contain_text("0 of 12 requests failed")
        await expect(rows).to_have_count(3)
        await expect(rows.nth(2).locator("td").nth(1)).to_have_text("4/4")
        await expect(panel.get_by_role("img")).to_be_visible()
        await opened.picture("bench-panel")

        await panel.get_by_label("Requests each", exact=True).fill("200")
        await panel.get_by_label("Open requests", exact=True).fill("2, 8")
        await panel.get_by_label("Open requests", exact=True).press("Tab")
        await opened.button("Run").click()
        await expect(panel.locator(".akl-status")).to_contain_text("level 1 of 2 (2 open)")
        done = len(server.generations())
        await server.until(lambda s: len(s.generations()) > done + 4)
        await opened.button("Stop").click()
        await server.until(lambda s: s.active == 0)
        await expect(panel.locator(".akl-status")).to_contain_text("what was measured is kept")
        await expect(rows).to_have_count(1)
        await expect(opened.button("Run")).to_be_enabled()


async def test_a_form_that_cannot_be_meant_says_so(opened: Opened) -> None:
    async with ScriptedEndpoint(paced) as server:
        await opened.open(NOTEBOOK, url=server.url, model=MODEL, requests=1, output_tokens=2)
        panel = opened.page.locator(".akl")
        await expect(panel.locator(".akl-status")).to_contain_text("requests failed")
        asked = len(server.generations())
        await panel.get_by_label("Open requests", exact=True).fill("many")
        await opened.button("Run").click()
        await expect(panel.locator(".akl-status")).to_contain_text("is not a list of counts")
        assert len(server.generations()) == asked
