"""The market panel: what GPUs cost on the Akash network, and where they are free.

The Console is asked once and again on Refresh; filters work on what it said. No key is needed
and none is sent.
"""

import html
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import ipywidgets as widgets

from toolkit.deploy.akash.gpu_market import Card
from toolkit.errors import EndpointError, ToolkitError
from toolkit.market import NOTE, Market, look, ram_gib
from toolkit.widgets import board
from toolkit.widgets import market_page as page
from toolkit.widgets.controls import button, choice, grid, labelled, put, row
from toolkit.widgets.notice import notice
from toolkit.widgets.style import classed, sheet
from toolkit.widgets.task import BackgroundTask, HomeLoop

ANY = "any"


class MarketPanel:
    """GPU prices and availability; show `view` (or the panel itself) in a cell.

    `cards` are those that are shown. `refresh` asks anew and waits.
    """

    def __init__(self, *, gpu: str = "", region: str = "", min_ram_gib: int = 0) -> None:
        self.market: Market | None = None
        self.cards: Sequence[Card] = ()
        self._wanted = (gpu, region, min_ram_gib)
        self._asked_at: datetime | None = None
        self._error: ToolkitError | None = None
        self._home = HomeLoop()
        self._task = BackgroundTask(self._failed)
        self._build()
        self._home.do(self._refresh)

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.view._repr_mimebundle_(**options)

    async def refresh(self) -> Sequence[Card]:
        """Ask the Console, and give what is shown. Raises what the panel shows."""
        if not self._task.is_running:
            self._refresh()
        await self._task.wait()
        if self._error is not None:
            raise self._error
        return self.cards

    def _build(self) -> None:
        gpu, region, ram = self._wanted
        self._head = widgets.HTML()
        self._gpu = labelled(widgets.Combobox(value=gpu, placeholder="any, or a100, …"), "GPU")
        self._ram = choice("Memory", _memories([ram]), ram)
        self._region = choice("Region", _regions([region] if region else []), region)
        for field in (self._gpu, self._ram, self._region):
            field.observe(lambda _: self._home.do(self._filter), "value")
        self._refresh_button = button(
            self._home, "Refresh", "Ask the Console again", self._refresh, style="primary"
        )
        self._summary = classed(widgets.HTML(), "akl-section")
        self._chart = classed(widgets.HTML(), "akl-plot", "akl-pad")
        self._table = classed(widgets.HTML(), "akl-section")
        self._status = classed(widgets.HTML(), "akl-status")
        form = classed(grid([self._gpu, self._ram, self._region]), "akl-section")
        parts = [
            *(sheet(), board.board_sheet(), self._head, form),
            classed(row(self._refresh_button), "akl-actions"),
            *(self._status, self._summary, self._chart, self._table),
        ]
        self.view = classed(widgets.VBox(parts), "akl", "akl-market")
        self._show_state("asking…")

    def _refresh(self) -> None:
        self._error = None
        self._task.start(self._ask)

    async def _ask(self) -> None:
        self._refresh_button.disabled = True
        self._show_state("asking…")
        try:
            self.market = await look()
            self._asked_at = datetime.now(UTC)
            self._offer(self.market)
            self._filter()
        except EndpointError as error:
            raise EndpointError(
                f"The market cannot be seen now: {error.message}",
                hint="It needs the network, and no key; Refresh asks again.",
            ) from error
        finally:
            self._refresh_button.disabled = False
            self._show_state(self._when())

    def _offer(self, market: Market) -> None:
        """What one can filter by is what there is."""
        found = market.cards()
        self._gpu.options = tuple(dict.fromkeys(card.model for card in found))
        chosen = self._ram.value
        self._ram.options = _memories(sorted({0, chosen, *map(ram_gib, found)}))
        self._ram.value = chosen
        region = self._region.value
        self._region.options = _regions(sorted({*market.regions, region} - {""}))
        self._region.value = region

    def _filter(self) -> None:
        if self.market is None:
            return
        wanted = [self._gpu.value.strip()] if self._gpu.value.strip() else []
        try:
            self.cards = self.market.cards(
                wanted, region=self._region.value, min_ram_gib=self._ram.value
            )
            put(self._status, html.escape(NOTE))
        except ToolkitError as error:
            self.cards = ()
            put(self._status, notice(error.message, error.hint))
        put(self._summary, f"<p>{board.text(page.summary(self.cards))}</p>")
        put(self._chart, page.chart(self.cards))
        put(self._table, page.table(self.cards))

    def _when(self) -> str:
        return f"as of {self._asked_at:%H:%M} UTC" if self._asked_at else "not seen"

    def _show_state(self, state: str) -> None:
        put(self._head, board.head("GPU market", "Akash network", state))

    def _failed(self, error: ToolkitError) -> None:
        self._error = error
        put(self._status, notice(error.message, error.hint))


def _memories(sizes: Sequence[int]) -> list[tuple[str, int]]:
    return [(f"{size} GiB or more" if size else ANY, size) for size in dict.fromkeys((0, *sizes))]


def _regions(names: Sequence[str]) -> list[tuple[str, str]]:
    return [(ANY, ""), *((name, name) for name in names)]
