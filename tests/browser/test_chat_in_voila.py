"""The chat notebook as a web page of Voila, behind its token."""

import asyncio
import json
import re
import urllib.error
import urllib.request

import pytest
from playwright.async_api import expect

from tests.browser.axe import Axe
from tests.browser.golden import assert_tree
from tests.browser.test_chat import NOTEBOOK, assert_harmless, say_broken, script
from tests.browser.voila import OpenedPage, Voila
from tests.goals import Measure
from tests.support.endpoint import MODEL, ScriptedEndpoint


@pytest.mark.goal(2, 3, 10)
@pytest.mark.alone
async def test_the_panel_is_the_same_as_in_jupyterlab(
    opened_page: OpenedPage, voila: Voila, measured: Measure, axe: Axe
) -> None:
    page = opened_page
    async with ScriptedEndpoint(script) as server:
        await page.open(
            NOTEBOOK,
            url=server.url,
            model=MODEL,
            first_message="Write a haiku about renting.",
            usd_per_hour=0.36,
            conversations="kept",
        )
        await page.wait_for_figures(1)
        await page.say("What decides what my own endpoint costs?")
        await page.wait_for_figures(2)
        await expect(page.replies.nth(1).locator("strong")).to_have_count(3)
        await assert_tree(page.panel, "chat")
        await page.picture("chat-voila")
        await axe.check(page)

        await page.say("please hold the line")
        await expect(page.replies.nth(2)).to_contain_text("before the stop.")
        clicked = asyncio.get_running_loop().time()
        await page.button("Stop").click()
        await server.until(lambda s: s.active == 0 and s.cancelled == 1)
        measured(2, "Voila: Stop clicked to slot free", 1e3 * (server.gone_at - clicked), "ms", 300)
        await expect(page.replies.nth(2)).to_contain_text("stopped")
        await page.button("Copy, export").click()
        await page.field("Copy").select_option("this request as code: ollama")
        await expect(page.field("Text to copy")).to_have_value(re.compile("import ollama"))
    (kept,) = (voila.folder / "kept").glob("*.json")
    assert len(json.loads(kept.read_text())["turns"]) == 3


@pytest.mark.goal(4)
async def test_hostile_text_runs_and_loads_nothing(opened_page: OpenedPage) -> None:
    async with ScriptedEndpoint(script) as server:
        await opened_page.open(NOTEBOOK, url=server.url, model=MODEL, first_message="be hostile")
        await opened_page.wait_for_figures(1)
        await opened_page.button("Show thinking").click()
        await say_broken(opened_page)
        await assert_harmless(opened_page)


@pytest.mark.goal(3, 4)
async def test_the_page_itself_may_load_nothing_from_elsewhere(opened_page: OpenedPage) -> None:
    """A second wall behind the first: what its policy forbids is not even asked for."""
    async with ScriptedEndpoint(script) as server:
        await opened_page.open(NOTEBOOK, url=server.url, model=MODEL)
        await opened_page.wait_for_figures(1)
        loads = """new Promise(done => {
          document.addEventListener('securitypolicyviolation', e => done(e.effectiveDirective));
          new Image().src = 'http://localhost:9/leak';
        })"""
        assert await opened_page.evaluate(loads) == "img-src"


@pytest.mark.parametrize("path", ["/", f"/voila/render/{NOTEBOOK}", "/voila/api/contents/"])
def test_without_its_token_there_is_only_a_form(voila: Voila, path: str) -> None:
    try:
        with urllib.request.urlopen(f"{voila.url}{path}") as answer:
            assert "/login?next=" in answer.url
    except urllib.error.HTTPError as refused:
        with refused:
            assert refused.code == 403


@pytest.mark.parametrize("name", ["mine.png", "conversations/mine.json", NOTEBOOK])
def test_what_lies_beside_the_notebooks_is_not_served(voila: Voila, name: str) -> None:
    """Voila gives files that it may give to anybody, with a token or not."""
    path = voila.folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("private")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{voila.url}/voila/files/{name}?token={voila.token}")
    with refused.value:
        assert refused.value.code == 403


def test_its_list_of_notebooks_asks_nobody_for_icons(voila: Voila) -> None:
    with urllib.request.urlopen(f"{voila.url}/?token={voila.token}") as answer:
        assert "https://" not in answer.read().decode().replace("https://cdnjs", "", 1)
