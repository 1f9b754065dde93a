"""What a person does with a notebook and its panel, in words of the person."""

import asyncio
import json
import os
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import playwright.async_api
from playwright.async_api import Locator, Page, ViewportSize, expect

from tests.browser.lab import Lab, notebook_with

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
# Read when tests are collected: each test scrubs such variables from its environment.
SCREENSHOTS = os.environ.get("AKASH_LLM_SCREENSHOTS")
TIMEOUT_MS = 60_000
BRIEFLY_MS = 5_000
MOST_TABS = 60
TALL: ViewportSize = {"width": 1180, "height": 2400}


class Opened:
    """A notebook open in JupyterLab."""

    def __init__(self, page: Page, lab: Lab) -> None:
        self.page = page
        self._lab = lab
        self._name = ""
        page.set_default_timeout(TIMEOUT_MS)
        expect.set_options(timeout=TIMEOUT_MS)

    async def open(self, name: str, /, **parameters: Any) -> None:
        """The same as `visit`, until the notebook's panel is there."""
        await self.visit(name, **parameters)
        await self.panel.wait_for()

    async def visit(self, name: str, /, **parameters: Any) -> None:
        """Copy one of our notebooks with these parameters, open it and have all of it run."""
        notebook_with(NOTEBOOKS / name, self._lab.folder / name, parameters)
        await self._run(name)

    async def show(self, *code: str) -> None:
        """Open a new notebook whose only cell is this code, which shows panels, and run it, with
        a key; where it was is still the focus."""
        name = f"panel-{secrets.token_hex(3)}.ipynb"
        cell: dict[str, Any] = {"cell_type": "code", "execution_count": None, "id": "a"}
        cell |= {"metadata": {}, "outputs": [], "source": [f"{line}\n" for line in code]}
        book = {
            "cells": [cell],
            "metadata": {"kernelspec": {"display_name": "Python 3", "name": "python3"}},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
        (self._lab.folder / name).write_text(json.dumps(book), encoding="utf-8")
        await self._run(name, has_one_cell=True)
        await self.panel.first.wait_for()

    async def _run(self, name: str, *, has_one_cell: bool = False) -> None:
        """Open a notebook of the folder and have all of it run."""
        self._name = name
        await self.page.goto(self._lab.notebook(name))
        await self.page.get_by_text("| Idle").wait_for()
        if has_one_cell:  # which has the focus
            await self.page.keyboard.press("Control+Enter")
            return
        await self._menu("Run", "Run All Cells")

    async def _menu(self, name: str, *entries: str) -> None:
        """Click an entry of a menu. One that opens while the page is busy may close again."""
        for last in (False, False, True):
            await self.page.get_by_role("menuitem", name=name, exact=True).click()
            try:
                for entry in entries:
                    found = self.page.locator(".lm-Menu").get_by_text(entry, exact=True)
                    await found.click(timeout=TIMEOUT_MS if last else BRIEFLY_MS)
            except playwright.async_api.TimeoutError:
                if last:
                    raise
                await self.page.keyboard.press("Escape")
            else:
                return

    async def in_each_theme(self, act: Callable[[str], Awaitable[None]]) -> None:
        """Do something in light and in dark colours; `act` gets which."""
        await act("light")
        await self._use_theme("Dark")
        try:
            await act("dark")
        finally:
            await self._use_theme("Light")

    async def _use_theme(self, name: str) -> None:
        """Change the colours of JupyterLab, without a menu: the focus stays where it is."""
        command = "name => jupyterapp.commands.execute('apputils:change-theme', {theme: name})"
        await self.page.evaluate(command, f"JupyterLab {name}")
        is_light = str(name == "Light").lower()
        await self.page.locator(f"body[data-jp-theme-light={is_light}]").wait_for(state="attached")
        await self.page.locator("#jupyterlab-splash").wait_for(state="detached")

    async def restart_and_run(self) -> None:
        """Restart the kernel and run all cells again."""
        await self._menu("Kernel", "Restart Kernel and Run All Cells…")
        await self.page.get_by_role("button", name="Confirm Kernel Restart").click()
        await self.page.locator(".akl").wait_for(state="detached")
        await self.page.locator(".akl").wait_for()

    async def shut_down(self) -> None:
        """End the kernels that this page started."""
        headers = {"Authorization": f"token {self._lab.token}"}
        answer = await self.page.request.get(f"{self._lab.url}/api/sessions", headers=headers)
        for session in await answer.json():
            await self.page.request.delete(
                f"{self._lab.url}/api/sessions/{session['id']}", headers=headers
            )

    @property
    def panel(self) -> Locator:
        """All of the panel."""
        return self.page.locator(".akl")

    @property
    def line(self) -> Locator:
        """Where a message is written."""
        return self.page.locator(".akl-foot input[type=text]")

    @property
    def replies(self) -> Locator:
        """The model's messages."""
        return self.page.locator(".akl-reply")

    @property
    def status(self) -> Locator:
        """The line that says what happened."""
        return self.page.locator(".akl-status")

    def field(self, label: str) -> Locator:
        """A control of the panel by its label."""
        return self.page.locator(".akl").get_by_label(label, exact=True)

    async def choose(self, label: str, beginning: str) -> None:
        """Choose the only line of a menu that begins so."""
        menu = self.field(label)
        # The front end writes spaces that do not break.
        texts = [t.replace("\xa0", " ") for t in await menu.locator("option").all_text_contents()]
        (index,) = [n for n, text in enumerate(texts) if text.startswith(beginning)]
        await menu.select_option(index=index)

    def button(self, name: str) -> Locator:
        """A button of the panel by its text."""
        return self.page.locator(".akl").get_by_role("button", name=name, exact=True)

    async def say(self, text: str) -> None:
        """Type a message and press Enter."""
        await self.line.fill(text)
        await self.line.press("Enter")

    async def tab_to(self, name: str) -> None:
        """Press Tab until the control of that name has the focus."""
        for _ in range(MOST_TABS):
            await self.page.keyboard.press("Tab")
            if await self.evaluate(_FOCUSED) == name:
                return
        raise AssertionError(f"no Tab leads to {name!r}")

    async def wait_for_figures(self, count: int = 1) -> None:
        """Until so many replies have ended with their figures."""
        ended = self.page.locator(".akl-facts", has_text="ended:")
        await expect(ended).to_have_count(count, timeout=TIMEOUT_MS)

    async def picture(self, name: str) -> None:
        """A picture of the panel, if AKASH_LLM_SCREENSHOTS names a folder."""
        if SCREENSHOTS:
            folder = Path(SCREENSHOTS)
            folder.mkdir(parents=True, exist_ok=True)
            await self.page.locator(".akl").first.screenshot(path=folder / f"{name}.png")

    async def pictures(self, name: str) -> None:
        """The same of all of it in each theme, which stands behind the name."""
        if SCREENSHOTS:
            usual = self.page.viewport_size
            await self.page.set_viewport_size(TALL)
            await self.in_each_theme(lambda theme: self.picture(f"{name}-{theme}"))
            await self.page.set_viewport_size(usual or TALL)

    async def saved(self) -> str:
        """The notebook's file after saving, widget states included."""
        await self._menu("Settings", "Save Widget State Automatically")
        path = self._lab.folder / self._name
        before = path.stat().st_mtime_ns
        await self.page.keyboard.press("Control+s")
        # The file is empty for a moment while it is written.
        while path.stat().st_mtime_ns == before or not (text := path.read_text("utf-8")):
            await asyncio.sleep(0.05)
        return text

    async def evaluate(self, script: str) -> Any:
        """The value of a script in the page."""
        return await self.page.evaluate(script)


_FOCUSED = """() => {
  const it = document.activeElement;
  const label = it.labels && it.labels.length ? it.labels[0].textContent : it.textContent;
  return (label || '').trim();
}"""
