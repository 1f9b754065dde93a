"""The page of a benchmark in a real browser: nothing of it executes, nothing is fetched."""

from pathlib import Path

import msgspec
import pytest
from playwright.async_api import BrowserContext, expect

from tests.support.benching import level, record, result_of
from toolkit.bench import save
from toolkit.bench.arrival import Load
from toolkit.bench.records import Outcome

OWNS = "document.title='owned'"
HOSTILE = f'</title></svg><script>{OWNS}</script><img src=https://203.0.113.7/x onerror="{OWNS}">'


@pytest.mark.goal(3, 4, 6)
async def test_hostile_names_and_errors_execute_and_load_nothing(
    context: BrowserContext, tmp_path: Path
) -> None:
    levels = [
        level(
            *(record(n) for n in range(5)),
            record(5, outcome=Outcome.ERROR, error=HOSTILE),
            load=Load(concurrency=count),
        )
        for count in (1, 2)
    ]
    result = result_of(*levels, remarks=(HOSTILE,))
    facts = {"model": HOSTILE, "server_version": HOSTILE, "quantization": HOSTILE}
    result = msgspec.structs.replace(
        result, subject=msgspec.structs.replace(result.subject, **facts)
    )
    path = tmp_path / "report.html"
    save(result, path)

    page = await context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.goto(path.as_uri())

    await expect(page.locator("h1")).to_contain_text(HOSTILE)
    await expect(page.get_by_role("img")).to_have_count(5)
    await expect(page.get_by_role("table")).to_have_count(2)
    assert await page.locator("script, img").count() == 0
    assert HOSTILE in await page.title()
    assert asked == [path.as_uri()]
