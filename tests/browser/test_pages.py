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
    "<svg onload=\"document.title = 'hacked'\"><text>in</text>"
    '<use href="http://evil.example/a.svg#a"/><image href="http://evil.example/c.png"/>'
    '<a href="http://evil.example/"><set attributeName="href" to="javascript:1"/></a>'
    '<g style="fill: url(http://evil.example/d)"/><foreignObject><meta name="a"></foreignObject>'
    "</svg>"
    '<meta http-equiv="refresh" content="0;url=http://evil.example/">'
    '<!--><meta http-equiv="refresh" content="0;url=http://evil.example/">-->'
    '<base href="http://evil.example/" target="_top">'
    '<form action="http://evil.example/"><input name="a"><button>Go on</button></form>'
    '<p style="position: fixed; inset: 0; color: red">over all</p>'
)
KEPT = (
    '<table><caption>Costs</caption><tr><th scope="row">A</th><td>1</td></tr></table>'
    "<details><summary>More</summary>of it</details>"
    '<img alt="dot" src="data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA=">'
    '<svg role="img" aria-label="A line" viewBox="0 0 9 9"><defs><path id="way" d="M 0 0 L 9 9"/>'
    '</defs><use xlink:href="#way" style="stroke: red; text-anchor: middle"/></svg>'
)
HALF = "a character of which there is half"
FORBIDDEN = "base, embed, form, iframe, input, button, link, meta, object, script, style"
FORBIDDEN += ", [onload], image, set, foreignObject, [href*='evil.example/a.svg'], [style*=url]"
SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="7" height="7">'
    "<script>document.title = 'hacked'</script></svg>"
)


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    """One whose outputs, and whose text, would like to do something."""
    node: Any = nbformat.v4
    cell = node.new_code_cell("print('said')")
    cell.outputs = [
        node.new_output("stream", text=f"\x1b[31m{HOSTILE}"),
        node.new_output("display_data", data={"text/html": HOSTILE, "text/plain": "plain"}),
        node.new_output("display_data", data={"text/html": "<textarea><!-- <b title='"}),
        node.new_output("display_data", data={"text/html": HALF}),
        node.new_output("display_data", data={"text/html": KEPT, "text/plain": "plain"}),
        node.new_output("display_data", data={"text/markdown": HOSTILE}),
        node.new_output("display_data", data={"image/svg+xml": SVG}),
        node.new_output(
            "display_data", data={"application/javascript": "document.title = 'hacked'"}
        ),
        node.new_output("error", ename="ConfigError", evalue=HOSTILE, traceback=[HOSTILE]),
    ]
    text = f"# A title\n\nand `code`\n\n{HOSTILE}\n\n[elsewhere](data:text/html,hi)"
    cells = [node.new_markdown_cell(text), cell, node.new_raw_cell(HOSTILE)]
    path = tmp_path / "hostile.ipynb"
    text = nbformat.writes(node.new_notebook(cells=cells)).replace(HALF, "half \\ud83d a character")
    path.write_text(text, encoding="utf-8")
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
    assert asked == [page_file.as_uri()] == [page.url]
    return page


@pytest.mark.goal(3, 4)
async def test_a_page_loads_nothing_runs_nothing_and_goes_nowhere(
    notebook: Path, context: BrowserContext
) -> None:
    page = await shown(notebook, context)
    assert await page.title() == "A title"
    assert await page.locator("h1").inner_text() == "A title"
    assert await page.locator("pre", has_text='<script>document.title = "hacked"').count() >= 2
    assert "\x1b" not in await page.content()
    assert await page.locator("body").locator(FORBIDDEN).count() == 0
    assert await page.locator("a[href^='data:'], [style*=fixed]").count() == 0
    assert await page.get_by_role("table", name="Costs").get_by_role("rowheader").count() == 1
    assert await page.locator("details summary").inner_text() == "More"
    assert await page.locator("img[alt=dot]").evaluate("image => image.naturalWidth") == 1
    drawn = page.get_by_role("img", name="A line").locator("use")
    assert await drawn.evaluate("use => use.getBBox().width") == 9
    assert await drawn.evaluate("use => use.style.textAnchor") == "middle"
    assert await page.locator(".output_svg img").evaluate("image => image.naturalWidth") == 7
    assert await page.locator(".highlight .nb").inner_text() == "print"


async def test_code_has_its_colours_however_long(context: BrowserContext, tmp_path: Path) -> None:
    node: Any = nbformat.v4
    source = f"signs = '{'a' * 1_100_000}'"
    path = tmp_path / "long.ipynb"
    nbformat.write(node.new_notebook(cells=[node.new_code_cell(source)]), path)
    page = await shown(path, context)
    assert await page.locator(".highlight .n").inner_text() == "signs"
    assert (await page.locator(".highlight").inner_text()).strip() == source


LEFT_OPEN = [
    "<style>",
    "<script>",
    "<script><!--<script>",
    "<textarea>",
    "<title>",
    "<!--",
    "<iframe>",
    "<noscript>",
    "<template>",
    "<plaintext>",
    "<select><option>",
    "<table><tr><td>",
    "<svg><desc>",
    "<math><mtext>",
    "<div hidden>",
    "<b title='",
]


@pytest.mark.goal(3, 4)
async def test_what_one_part_leaves_open_swallows_no_other(
    context: BrowserContext, tmp_path: Path
) -> None:
    node: Any = nbformat.v4
    cells = [node.new_markdown_cell("# Parts")]
    for at, html in enumerate(LEFT_OPEN):
        cells.append(node.new_markdown_cell(f"Text {at}\n\n{html}"))
        cells.append(node.new_raw_cell(html))
        cell = node.new_code_cell(f"code_{at} = 1")
        for mime in ("text/markdown", "text/html", "application/javascript"):
            cell.outputs.append(node.new_output("display_data", data={mime: html}))
            cell.outputs.append(node.new_output("stream", text=f"{mime} {at} was before."))
        framed = {"text/html": {"isolated": True}}
        data = {"text/html": f"<p>framed {at}.</p>{html}"}
        cell.outputs.append(node.new_output("display_data", data=data, metadata=framed))
        cells.append(cell)
    cells.append(node.new_markdown_cell("- [x] done\n- [ ] open\n\nThe end"))
    path = tmp_path / "open.ipynb"
    nbformat.write(node.new_notebook(cells=cells), path)
    page = await shown(path, context)
    for at in range(len(LEFT_OPEN)):
        await expect(page.get_by_text(f"Text {at}", exact=True)).to_be_visible()
        await expect(page.locator(".highlight", has_text=f"code_{at} =")).to_be_visible()
        await expect(page.get_by_text(f"framed {at}.", exact=True)).to_be_visible()
        for mime in ("text/markdown", "text/html", "application/javascript"):
            told = page.get_by_text(f"{mime} {at} was before.", exact=True)
            await expect(told).to_be_visible()
    assert await page.locator("body > .cell").count() == 2 + 2 * len(LEFT_OPEN)
    assert await page.locator("li").all_inner_texts() == ["\u2611 done", "\u2610 open"]
    await expect(page.get_by_text("The end")).to_be_visible()


@pytest.mark.goal(3, 4)
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
