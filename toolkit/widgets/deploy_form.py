"""The form that an intent is read from. What is rented has a budget and a place; what runs on
this machine has neither, and is not asked for them."""

import os
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation

import ipywidgets as widgets
import msgspec

from toolkit.deploy.base import DEFAULT_ENGINE, Intent, check_name
from toolkit.errors import UsageError
from toolkit.sizing.demand import ENGINES
from toolkit.widgets.controls import choice, grid, labelled, line, show
from toolkit.widgets.style import classed
from toolkit.widgets.task import HomeLoop
from toolkit.widgets.typed import on_enter

_PLACES = (
    ("This machine", "local"),
    ("Docker on this machine", "compose"),
    ("Rented on Akash", "console"),
)


class DeployForm:
    """Fields for an `Intent`; `view` is what is shown."""

    def __init__(self, intent: Intent) -> None:
        self._given = intent
        self.place = choice("Where", _PLACES, intent.target)
        self.model = labelled(
            widgets.Combobox(placeholder="by its name in the store", continuous_update=False),
            "Model",
        )
        self.name = line("Name", placeholder="empty: the place's")
        self.engine = choice("Engine", [(name, name) for name in ENGINES], DEFAULT_ENGINE)
        self.context = _count("Tokens a request", 1 << 27)
        self.parallel = _count("Requests at once", 1 << 12)
        self.per_hour = line("Most $ per hour", placeholder="no dearer bid is taken")
        self.hours = line("Hours", placeholder="ends by itself then")
        self.total = line("Most $ in all", placeholder="ended then, while watched")
        self.idle = line("Idle minutes", placeholder="ended then, while watched")
        self.image = line("Image", placeholder="our server's, with its tag")
        self.engine_image = line("Engine's image", placeholder="the usual one")
        self.gpus = line("GPUs", placeholder="rtx4090; empty: what fits")
        self.region = line("Region", placeholder="eu-west; empty: any")
        self.secrets = line("Sealed variables", placeholder="names, such as HF_TOKEN")
        self.registry = line("Registry", placeholder="user@host, if private")
        self._rented = grid([self.per_hour, self.hours, self.total, self.idle])
        self._hired = grid([self.gpus, self.region, self.secrets, self.registry])
        self._images = grid([self.image, self.engine_image])
        shape = [self.place, self.model, self.engine, self.name, self.context, self.parallel]
        self.view = widgets.VBox(
            [
                grid(shape),
                self._images,
                self._rented,
                self._hired,
            ]
        )
        classed(self.view, "akl-section")
        self.place.observe(lambda _: self._lay_out(), "value")
        self.fill(intent)

    def offer(self, models: Sequence[str]) -> None:
        """Offer these models; any other name may be typed."""
        self.model.options = tuple(models)

    def fill(self, intent: Intent, *, is_open: bool = False) -> None:
        """Show an intent. Of one that `is_open`, name and place are what it is known by."""
        self._given = intent
        self.place.value, self.engine.value = intent.target, intent.engine
        self.model.value, self.name.value = intent.model, intent.name
        self.context.value, self.parallel.value = intent.context, intent.parallel
        self.per_hour.value = _plain(intent.max_usd_per_hour)
        self.hours.value, self.total.value = (
            _plain(intent.runtime_hours),
            _plain(intent.max_usd_total),
        )
        self.idle.value = _plain(intent.idle_minutes)
        self.image.value, self.engine_image.value = intent.image, intent.engine_image
        self.gpus.value, self.region.value = ", ".join(intent.gpus), intent.region
        self.secrets.value, self.registry.value = ", ".join(intent.secrets), intent.registry
        self.place.disabled = self.name.disabled = is_open
        self._lay_out()

    def intent(self) -> Intent:
        """What the fields say. `UsageError`, naming the field, for what cannot be meant."""
        target = str(self.place.value)
        self._refuse_secrets()
        if not self.model.value.strip():
            raise UsageError("No model is named.", hint="Name one, such as smollm2:135m.")
        said = msgspec.structs.replace(
            self._given,
            name=check_name(self.name.value.strip() or target),
            model=self.model.value.strip(),
            target=target,
            engine=str(self.engine.value),
            context=self.context.value,
            parallel=self.parallel.value,
            image="" if target == "local" else self.image.value.strip(),
            engine_image="" if target == "local" else self.engine_image.value.strip(),
        )
        return self._priced(said) if target == "console" else said

    def _priced(self, said: Intent) -> Intent:
        hours, idle = _amount(self.hours), _amount(self.idle)
        return msgspec.structs.replace(
            said,
            gpus=_words(self.gpus.value),
            region=self.region.value.strip(),
            secrets=_words(self.secrets.value),
            registry=self.registry.value.strip(),
            max_usd_per_hour=_amount(self.per_hour),
            runtime_hours=None if hours is None else float(hours),
            max_usd_total=_amount(self.total),
            idle_minutes=None if idle is None else float(idle),
        )

    def _refuse_secrets(self) -> None:
        """What is no name of a variable that is set here may be a secret that was pasted, and what
        has a colon a password: it neither stays nor is repeated, whatever else is wrong."""
        if ":" in self.registry.value.partition("@")[0]:
            self.registry.value = ""
            raise UsageError(
                "Registry takes no password; what stood there is removed.",
                hint="Give user@host, and the password in AKASH_LLM_REGISTRY_PASSWORD.",
            )
        if any(name not in os.environ for name in _words(self.secrets.value)):
            self.secrets.value = ""
            raise UsageError(
                "Sealed variables takes names of variables that are set here; what stood there"
                " is removed.",
                hint="Set the variable in the environment that the notebook is started from.",
            )

    def _lay_out(self) -> None:
        target = str(self.place.value)
        show(self._images, target != "local")
        show(self._rented, target == "console")
        show(self._hired, target == "console")


def observed(home: HomeLoop, form: DeployForm, act: Callable[[], None]) -> None:
    """Call `act` when a person presses Enter in a line of the form."""
    for field in vars(form).values():
        if isinstance(field, widgets.Text) and not isinstance(field, widgets.Combobox):
            on_enter(home, field, act)


def _count(label: str, top: int) -> widgets.BoundedIntText:
    return labelled(widgets.BoundedIntText(value=1, min=1, max=top), label)


def _plain(value: Decimal | float | None) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _amount(field: widgets.Text) -> Decimal | None:
    """A number that is more than nothing; None where nothing stands."""
    text = field.value.strip().removeprefix("$")
    if not text:
        return None
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal(0)
    if not amount.is_finite() or amount <= 0:
        raise UsageError(f"{field.description}: {text!r} is no number above 0.", hint="Say 1.50.")
    return amount


def _words(text: str) -> tuple[str, ...]:
    """What stands between commas or spaces."""
    return tuple(text.replace(",", " ").split())
