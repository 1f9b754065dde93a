"""The options that benchmarks share, and what they say together."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from toolkit.bench.config import BenchConfig, Sweep
from toolkit.bench.slo import SLO, parse
from toolkit.bench.wire import APIS
from toolkit.bench.workload import Workload
from toolkit.errors import UsageError

Option = Callable[[Callable[..., Any]], Callable[..., Any]]


class Numbers(click.ParamType[tuple[float, ...]]):
    """Numbers between commas: 0.5,1,2."""

    name = "numbers"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """The numbers; anything else is a usage error."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of numbers such as 0.5,1,2", param, ctx)


class Counts(click.ParamType[tuple[int, ...]]):
    """Counts between commas: 1,2,4."""

    name = "counts"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """The counts as numbers; anything else is a usage error."""
        if isinstance(value, tuple):
            return value
        parts = str(value).split(",")
        if not all(part.strip().isdecimal() for part in parts):
            self.fail(f"{value!r} is not a list of counts such as 1,2,4", param, ctx)
        return tuple(int(part) for part in parts)


class Span(click.ParamType[tuple[int, int | None]]):
    """A count, or two with a dash: 64-256."""

    name = "count[-count]"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int | None]:
        """Its ends, the second None where there is one count."""
        if isinstance(value, tuple):
            return value
        first, dash, last = str(value).partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            self.fail(f"{value!r} is neither a count nor a range such as 64-256", param, ctx)
        return int(first), int(last) if dash else None


class Objective(click.ParamType[SLO]):
    """An objective such as ttft_ms:p99<=500."""

    name = "objective"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> SLO:
        """The objective; anything else is a usage error."""
        if isinstance(value, SLO):
            return value
        try:
            return parse(str(value))
        except UsageError as error:
            self.fail(str(error), param, ctx)


_WORKLOAD: tuple[Option, ...] = (
    click.option("--prompt-words", type=Span(), default="128", show_default=True,
                 help="Of each prompt; 64-256 for any number between."),
    click.option("--output-tokens", type=Span(), default="64", show_default=True,
                 help="Of each answer; 64-256 for any number between."),
    click.option("--prefix-words", type=int, default=0, help="Shared words before each prompt."),
    click.option("--prefixes", type=int, default=1, help="How many shared beginnings there are."),
    click.option("--turns", type=int, default=1, help="Requests of each conversation."),
    click.option("--file", type=click.Path(dir_okay=False, path_type=Path),
                 help='Prompts of a JSONL file: {"prompt": …} or {"messages": […]} a line.'),
    click.option("--natural-end", is_flag=True,
                 help="Let answers end where the model ends them; default: at full length."),
    click.option("--seed", type=int, default=1, show_default=True, help="Makes the prompts."),
)  # fmt: skip
_TERMS: tuple[Option, ...] = (
    click.option("--slo", "slos", type=Objective(), multiple=True, metavar="SLO",
                 help="An objective, such as ttft_ms:p99<=500 or error_rate<=1%; may be repeated."
                      " A run that misses one ends with 8."),
    click.option("--usd-per-hour", type=float,
                 help="What it costs; default: the price of its lease."),
    click.option("--api", type=click.Choice(["auto", *APIS]), default="auto", show_default=True,
                 help="Which of its APIs is measured."),
    click.option("--warmup", type=int, default=1, show_default=True,
                 help="Requests before all, in no figure."),
    click.option("--warmup-s", type=float, default=0.0,
                 help="First seconds of each level, in no figure."),
    click.option("--cooldown-s", type=float, default=0.0,
                 help="Last seconds of each level's duration, in no figure."),
    click.option("--max-errors", type=int, help="End the run after more errors than this."),
    click.option("--keep-text", is_flag=True,
                 help="Keep prompts and replies in the result; they are private."),
)  # fmt: skip


def bench_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every benchmark; the command gets them as `shared`, for `config_of`."""
    names = [
        "prompt_words", "output_tokens", "prefix_words", "prefixes", "turns", "file",
        "natural_end", "seed", "slos", "usd_per_hour", "api", "warmup", "warmup_s", "cooldown_s",
        "max_errors", "keep_text",
    ]  # fmt: skip

    @functools.wraps(command)
    def taken(**given: Any) -> Any:
        shared = {name: given.pop(name) for name in names}
        return command(shared=shared, **given)

    wrapped: Callable[..., Any] = taken
    for option in reversed((*_WORKLOAD, *_TERMS)):
        wrapped = option(wrapped)
    return wrapped


def config_of(shared: dict[str, Any], *, sweep: Sweep | None = None, **loads: Any) -> BenchConfig:
    """The configuration that options say. Raises `UsageError` for what cannot be meant."""
    rest = {
        name: shared[name]
        for name in ("slos", "usd_per_hour", "api", "warmup", "warmup_s", "cooldown_s",
                     "max_errors", "keep_text")
    }  # fmt: skip
    return BenchConfig(workload=_workload(shared), sweep=sweep, **rest, **loads).checked()


def _workload(shared: dict[str, Any]) -> Workload:
    words, tokens = shared["prompt_words"], shared["output_tokens"]
    given: dict[str, Any] = {
        "prompt_words": words[0],
        "prompt_words_to": words[1],
        "output_tokens": tokens[0],
        "output_tokens_to": tokens[1],
        "ignore_eos": not shared["natural_end"],
    }
    given |= {name: shared[name] for name in ("prefix_words", "prefixes", "turns", "seed")}
    if shared["file"] is not None:
        return Workload.from_jsonl(shared["file"], **given)
    return Workload(**given)
