"""From the first word to the end of the endpoint in real JupyterLab, with nothing but keys."""

import pytest
from playwright.async_api import expect

from tests.browser import stories
from tests.browser.panels.desk import Desk

ALL_THREE = (
    "import toolkit",
    "from toolkit.bench import BenchConfig, Workload",
    "from toolkit.panels import BenchPanel, ChatPanel, DeployPanel",
    "endpoint = await toolkit.deploy('smollm2:135m', name='hands')",
    "config = BenchConfig(requests=2, workload=Workload(prompt_words=8, output_tokens=4))",
    "display(ChatPanel(endpoint, folder='hands'), BenchPanel(endpoint, config))",
    "DeployPanel(name='hands')",
)


@pytest.mark.goal(10)
async def test_chat_benchmark_and_teardown_with_the_keyboard_alone(desk: Desk) -> None:
    keys = desk.page.keyboard
    bench = desk.page.locator(".akl-bench")
    await desk.show(*ALL_THREE)
    await expect(desk.page.locator(".akl-deploy .akl-state")).to_have_text("ready")

    await desk.tab_to("Message")
    await keys.type("Name a colour.")
    await keys.press("Enter")
    await desk.wait_for_figures(1)
    await expect(desk.replies.first.locator(".akl-body")).to_contain_text("olo")

    await desk.tab_to("Open requests")
    await keys.press("Control+a")
    await keys.type("1, 2")
    await desk.tab_to("Run")
    await keys.press("Enter")
    await expect(bench.locator(".akl-status")).to_contain_text("0 of 4 requests failed")
    await expect(bench.get_by_role("table", name="Levels").locator("tbody tr")).to_have_count(2)

    await stories.close(desk)
