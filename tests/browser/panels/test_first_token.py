"""What somebody new waits for: the first token of 01_start, with nothing there but a model."""

import time

import pytest

from tests.browser.panel import NOTEBOOKS, TALL
from tests.browser.panels.desk import Desk
from tests.goals import Measure
from toolkit.automation.params import read_cells

NOTEBOOK = "01_start.ipynb"
ASKS = "endpoint.chat("
# The moment at which the cell that asks shows a text; in ms since 1970.
FIRST_TEXT = """asks => new Promise(done => {
  const look = () => {
    const cells = [...document.querySelectorAll('.jp-CodeCell')];
    const cell = cells.find(each => each.querySelector('.cm-content')?.innerText.includes(asks));
    const said = cell?.querySelector('.jp-OutputArea-output')?.innerText.trim();
    said ? done(Date.now()) : requestAnimationFrame(look);
  };
  look();
})"""


@pytest.mark.goal(1)
@pytest.mark.alone
async def test_three_cells_lead_to_the_first_token(desk: Desk, measured: Measure) -> None:
    code = [
        cell["source"] for cell in read_cells(NOTEBOOKS / NOTEBOOK) if cell["cell_type"] == "code"
    ]
    (number,) = [n for n, source in enumerate(code, 1) if ASKS in source]
    assert number <= 3
    measured(1, "cells up to the first token", number, "", 3)

    await desk.page.set_viewport_size(TALL)
    opened = time.time()
    await desk.visit(NOTEBOOK, name="first", keep=False)
    seen = await desk.page.evaluate(FIRST_TEXT, ASKS) / 1e3
    measured(1, "notebook opened in JupyterLab to the first token seen", seen - opened, "s", 60)
    await desk.page.get_by_text("tokens, the first after").wait_for()
    await desk.page.get_by_text("nothing is open").wait_for()
