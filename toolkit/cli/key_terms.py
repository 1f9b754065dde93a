"""What a key may do, as options of the command line: said at once for a new key, or changed
one by one for a key that there is."""

import functools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import click
from msgspec import UNSET

from server.grants import Limits, Terms
from server.keys import Scope
from server.keystore import Change
from toolkit.errors import UsageError

LIMITS = {
    "requests_per_minute": "Requests in any minute.",
    "tokens_per_minute": "Tokens in any minute, of prompts and answers together.",
    "parallel": "Requests at once.",
    "num_predict": "The longest answer in tokens.",
    "num_ctx": "The largest window in tokens.",
}
SCOPES = click.Choice([each.value for each in Scope])
DAYS = click.IntRange(1, 36500)
_LIFT = "none"
_NUMBER_OR_LIFT = f"[NUMBER|{_LIFT}]"
_MOST = 2**31 - 1


def terms_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that become the `terms` of a new key."""

    @click.option(
        "--model",
        "models",
        multiple=True,
        metavar="NAME",
        help="Only this model (repeatable; a * at the end stands for anything).",
    )
    @click.option("--days", type=DAYS, help="Valid for so long; else for ever.")
    @_limit_options(lambda number: number, metavar=None)
    @functools.wraps(command)
    def wrapped(
        models: tuple[str, ...], days: int | None, limits: dict[str, Any], **rest: Any
    ) -> Any:
        return command(terms=_terms(models, days, limits), **rest)

    return wrapped


def change_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that become a `change`; what is not said stays as it is."""

    @click.option("--scope", type=SCOPES, help="What it may do from now on.")
    @click.option(
        "--model",
        "models",
        multiple=True,
        metavar="NAME",
        help="Only this model from now on (repeatable), instead of those before.",
    )
    @click.option("--every-model", is_flag=True, help="Every model from now on.")
    @click.option(
        "--days",
        type=_or_lifted(DAYS),
        metavar=_NUMBER_OR_LIFT,
        help=f"Valid for so long from now; {_LIFT}: for ever.",
    )
    @_limit_options(_or_lifted, metavar=_NUMBER_OR_LIFT)
    @functools.wraps(command)
    def wrapped(
        scope: str | None,
        models: tuple[str, ...],
        every_model: bool,
        days: int | str | None,
        limits: dict[str, Any],
        **rest: Any,
    ) -> Any:
        if models and every_model:
            raise UsageError("Give either --model or --every-model.")
        change = Change(
            scope=UNSET if scope is None else Scope(scope),
            models=models or (None if every_model else UNSET),
            expires_at=UNSET if days is None else _expiry(days),
            limits={name: _unless_lifted(value) for name, value in limits.items()} or UNSET,
        )
        if change == Change():
            raise UsageError("Say what is to be changed.", hint="akash-llm keys change --help")
        return command(change=change, **rest)

    return wrapped


def _limit_options(
    kind_of: Callable[[click.IntRange], Any], *, metavar: str | None
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """One option for each limit; those that are given become `limits`."""

    def decorated(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def wrapped(**given: Any) -> Any:
            values = {name: given.pop(name) for name in LIMITS}
            limits = {name: value for name, value in values.items() if value is not None}
            return command(limits=limits, **given)

        for name, text in reversed(LIMITS.items()):
            kind = kind_of(click.IntRange(4 if name == "num_ctx" else 1, _MOST))
            flag = "--" + name.replace("_", "-")
            wrapped = click.option(flag, type=kind, metavar=metavar, help=text)(wrapped)
        return wrapped

    return decorated


def _or_lifted(number: click.IntRange) -> Callable[[str], int | str]:
    """The type of an option: a number, or the word that takes a limit away."""

    def read(text: str) -> int | str:
        return text if text == _LIFT else int(number(text))

    return read


def _terms(models: tuple[str, ...], days: int | None, limits: dict[str, int]) -> Terms:
    expires_at = _expiry(days) if days else None
    try:
        return Terms(models=models or None, limits=Limits(**limits), expires_at=expires_at)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _expiry(days: int | str) -> datetime | None:
    return None if isinstance(days, str) else datetime.now(UTC) + timedelta(days=days)


def _unless_lifted(value: int | str) -> int | None:
    return None if isinstance(value, str) else value
