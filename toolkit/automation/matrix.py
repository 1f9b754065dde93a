"""A matrix of runs: every combination of some parameters, measured for one shared budget.

The file says which notebooks are run in turn for each combination, and with what:

    notebooks: [04_deploy, 06_benchmark]   # these, if it does not say
    matrix:
      model: [smollm2:135m, llama3.2:1b]
      parallel: [2, 4]
    exclude:
      - {model: llama3.2:1b, parallel: 4}
    parameters: {target: console, max_usd_per_hour: 0.40, runtime_hours: 1}
    budget_usd: 2

Each notebook gets those parameters that it declares. All of them are checked before the first
one runs.
"""

import ast
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import msgspec
import yaml

from toolkit.automation.params import check_parameters, find_notebook, read_parameters, suggestion
from toolkit.deploy.akash.pricing import worst_case_usd
from toolkit.deploy.base import Intent, check_name
from toolkit.errors import UsageError

MOST_POINTS = 500
# What costs nobody anything.
_FREE = ("local", "compose")
_NAME, _KEEP, _TARGET = "name", "keep", "target"
_OURS = (_NAME, _KEEP, "replace")

Choices = dict[str, Any]


class Spec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file. `budget_usd` is for all of its runs together."""

    notebooks: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] = (
        "04_deploy",
        "06_benchmark",
    )
    matrix: Annotated[
        dict[str, Annotated[list[Any], msgspec.Meta(min_length=1)]], msgspec.Meta(min_length=1)
    ]
    exclude: list[Choices] = []
    parameters: Choices = {}
    budget_usd: Decimal | None = None


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One combination: what was chosen, what the name of its endpoint begins with, and what each
    notebook gets. `worst_usd` is what it may cost with nobody watching, nothing where it is free.
    """

    number: int
    name: str
    choices: Choices
    parameters: tuple[tuple[str, dict[str, Any]], ...]
    target: str
    worst_usd: Decimal | None


class Matrix(msgspec.Struct, frozen=True, kw_only=True):
    """A file whose parameters have been checked, and its points in their order."""

    spec: Spec
    points: tuple[Point, ...]


def read_matrix(path: Path) -> Matrix:
    """Read and check a file. Raises `UsageError`, which names what is wrong."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        spec = msgspec.convert(document, Spec, strict=False)
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise UsageError(f"{path} cannot be read: {_line(error)}") from None
    except msgspec.ValidationError as error:
        raise UsageError(f"{path}: {error}", hint="`notebook matrix --help` shows one.") from None
    notebooks = [find_notebook(name) for name in spec.notebooks]
    declared = [{one.name for one in read_parameters(notebook)} for notebook in notebooks]
    _check_names(spec, set().union(*declared))
    chosen = [
        choices for choices in _combinations(spec.matrix) if not _is_in(choices, spec.exclude)
    ]
    if not 0 < len(chosen) <= MOST_POINTS:
        raise UsageError(
            f"{path} has {len(chosen)} combinations", hint=f"1 to {MOST_POINTS} will do."
        )
    stem = _stem(path)
    points = [
        _point(
            spec, number, f"{stem}-{number}", choices, list(zip(notebooks, declared, strict=True))
        )
        for number, choices in enumerate(chosen, 1)
    ]
    _check_budget(spec, points)
    return Matrix(spec=spec, points=tuple(points))


def _check_names(spec: Spec, declared: set[str]) -> None:
    listed = [*spec.matrix, *spec.parameters, *itertools.chain(*spec.exclude)]
    for name in listed:
        if name in _OURS:
            raise UsageError(
                f"{name!r} is not for the file to say",
                hint="Each combination gets an endpoint of its own, which is ended behind it.",
            )
        if name not in declared:
            raise UsageError(
                f"none of {', '.join(spec.notebooks)} has a parameter {name!r}",
                hint=suggestion(name, sorted(declared)),
            )
    if twice := spec.matrix.keys() & spec.parameters.keys():
        raise UsageError(f"{', '.join(sorted(twice))} is in the matrix and in the parameters")
    if unknown := set(itertools.chain(*spec.exclude)) - spec.matrix.keys():
        raise UsageError(f"exclude names {', '.join(sorted(unknown))}, which the matrix does not")


def _combinations(matrix: Mapping[str, Sequence[Any]]) -> Iterator[Choices]:
    for values in itertools.product(*matrix.values()):
        yield dict(zip(matrix, values, strict=True))


def _is_in(choices: Choices, excluded: Sequence[Choices]) -> bool:
    return any(each and each.items() <= choices.items() for each in excluded)


def _point(
    spec: Spec,
    number: int,
    name: str,
    choices: Choices,
    notebooks: Sequence[tuple[Path, set[str]]],
) -> Point:
    values = {**spec.parameters, **choices, _NAME: name, _KEEP: True}
    effective: Choices = {}
    for notebook, _ in notebooks:
        effective = _defaults(notebook) | effective
    effective |= values
    given = []
    for notebook, declared in notebooks:
        own = {key: value for key, value in values.items() if key in declared}
        given.append((str(notebook), check_parameters(notebook, {}, own)))
    target = str(effective.get(_TARGET, "local"))
    return Point(
        number=number,
        name=check_name(name),
        choices=choices,
        parameters=tuple(given),
        target=target,
        worst_usd=_worst_usd(effective) if target not in _FREE else Decimal(0),
    )


def _defaults(notebook: Path) -> Choices:
    """What a notebook takes where nothing is said, as far as it is written down plainly."""
    found = {}
    for one in read_parameters(notebook):
        with suppress(ValueError, SyntaxError):
            found[one.name] = ast.literal_eval(one.default)
    return found


def _worst_usd(values: Choices) -> Decimal | None:
    """The most that an endpoint may cost with nobody watching it; None: nothing limits it."""
    limits = {key: values.get(key) for key in ("max_usd_per_hour", "runtime_hours")}
    for key, value in limits.items():
        if value is not None and not (math.isfinite(float(value)) and float(value) > 0):
            raise UsageError(f"{key} must be more than nothing, and have an end")
    wanted = {"name": values[_NAME], "target": values[_TARGET], **limits}
    # An older Console ends it later: the larger bound of both counts.
    return worst_case_usd(msgspec.convert(wanted, Intent, strict=False), is_newer=False)


def _check_budget(spec: Spec, points: Sequence[Point]) -> None:
    """Nothing is rented without a budget, nor without limits that hold by themselves."""
    if spec.budget_usd is not None and not (spec.budget_usd.is_finite() and spec.budget_usd > 0):
        raise UsageError("budget_usd must be more than nothing, and have an end")
    rented = [point for point in points if point.target not in _FREE]
    if rented and spec.budget_usd is None:
        raise UsageError("what is rented needs a budget", hint="For example: budget_usd: 2")
    if any(point.worst_usd is None for point in rented):
        raise UsageError(
            "what is rented needs limits that hold by themselves",
            hint="Give max_usd_per_hour and runtime_hours among the parameters.",
        )
    least = min((point.worst_usd or Decimal(0) for point in rented), default=Decimal(0))
    if spec.budget_usd is not None and least > spec.budget_usd:
        raise UsageError(
            f"the budget of ${spec.budget_usd} pays for none of these: each may cost ${least}",
            hint="Give a larger budget_usd, or smaller limits.",
        )


def _stem(path: Path) -> str:
    """What the names of endpoints begin with."""
    kept = "".join(c if c.isalnum() and c.isascii() else "-" for c in path.stem.lower())
    return kept.strip("-")[:24] or "matrix"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
