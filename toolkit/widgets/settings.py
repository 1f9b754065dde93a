"""The controls of a chat: model, system prompt and sampling."""

from collections.abc import Iterable
from typing import Any

import ipywidgets as widgets

LABEL = "112px"


class ChatSettings:
    """Hidden until `toggle`d. What is left empty is left to the endpoint."""

    def __init__(self, model: str, system: str = "", temperature: float = 0.8) -> None:
        self._model = widgets.Dropdown(description="Model", options=[model], value=model)
        self._system = widgets.Textarea(
            description="System prompt",
            value=system,
            placeholder="The model's own",
            rows=2,
        )
        self._temperature = widgets.BoundedFloatText(
            description="Temperature", value=temperature, min=0.0, max=2.0, step=0.1
        )
        self._max_tokens = widgets.BoundedIntText(
            description="Max tokens", value=512, min=1, max=1_000_000
        )
        self._seed = widgets.Text(description="Seed", placeholder="random")
        narrow = (self._temperature, self._max_tokens, self._seed)
        for control in (self._model, self._system, *narrow):
            control.style.description_width = LABEL
            control.layout.width = "auto"
        for control in narrow:
            control.layout.flex = "1 1 180px"
        row = widgets.HBox(list(narrow), layout=widgets.Layout(flex_flow="row wrap"))
        self.view = widgets.VBox([self._model, self._system, row])
        self.toggle(False)

    @property
    def model(self) -> str:
        """The chosen model."""
        return str(self._model.value)

    @property
    def system(self) -> str | None:
        """The system prompt, None for the model's own."""
        return str(self._system.value).strip() or None

    def options(self) -> dict[str, Any]:
        """The `options` of a request."""
        options: dict[str, Any] = {
            "temperature": self._temperature.value,
            "num_predict": self._max_tokens.value,
        }
        seed = str(self._seed.value).strip()
        if seed.removeprefix("-").isdecimal():
            options["seed"] = int(seed)
        return options

    def offer(self, names: Iterable[str]) -> None:
        """Offer these models; the chosen one stays."""
        chosen = self._model.value
        self._model.options = list(dict.fromkeys([chosen, *names]))
        self._model.value = chosen

    def toggle(self, is_shown: bool) -> None:
        """Show or hide the controls."""
        self.view.layout.display = None if is_shown else "none"
