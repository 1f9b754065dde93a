"""The benchmark notebook in real JupyterLab: its run, the form, Stop."""

import re
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.browser import stories
from tests.browser.axe import Axe
from tests.browser.golden import assert_tree
from tests.browser.panel import Opened
from tests.support.endpoint import MODEL, Answer, Pause, Received, ScriptedEndpoint, Step

NOTEBOOK = "06_benchmark.ipynb"


def paced(received: Received) -> Answer:
    steps: list[Step] = [Pause(0.05)]
    for _ in range(received.body["options"]["num_predict"]):
        steps += ["w ", Pause(0.01)]
    return Answer(steps)


@pytest.mark.goal(3, 6, 10)
async def test_a_run_fills_table_and_plot_and_stop_keeps_what_is_there(
    opened: Opened, axe: Axe, tmp_path: Path
) -> None:
    async with ScriptedEndpoint(paced) as server:
        await opened.open(NOTEBOOK, url=server.url, model=MODEL, requests=4, output_tokens=8)
        panel = opened.panel
        rows = panel.get_by_role("table", name="Levels").locator("tbody tr")
        await expect(opened.status).to_contain_text("0 of 12 requests failed")
        await expect(rows).to_have_count(3)
        await expect(rows.nth(2).locator("td").nth(0)).to_have_text("4/4")
        await expect(panel.get_by_role("img")).to_be_visible()
        await assert_tree(panel, "benchmark", is_measured=True)
        await panel.get_by_label("Picture").select_option("Requests")
        await expect(panel.get_by_role("img")).to_have_accessible_name(re.compile("Each request"))
        await panel.get_by_label("Picture").select_option("Latency and load")
        await opened.pictures("bench-panel")

        await stories.measure(opened, requests="200", loads="2, 8")
        done = len(server.generations())
        await server.until(lambda s: len(s.generations()) > done + 4)
        await opened.pictures("bench-running")
        await axe.check(opened)
        await stories.stop_measuring(opened)
        await server.until(lambda s: s.active == 0)
        await expect(rows).to_have_count(1)
        await stories.compare_with_first(opened)
        await panel.get_by_text("Formulas").click()
        await expect(panel.get_by_role("img")).to_be_visible()
        await opened.pictures("bench-compared")
        await axe.check(opened)

        saved = tmp_path / "mine.html"
        await panel.get_by_label("Save as").fill(str(saved))
        await opened.button("Save").click()
        await expect(opened.status).to_contain_text("Saved as")
        assert "<svg" in saved.read_text()


async def test_it_comes_so_often_a_second_and_is_held_to_objectives(opened: Opened) -> None:
    async with ScriptedEndpoint(paced) as server:
        await opened.open(NOTEBOOK, url=server.url, model=MODEL, requests=1, output_tokens=2)
        panel = opened.page.locator(".akl")
        await expect(panel.locator(".akl-status")).to_contain_text("requests failed")
        await panel.get_by_label("Load", exact=True).select_option("so many a second, at random")
        await panel.get_by_label("Requests a second").fill("40")
        await panel.get_by_label("Requests each").fill("6")
        await panel.get_by_label("Objectives").fill("ttft_ms:p50<=1")
        await panel.get_by_label("Objectives").press("Tab")
        await opened.button("Run").click()
        await expect(panel.locator("th", has_text="40/s poisson")).to_be_visible()
        # Each answer takes 50 ms to begin.
        await expect(panel.locator(".akl-status")).to_contain_text("No level meets ttft_ms:p50<=1")


async def test_a_form_that_cannot_be_meant_says_so(opened: Opened) -> None:
    async with ScriptedEndpoint(paced) as server:
        await opened.open(NOTEBOOK, url=server.url, model=MODEL, requests=1, output_tokens=2)
        panel = opened.page.locator(".akl")
        await expect(panel.locator(".akl-status")).to_contain_text("requests failed")
        asked = len(server.generations())
        await panel.get_by_label("Open requests", exact=True).fill("many")
        await opened.button("Run").click()
        await expect(panel.locator(".akl-status")).to_contain_text("is not a list of loads")
        assert len(server.generations()) == asked
