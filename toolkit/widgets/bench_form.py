"""The form of a benchmark: how the endpoint is loaded, with what, and what is good enough."""

from collections.abc import Callable
from typing import Any, TypeVar

import ipywidgets as widgets

from toolkit.bench import slo
from toolkit.bench.config import BenchConfig, Sweep
from toolkit.bench.workload import Workload
from toolkit.errors import UsageError
from toolkit.widgets.controls import choice, grid, labelled, line

CLOSED, OVER_OPEN, OVER_RATE = "closed", "sweep concurrency", "sweep rate"
LOADS = (
    ("so many at once", CLOSED),
    ("so many a second, at random", "poisson"),
    ("so many a second, evenly", "constant"),
    ("so many a second, in bursts", "gamma"),
    ("find the limit: at once", OVER_OPEN),
    ("find the limit: a second", OVER_RATE),
)
# What the loads are called by each of them, and what to begin with.
_SAID = {
    CLOSED: ("Open requests", "1, 2, 4"),
    OVER_OPEN: ("At most at once", "64"),
    OVER_RATE: ("At most a second", "64"),
}
_RATES = ("Requests a second", "0.5, 1, 2")
# More bursts than Poisson's; 1 would be Poisson.
_BURSTS = 0.25
# A sweep sends for so long at each load, if nothing else is said.
_SWEEP_S = 10.0

T = TypeVar("T")


class BenchForm:
    """Its fields, as `view`; `config` is what they say."""

    def __init__(self, config: BenchConfig) -> None:
        self._base = config
        self.load = choice("Load", LOADS, _load_of(config))
        self.loads = line(_said(self.load.value)[0], _loads_of(config))
        self.requests = _number("Requests each", config.requests or 0, 100_000, least=0)
        self.seconds = line("Seconds each", f"{config.duration_s:g}" if config.duration_s else "")
        self.seconds.placeholder = "until all are sent"
        self.prompt_words = _number("Prompt words", config.workload.prompt_words, 100_000)
        self.output_tokens = _number("Output tokens", config.workload.output_tokens, 100_000)
        self.slos = line("Objectives", ", ".join(map(str, config.slos)))
        self.slos.placeholder = "such as ttft_ms:p99<=500"
        self.price = line("$ per hour", "" if config.usd_per_hour is None else _price_of(config))
        self.price.placeholder = "the lease's, if it has one"
        self.load.observe(lambda _: self._renamed(), "value")
        self.view = grid(
            [
                *(self.load, self.loads, self.requests, self.seconds),
                *(self.prompt_words, self.output_tokens, self.slos, self.price),
            ]
        )

    def config(self) -> BenchConfig:
        """What the fields say. Raises `UsageError` for what cannot be meant."""
        kind, loads = str(self.load.value), str(self.loads.value)
        seconds = _one("Seconds each", str(self.seconds.value))
        known: dict[str, Any] = {
            "requests": int(self.requests.value) or None,
            "duration_s": seconds,
            "workload": self._workload(),
            "slos": tuple(map(slo.parse, _parts(str(self.slos.value)))),
            "usd_per_hour": _one("$ per hour", str(self.price.value).lstrip("$ ")),
        }
        if kind == CLOSED:
            known["concurrency"] = _listed(loads, _count, "Give how many at once, such as 1, 2, 4.")
        elif kind in (OVER_OPEN, OVER_RATE):
            known["sweep"] = Sweep(
                over="rate" if kind == OVER_RATE else "concurrency",
                most=_one(self.loads.description, loads) or 1.0,
            )
            known["duration_s"] = seconds or _SWEEP_S
            known["requests"] = None
        else:
            known["rates"] = _listed(loads, float, "Give requests a second, such as 0.5, 1, 2.")
            known["arrival"] = kind
            known["burstiness"] = _BURSTS if kind == "gamma" else 1.0
        kept = {
            name: getattr(self._base, name)
            for name in ("warmup", "warmup_s", "cooldown_s", "grace_s", "max_errors", "api")
        }
        return BenchConfig(**{**kept, **known}).checked()

    def enable(self, *, is_busy: bool) -> None:
        """Nothing of a run can be changed while it goes on."""
        for field in self.view.children:
            field.disabled = is_busy

    def _workload(self) -> Workload:
        """The one that was given, with what the fields say of it."""
        base = self._base.workload
        said = {
            "prompt_words": int(self.prompt_words.value),
            "output_tokens": int(self.output_tokens.value),
        }
        known = {name: getattr(base, name) for name in base.__struct_fields__}
        return Workload(**{**known, **said})

    def _renamed(self) -> None:
        """Other loads are counted in something else."""
        name, usual = _said(str(self.load.value))
        if self.loads.description != name:
            self.loads.description, self.loads.value = name, usual


def _said(kind: str) -> tuple[str, str]:
    return _SAID.get(kind, _RATES)


def _load_of(config: BenchConfig) -> str:
    if config.sweep is not None:
        return OVER_RATE if config.sweep.over == "rate" else OVER_OPEN
    return config.arrival if config.rates else CLOSED


def _loads_of(config: BenchConfig) -> str:
    if config.sweep is not None:
        return f"{config.sweep.most:g}"
    return ", ".join(f"{each:g}" for each in config.rates or config.concurrency)


def _price_of(config: BenchConfig) -> str:
    return f"{config.usd_per_hour:g}"


def _number(label: str, value: int, top: int, *, least: int = 1) -> widgets.BoundedIntText:
    return labelled(widgets.BoundedIntText(value=value, min=least, max=top), label)


def _parts(text: str) -> list[str]:
    return text.replace(",", " ").split()


def _listed(text: str, read: Callable[[str], T], hint: str) -> tuple[T, ...]:
    """Values between commas or spaces."""
    try:
        found = tuple(read(part) for part in _parts(text))
    except ValueError:
        found = ()
    if not found:
        raise UsageError(f"{text!r} is not a list of loads.", hint=hint)
    return found


def _count(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(text)
    return int(text)


def _one(name: str, text: str) -> float | None:
    """A number, or nothing."""
    try:
        return float(text) if text.strip() else None
    except ValueError:
        raise UsageError(f"{name}: {text!r} is no number.", hint="Give such as 0.5.") from None
