"""The controls of a chat: model, system prompt and sampling."""

import html
from collections.abc import Callable, Iterable
from typing import Any

import ipywidgets as widgets

from toolkit.errors import UsageError
from toolkit.safetext import well_formed
from toolkit.widgets.chat.figures import FORMULA, usd_text
from toolkit.widgets.controls import show
from toolkit.widgets.task import HomeLoop

LABEL = "112px"


class ChatSettings:
    """Hidden until `toggle`d. What is left empty is left to the endpoint.

    `chosen` is called when a person chooses another model.
    """

    def __init__(
        self,
        home: HomeLoop,
        model: str,
        system: str,
        temperature: float,
        chosen: Callable[[], None],
    ) -> None:
        self._model = widgets.Dropdown(description="Model", options=[model], value=model)
        self._system = widgets.Textarea(
            description="System prompt",
            value=well_formed(system),
            placeholder="The model's own",
            continuous_update=False,
            rows=2,
        )
        self._temperature = widgets.BoundedFloatText(
            description="Temperature", value=temperature, min=0.0, max=2.0, step=0.1
        )
        self._max_tokens = widgets.BoundedIntText(
            description="Max tokens", value=512, min=1, max=1_000_000
        )
        self._seed = widgets.Text(description="Seed", placeholder="random", continuous_update=False)
        narrow = (self._temperature, self._max_tokens, self._seed)
        for control in (self._model, self._system, *narrow):
            control.style.description_width = LABEL
            control.layout.width = "auto"
        for control in narrow:
            control.layout.flex = "1 1 180px"
        row = widgets.HBox(list(narrow), layout=widgets.Layout(flex_flow="row wrap"))
        self._model.observe(lambda _: home.do(chosen), "value")
        self._price = widgets.HTML()
        self._place = widgets.HTML()
        self.view = widgets.VBox([self._model, self._system, row, self._price, self._place])
        self.toggle(False)

    @property
    def model(self) -> str:
        """The chosen model."""
        return str(self._model.value)

    @property
    def system(self) -> str:
        """The system prompt; empty for the model's own."""
        return well_formed(str(self._system.value)).strip()

    @system.setter
    def system(self, text: str) -> None:
        self._system.value = well_formed(text)

    def options(self) -> dict[str, Any]:
        """The `options` of a request. `UsageError` for a seed that is none."""
        options: dict[str, Any] = {
            "temperature": self._temperature.value,
            "num_predict": self._max_tokens.value,
        }
        seed = str(self._seed.value).strip()
        if seed and not seed.removeprefix("-").isdecimal():
            raise UsageError(
                f"The seed {seed!r} is no whole number.", hint="Leave it empty for chance."
            )
        if seed:
            options["seed"] = int(seed)
        return options

    def tell_price(self, usd_per_hour: float | None) -> None:
        """Say what an hour costs and how the price of a reply comes from it; nothing for None."""
        known = usd_per_hour is not None
        hour = f"{usd_text(usd_per_hour)} an hour. {FORMULA}" if usd_per_hour is not None else ""
        self._price.value = _hint(hour)
        show(self._price, known)

    def tell_place(self, text: str) -> None:
        """Say where the conversation is kept."""
        self._place.value = _hint(text)

    def offer(self, names: Iterable[str]) -> None:
        """Offer these models; the chosen one stays."""
        chosen = self._model.value
        self._model.options = list(dict.fromkeys([chosen, *names]))
        self._model.value = chosen

    def toggle(self, is_shown: bool) -> None:
        """Show or hide the controls."""
        show(self.view, is_shown)


def _hint(text: str) -> str:
    return f'<div class="akl-hint">{html.escape(text)}</div>'
