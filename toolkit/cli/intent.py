"""The options that say what is wanted: the same for `up`, `plan`, `deploy` and `update`."""

import functools
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple, TypeVar, cast

import click

from toolkit.deploy import lifecycle
from toolkit.deploy.base import (
    DEFAULT_CONTEXT,
    DEFAULT_DEADLINE_S,
    DEFAULT_ENGINE,
    DEFAULT_MODEL,
    DEFAULT_PARALLEL,
    ENGINE_DEADLINE_S,
    Plan,
)
from toolkit.deploy.keeper import TARGETS
from toolkit.errors import UsageError
from toolkit.sizing.demand import ENGINES

F = TypeVar("F", bound=Callable[..., Any])


class Dollars(click.ParamType[Decimal]):
    """US dollars, more than none."""

    name = "USD"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Decimal:
        try:
            amount = Decimal(str(value).removeprefix("$"))
        except InvalidOperation:
            self.fail(f"{value!r} is not an amount of dollars", param, ctx)
        if not amount.is_finite() or amount <= 0:
            self.fail(f"{value!r} is not more than nothing", param, ctx)
        return amount


class Wish(NamedTuple):
    """What the person said: the fields of an intent that were given, and no others."""

    name: str | None
    given: Mapping[str, Any]

    async def planned(self, target: str = "local") -> Plan:
        """The plan for it, with defaults for all that was not said."""
        fields = {"model": DEFAULT_MODEL, **self.given}
        return await lifecycle.plan(name=self.name, target=target, **fields)


json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
replace_option = click.option(
    "--replace", is_flag=True, help="Change or end an endpoint of that name, if need be."
)
deadline_option = click.option(
    "--deadline",
    "deadline_s",
    type=click.FloatRange(min=1),
    metavar="SECONDS",
    help="Give up, and close, after this long."
    f"  [default: {DEFAULT_DEADLINE_S:.0f}; rented, vllm, ollama: {ENGINE_DEADLINE_S:.0f}]",
)
target_option = click.option(
    "--target",
    type=click.Choice(list(TARGETS)),
    default="local",
    show_default=True,
    help="Where it runs.",
)

_MODEL = (click.option("--model", metavar="MODEL", help="The same as MODEL."),)
_SHAPE = (
    click.option(
        "--engine",
        type=click.Choice(ENGINES),
        help=f"What runs the model.  [default: {DEFAULT_ENGINE}]",
    ),
    click.option("--context", type=int, help=f"Tokens per request.  [default: {DEFAULT_CONTEXT}]"),
    click.option(
        "--parallel",
        type=int,
        help=f"Requests answered at once.  [default: {DEFAULT_PARALLEL}]",
    ),
)
_RENTED = (
    click.option("--image", metavar="IMAGE", help="Our server's image, where it is pulled."),
    click.option("--engine-image", metavar="IMAGE", help="Of an engine behind our gateway."),
    click.option(
        "--gpu",
        "gpus",
        multiple=True,
        metavar="GPU",
        help="One that will do (rtx4090, a100/80Gi); repeat. Without: what fits.",
    ),
    click.option("--region", metavar="REGION", help="Where it may run, such as eu-west."),
    click.option(
        "--secret",
        "secrets",
        multiple=True,
        metavar="VARIABLE",
        help="A variable here, such as HF_TOKEN, whose value is sealed for it; repeat.",
    ),
    click.option(
        "--registry",
        metavar="USER@HOST",
        help="A private registry; its password is in AKASH_LLM_REGISTRY_PASSWORD.",
    ),
    click.option("--max-usd-per-hour", type=Dollars(), help="No bid above it is taken."),
    click.option("--max-usd-total", type=Dollars(), help="It is ended then, while watched."),
    click.option(
        "--runtime-hours",
        type=click.FloatRange(min=0, min_open=True),
        metavar="HOURS",
        help="It ends by itself after this.",
    ),
    click.option(
        "--idle-minutes",
        type=click.FloatRange(min=0, min_open=True),
        metavar="MINUTES",
        help="It is ended when nobody asks for so long, while watched.",
    ),
)


def wish_options(*, named: bool = False, rented: bool = True) -> Callable[[F], F]:
    """Argument and options of an intent; the command gets them as `wish`.

    `named`: of an endpoint that is there, whose NAME is the argument; else MODEL is. `rented`:
    with what only a rented place needs to know.
    """
    name = (click.argument("name", required=False),)
    model = (
        click.argument("positional", required=False, metavar="[MODEL]"),
        *_MODEL,
        click.option("--name", help="Its name; asked for twice, it is opened once."),
    )
    options = (*(name + _MODEL if named else model), *_SHAPE, *(_RENTED if rented else ()))

    def decorate(command: F) -> F:
        @functools.wraps(command)
        def wrapped(**values: Any) -> Any:
            taken = {key: values.pop(key) for key in _FIELDS if key in values}
            positional = values.pop("positional", None)
            taken["model"] = _one_model(positional, taken.get("model"))
            given = {key: value for key, value in taken.items() if value not in (None, ())}
            return command(wish=Wish(values.pop("name", None), given), **values)

        for option in reversed(options):
            wrapped = option(wrapped)
        return cast(F, wrapped)

    return decorate


_FIELDS = (
    "model",
    "engine",
    "context",
    "parallel",
    "image",
    "engine_image",
    "gpus",
    "region",
    "secrets",
    "registry",
    "max_usd_per_hour",
    "max_usd_total",
    "runtime_hours",
    "idle_minutes",
)


def _one_model(model: str | None, named: str | None) -> str | None:
    if model and named and model != named:
        raise UsageError(f"two models are named: {model} and {named}", hint="Name one.")
    return model or named
