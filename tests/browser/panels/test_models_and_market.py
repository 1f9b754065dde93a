"""The panels of models and of the market in real JupyterLab."""

import asyncio
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.browser import stories
from tests.browser.axe import Axe
from tests.browser.panels.desk import Desk
from tests.support.gguf_files import write_model
from tests.support.image_registry import ImageRegistry
from tests.support.rough_proxy import Answer, Request, RoughProxy

HOSTILE = "<img src=http://evil.example/x onerror=window.hacked=1><script>window.hacked=2</script>"


@pytest.mark.goal(3, 10)
async def test_models_come_are_looked_at_and_go(
    desk: Desk, axe: Axe, registry: ImageRegistry, tmp_path: Path
) -> None:
    weights = write_model(tmp_path / "w.gguf", rows=60_000, fields={"general.x": HOSTILE})
    registry.push(
        "library/tiny:1b", [("model", weights.read_bytes()), ("system", HOSTILE.encode())]
    )
    proxy, gate = RoughProxy(registry.url), asyncio.Event()

    def held(request: Request, answer: Answer) -> Answer:
        return answer._replace(hold=gate) if request.is_blob else answer

    proxy.script = held
    async with proxy.serve():
        await desk.show(
            "import os",
            f"os.environ['AKASH_LLM_REGISTRIES'] = {proxy.url!r}",
            "from toolkit.panels import ModelsPanel",
            "panel = ModelsPanel()",
            "panel",
        )
        await expect(desk.panel.locator("tbody tr")).to_have_count(1)
        await desk.is_as_golden("models")
        name = f"{proxy.host}/library/tiny:1b"
        await desk.field("Pull a model").fill(name)
        await desk.field("Pull a model").press("Enter")
        await expect(desk.panel.locator(".akl-amount")).to_contain_text("MB (")
        await desk.pictures("models-pull")
        await axe.check(desk)
        await desk.button("Stop").click()
        await desk.says("Stopped: what came")
        gate.set()
        await desk.button("Go on").click()
        await desk.says("is here.")
    await expect(desk.panel.locator("tbody tr")).to_have_count(2)
    await desk.field("Model").select_option(name)
    await desk.button("Show").click()
    await desk.panel.get_by_text("System prompt").click()
    await expect(desk.panel).to_contain_text("<script>window.hacked=2</script>")
    await stories.look_at_a_model(desk)
    await desk.panel.get_by_text("License", exact=True).click()
    await desk.pictures("models-show")
    await desk.field("Model").select_option(name)
    await desk.button("Delete…").click()
    await axe.check(desk)
    await desk.panel.get_by_role("button", name="Delete 127.0.0.1").click()
    await desk.says("is deleted.")
    await expect(desk.panel.locator("tbody tr")).to_have_count(1)
    assert await desk.evaluate("() => window.hacked") is None


@pytest.mark.parametrize("desk", ["lab", "voila"], indirect=True)
@pytest.mark.goal(3, 10)
async def test_the_market_is_a_picture_a_sentence_and_a_table(desk: Desk, axe: Axe) -> None:
    await desk.show("from toolkit.panels import MarketPanel", "panel = MarketPanel()", "panel")
    await expect(desk.panel.get_by_role("img")).to_be_visible()
    await desk.is_as_golden("market")
    await desk.pictures("market")
    await axe.check(desk)
    await desk.field("Memory").select_option("80 GiB or more")
    await expect(desk.panel.locator("tbody tr")).to_have_count(2)
    await desk.field("GPU").fill("4090")
    await desk.says("did you mean rtx4090?")
    await desk.field("GPU").fill("")
    await desk.field("Memory").select_option("any")
    await desk.field("Region").select_option("us-east")
    await expect(desk.panel.locator("tbody tr")).to_have_count(1)


async def test_a_market_that_cannot_be_seen_says_so(desk: Desk) -> None:
    await desk.show(
        "import os",
        "os.environ['AKASH_LLM_CONSOLE'] = 'http://127.0.0.1:9'",
        "from toolkit.panels import MarketPanel",
        "panel = MarketPanel()",
        "panel",
    )
    await desk.says("The market cannot be seen now")
    await desk.says("It needs the network, and no key")
    await expect(desk.button("Refresh")).to_be_enabled()
