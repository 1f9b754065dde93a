"""Accessibility trees as Chromium sees them, held against files.

What differs from run to run is replaced: ports, paths, times and rates. Set
AKASH_LLM_GOLDEN=write to write the files anew, and read the difference before it is kept.
"""

import asyncio
import difflib
import os
import re
import time
from pathlib import Path

from tests.browser.panel import Opened

FOLDER = Path(__file__).resolve().parents[1] / "data" / "accessibility"
# Read when tests are collected: each test scrubs such variables from its environment.
IS_WRITING = os.environ.get("AKASH_LLM_GOLDEN") == "write"
SETTLE_S = 5.0
_CHANGING = (
    (re.compile(r"127\.0\.0\.1:\d+"), "127.0.0.1:PORT"),
    (re.compile(r"(?<= )/[^\s\"]+/notebooks/"), "…/notebooks/"),
    (re.compile(r"\d{8}-\d{6}-"), "DATE-"),
    (re.compile(r"(?<= · )\d\d \w{3} \d\d:\d\d"), "DATE"),
    (re.compile(r"[\d.,]+(?= (s|tok/s)\b)"), "N"),
    (re.compile(r"context [\d,]+ of ([\d,]+) \(\d+ %\)"), r"context N of \1 (N %)"),
    (re.compile(r"at most \$[\d.]+"), "at most $N"),
)


async def assert_tree(opened: Opened, name: str, selector: str = ".akl") -> None:
    """The tree of a part of the page is the one of the file, once the page has settled."""
    path = FOLDER / f"{name}.yaml"
    element = opened.page.locator(selector).first
    if IS_WRITING:
        await asyncio.sleep(0.5)
        FOLDER.mkdir(parents=True, exist_ok=True)
        path.write_text(_stable(await element.aria_snapshot()), encoding="utf-8")
        return
    wanted = path.read_text(encoding="utf-8")
    deadline = time.monotonic() + SETTLE_S
    while (found := _stable(await element.aria_snapshot())) != wanted:
        if time.monotonic() > deadline:
            lines = (wanted.splitlines(), found.splitlines())
            raise AssertionError("\n".join(difflib.unified_diff(*lines, str(path), "the page")))
        await asyncio.sleep(0.1)


def _stable(tree: str) -> str:
    for pattern, word in _CHANGING:
        tree = pattern.sub(word, tree)
    return tree + "\n"
