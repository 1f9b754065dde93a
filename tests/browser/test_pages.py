"""Executed notebooks as web pages, in Chromium: they load nothing and run nothing."""

from pathlib import Path
from typing import Any

import nbformat
import pytest
from playwright.async_api import BrowserContext, Page, expect

from tests.support import canaries
from tests.support.endpoint import MODEL, Answer, ScriptedEndpoint, Think
from toolkit.automation.page import as_page
from toolkit.automation.run import run_notebook

HOSTILE = (
    '<script>document.title = "hacked"</script>'
    '<img src="http://evil.example/a.png" onerror="document.title = \'hacked\'">'
    '<iframe src="http://evil.example/"></iframe>'
    '<link rel="stylesheet" href="http://evil.example/a.css">'
    '<style>body { background: url("http://evil.example/b.png") }</style>'
    "<svg onload=\"document.title = 'hacked'\"><text>in</text></svg>"
)


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    """One whose outputs, and whose text, would like to do something."""
    node: Any = nbformat.v4
    cell = node.new_code_cell("print('said')")
    cell.outputs = [
        node.new_output("stream", text=f"\x1b[31m{HOSTILE}"),
        node.new_output("display_data", data={"text/html": HOSTILE, "text/plain": "plain"}),
        node.new_output(
            "display_data", data={"application/javascript": "document.title = 'hacked'"}
        ),
        node.new_output("error", ename="ConfigError", evalue=HOSTILE, traceback=[HOSTILE]),
    ]
    cells = [node.new_markdown_cell("# A title\n\nand `code`"), cell]
    path = tmp_path / "hostile.ipynb"
    nbformat.write(node.new_notebook(cells=cells), path)
    return path


async def shown(notebook: Path, context: BrowserContext) -> Page:
    """The notebook as a page that has loaded, and has asked for nothing but itself."""
    page_file = notebook.with_suffix(".html")
    page_file.write_bytes(as_page(notebook))
    page = await context.new_page()
    asked = list[str]()
    # What the policy stops fails before it is asked for, and is told of as a request, too.
    page.on("response", lambda response: asked.append(response.url))
    await page.goto(page_file.as_uri())
    await page.wait_for_load_state("networkidle")
    assert asked == [page_file.as_uri()]
    return page


async def test_a_page_loads_nothing_and_runs_nothing(
    notebook: Path, context: BrowserContext
) -> None:
    page = await shown(notebook, context)
    assert await page.title() == "A title"
    assert await page.locator("h1").inner_text() == "A title"
    assert await page.locator("pre", has_text='<script>document.title = "hacked"').count() >= 2
    assert "\x1b" not in await page.content()


async def test_nor_does_that_of_a_chat_with_a_hostile_model(
    context: BrowserContext, tmp_path: Path
) -> None:
    said = Answer([Think(canaries.HOSTILE), canaries.HOSTILE, " the end"])
    async with ScriptedEndpoint(lambda _: said) as server:
        asked = {"url": server.url, "model": MODEL, "first_message": canaries.HOSTILE}
        result = await run_notebook("05_chat", asked, out=tmp_path / "run")
    assert result.status == "ok"
    page = await shown(Path(result.output), context)
    told = page.locator("pre", has_text="the end").last
    await expect(told).to_contain_text("<script>window.hacked = 1</script>")
    assert await page.evaluate("window.hacked") is None
    assert await page.locator("script, img, iframe, object, a[href*=evil]").count() == 0
    assert "\x1b" not in await page.content() and "\u202e" not in await page.content()
