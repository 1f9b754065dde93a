"""A panel in a notebook of its own in JupyterLab, and what a person does with a keyboard."""

import json
import os
import re
import secrets
from pathlib import Path
from typing import Any

from playwright.async_api import Locator, ViewportSize, expect

from tests.browser.lab import Lab
from tests.browser.panel import SCREENSHOTS, Opened

GOLDEN = Path(__file__).with_name("golden")
# Read when tests are collected: each test scrubs such variables from its environment.
IS_WRITING = bool(os.environ.get("AKASH_LLM_GOLDEN"))
# Light or Dark.
THEME = os.environ.get("AKASH_LLM_THEME", "Light")
TALL: ViewportSize = {"width": 1180, "height": 2400}
MOST_TABS = 60

# What differs from run to run, and what stands for it.
_VARIES = (
    (r"/\S*/(endpoints|models)\b", r"HOME/\1"),
    (r"127\.0\.0\.1:\d+", "127.0.0.1:PORT"),
    (r"\b\d\d:\d\d(:\d\d)?\b", "TIME"),
    (r"\$0\.0\d*|under \$0\.0001", "$SPENT"),
    (r"\b\d+ h \d\d min\b", "LEFT"),
)


class Desk(Opened):
    """A page on JupyterLab with one panel, made by a line of code."""

    def __init__(self, page: Any, lab: Lab) -> None:
        super().__init__(page, lab)
        self._folder = lab

    async def show(self, *code: str) -> None:
        """A new notebook whose only cell is this code; the panel is its last value."""
        self._name = f"panel-{secrets.token_hex(3)}.ipynb"
        cell: dict[str, Any] = {
            "cell_type": "code",
            "execution_count": None,
            "id": "a",
            "metadata": {},
        }
        source = [f"{line}\n" for line in code]
        book = {
            "cells": [cell | {"metadata": {}, "outputs": [], "source": source}],
            "metadata": {"kernelspec": {"display_name": "Python 3", "name": "python3"}},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
        (self._folder.folder / self._name).write_text(json.dumps(book), encoding="utf-8")
        await self.page.goto(self._folder.notebook(self._name))
        await self.page.get_by_text("| Idle").wait_for()
        await self.page.get_by_role("menuitem", name="Run", exact=True).click()
        await self.page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        await self.panel.wait_for()

    @property
    def panel(self) -> Locator:
        """All of the panel."""
        return self.page.locator(".akl")

    @property
    def status(self) -> Locator:
        """The line that says what is going on."""
        return self.panel.locator(".akl-status")

    def field(self, label: str) -> Locator:
        """A field by its label."""
        return self.panel.get_by_label(label, exact=True)

    async def says(self, text: str) -> None:
        """Until the status line says so."""
        await expect(self.status).to_contain_text(text)

    async def tab_to(self, name: str) -> None:
        """Press Tab until the control of that name has the focus."""
        for _ in range(MOST_TABS):
            await self.page.keyboard.press("Tab")
            if await self.evaluate(_FOCUSED) == name:
                return
        raise AssertionError(f"no Tab leads to {name!r}")

    async def is_as_golden(self, name: str) -> None:
        """The accessibility tree is the one in `golden/`, and every control in it has a name.

        AKASH_LLM_GOLDEN=1 writes the files anew.
        """
        await expect(self.panel.locator(".akl-state")).not_to_have_text("working")
        tree = await self.panel.aria_snapshot()
        nameless = re.findall(
            r"^\s*- (?:textbox|button|combobox|spinbutton|checkbox)(?:$|:| \[)", tree, re.M
        )
        assert not nameless, tree
        for pattern, stands in _VARIES:
            tree = re.sub(pattern, stands, tree)
        file = GOLDEN / f"{name}.yaml"
        if IS_WRITING:
            file.write_text(tree + "\n", encoding="utf-8")
        assert (tree + "\n").splitlines() == file.read_text(encoding="utf-8").splitlines()

    async def pictures(self, name: str) -> None:
        """A picture of it, if AKASH_LLM_SCREENSHOTS names a folder; its name says the theme."""
        if SCREENSHOTS:
            await self.page.set_viewport_size(TALL)
            await self.picture(f"{name}-{THEME.lower()}")


_FOCUSED = """() => {
  const it = document.activeElement;
  const label = it.labels && it.labels.length ? it.labels[0].textContent : it.textContent;
  return (label || '').trim();
}"""
