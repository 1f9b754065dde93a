"""Accessibility trees as Chromium sees them, held against files.

What differs from run to run is replaced: ports, paths, times, amounts and rates. Set
AKASH_LLM_GOLDEN=write to write the files anew, and read the difference before it is kept.
"""

import asyncio
import difflib
import os
import re
import time
from pathlib import Path

from playwright.async_api import Locator

FOLDER = Path(__file__).resolve().parents[1] / "data" / "accessibility"
# Read when tests are collected: each test scrubs such variables from its environment.
IS_WRITING = os.environ.get("AKASH_LLM_GOLDEN") == "write"
SETTLE_S = 5.0
_CHANGING = (
    (r"127\.0\.0\.1:\d+", "127.0.0.1:PORT"),
    (r"(?<= )/[^\s\"]+/notebooks/", "…/notebooks/"),
    (r"/\S*/(endpoints|models)\b", r"HOME/\1"),
    (r"\d{8}-\d{6}-", "DATE-"),
    (r"benchmark-[\d-]+", "benchmark-DATE"),
    (r"(?<= · )\d\d \w{3} \d\d:\d\d", "DATE"),
    (r"\b\d\d:\d\d(:\d\d)?\b", "TIME"),
    (r"\b\d+ h \d\d min\b", "LEFT"),
    (r"[\d.,]+(?= (s|tok/s)\b)", "N"),
    (r"context [\d,]+ of ([\d,]+) \(\d+ %\)", r"context N of \1 (N %)"),
    (r"\$0\.0\d*|under \$0\.0001", "$SPENT"),
)
# Of what was measured only the form is the same in each run: not how many marks an axis has,
# nor of what the reader is warned.
_MEASURED = (
    (r"^(\s*- '?img \"[^\"]*\"'?).*", r"\1"),
    (r"^(\s*)- list:\n(?:\1  .*\n)+", r"\1- list: REMARKS\n"),
    (r"\b(better|worse|within noise)\b", "VERDICT"),
    (r"(?<![\w.])[-+]?\d[\d.,]*(?![\w.])%?", "N"),
)
_NAMELESS = re.compile(
    r"^\s*- (?:textbox|button|combobox|spinbutton|checkbox|img|table)(?:$|:| \[)", re.MULTILINE
)


async def assert_tree(part: Locator, name: str, *, is_measured: bool = False) -> None:
    """The tree of a part of a page is the one of the file, once the page has settled, and every
    control in it has a name. Of figures that were measured only the places count."""
    path = FOLDER / f"{name}.yaml"
    if IS_WRITING:
        await asyncio.sleep(0.5)
        FOLDER.mkdir(parents=True, exist_ok=True)
        path.write_text(await _tree(part, is_measured), encoding="utf-8")
    wanted = path.read_text(encoding="utf-8")
    deadline = time.monotonic() + SETTLE_S
    while (found := await _tree(part, is_measured)) != wanted:
        if time.monotonic() > deadline:
            lines = (wanted.splitlines(), found.splitlines())
            raise AssertionError("\n".join(difflib.unified_diff(*lines, str(path), "the page")))
        await asyncio.sleep(0.1)
    assert not _NAMELESS.search(found), found


async def _tree(part: Locator, is_measured: bool) -> str:
    tree = await part.aria_snapshot() + "\n"
    for pattern, word in (*_CHANGING, *(_MEASURED if is_measured else ())):
        tree = re.sub(pattern, word, tree, flags=re.MULTILINE)
    return tree
