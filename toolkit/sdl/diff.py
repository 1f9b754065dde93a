"""What changes from one SDL to the next, and whether the running lease can take it.

The groups of a deployment (resources, counts, prices, requirements, kinds of endpoints) are
fixed on chain when it is made; only the manifest can be replaced. So what leaves the group
specifications as they are is an update, and anything else needs a new deployment.
"""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec

from toolkit.safetext import cleaned
from toolkit.sdl.dump import Tree, tree
from toolkit.sdl.findings import at
from toolkit.sdl.groups import endpoint_numbers, endpoints, group_specs
from toolkit.sdl.manifest import manifest
from toolkit.sdl.model import SDL
from toolkit.tables import html_table

_ABSENT: Final = object()
# Values that may be secrets, below a service: that they change is said, not into what.
_SECRETS: Final = frozenset({"env", "args", "command", "credentials"})


class Effect(StrEnum):
    """What a change takes.

    NONE: nothing but the text. UPDATE: the manifest is sent again and the containers restart,
    on the same lease. NEW_LEASE: the deployment is closed and made again.
    """

    NONE = "none"
    UPDATE = "update"
    NEW_LEASE = "new-lease"


VERDICTS: Final = {
    Effect.NONE: "the same deployment, nothing to do",
    Effect.UPDATE: "can be updated in place; the containers restart",
    Effect.NEW_LEASE: "needs a new lease; what its volumes hold is lost with the old one",
}


class Change(msgspec.Struct, frozen=True):
    """One value that differs. `path` is a JSON pointer into the file, with the name of a
    variable in place of its index; `old` and `new` are JSON text, empty where there is none or
    where it may be a secret."""

    path: str
    effect: Effect
    old: str = ""
    new: str = ""


class Diff(msgspec.Struct, frozen=True):
    """All changes, and what they take together."""

    effect: Effect
    changes: tuple[Change, ...]

    @property
    def verdict(self) -> str:
        """What it takes, in words."""
        return VERDICTS[self.effect]

    def __str__(self) -> str:
        lines = (f"{c.effect:<9}  {c.path}  {c.old or '-'} -> {c.new or '-'}" for c in self.changes)
        return cleaned("\n".join((self.verdict, *lines)))

    def _repr_html_(self) -> str:
        rows = [(c.path, c.old or "–", c.new or "–", str(c.effect)) for c in self.changes]
        return html_table("Changes", ("path", "now", "then", "takes"), rows, below=self.verdict)


def diff(old: SDL, new: SDL) -> Diff:
    """From `old`, which runs, to `new`. Both are valid."""
    effects = _Effects(old, new)
    changes = [
        Change(at(*parts), effects.of(parts), *_shown(parts, before, after))
        for parts, before, after in _differences((), _tree(old), _tree(new))
    ]
    changes += [Change(path, Effect.UPDATE) for path in _reordered(old, new)]
    return Diff(effects.whole, tuple(changes))


class _Effects:
    """What a change at a path of the model takes."""

    def __init__(self, old: SDL, new: SDL) -> None:
        self._old, self._new = old, new
        self._is_same_group = group_specs(old) == group_specs(new)
        self._is_same_manifest = manifest(old) == manifest(new)
        self._are_same_profiles = self._profiles_are_alike()

    @property
    def whole(self) -> Effect:
        if not self._is_same_group or self._old.min_window != self._new.min_window:
            return Effect.NEW_LEASE
        return Effect.NONE if self._is_same_manifest else Effect.UPDATE

    def of(self, parts: Sequence[str]) -> Effect:
        match parts:
            case ("reclamation", *_):
                return Effect.NEW_LEASE
            case ("version", *_) | ("services", _, "dependencies", *_):
                return Effect.NONE
            case ("services", name, *rest):
                return self._of_service(name, rest)
            case ("profiles" | "deployment", *_) if self._are_same_profiles:
                return Effect.NONE if self._is_same_manifest else Effect.UPDATE
        return self._or_less(Effect.NEW_LEASE)

    def _of_service(self, name: str, rest: Sequence[str]) -> Effect:
        match rest:
            case () | ("params", "tee", *_):
                return self._or_less(Effect.NEW_LEASE)
            case ("expose", *_) if not self._reached_alike(name):
                return self._or_less(Effect.NEW_LEASE)
        return self._or_less(Effect.UPDATE)

    def _or_less(self, effect: Effect) -> Effect:
        """No change takes more than all of them do."""
        order = list(Effect)
        return min(effect, self.whole, key=order.index)

    def _reached_alike(self, name: str) -> bool:
        old, new = (
            endpoints(sdl.services[name], endpoint_numbers(sdl)) for sdl in (self._old, self._new)
        )
        return sorted(map(str, old)) == sorted(map(str, new))

    def _profiles_are_alike(self) -> bool:
        """Whether the old services get the same from the new profiles."""
        if self._old.services.keys() != self._new.services.keys():
            return self._is_same_group
        mixed = msgspec.structs.replace(
            self._old, profiles=self._new.profiles, deployment=self._new.deployment
        )
        return group_specs(mixed) == group_specs(self._old)


def _tree(sdl: SDL) -> Tree:
    """The file, with each variable of an environment at its name: its place means nothing."""
    made = tree(sdl)
    for name, service in sdl.services.items():
        made["services"][name]["env"] = _variables(service.env or ())
    return made


def _variables(env: Sequence[str]) -> dict[str, str]:
    made: dict[str, str] = {}
    for item in env:
        name = item.partition("=")[0]
        made[name] = f"{made[name]}\n{item}" if name in made else item
    return made


def _reordered(old: SDL, new: SDL) -> Iterator[str]:
    """The environments that differ in the order of their variables only."""
    for name in old.services.keys() & new.services.keys():
        before, after = old.services[name].env or (), new.services[name].env or ()
        if before != after and _variables(before) == _variables(after):
            yield at("services", name, "env")


def _differences(
    parts: tuple[str, ...], old: Any, new: Any
) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """The deepest places at which two trees differ."""
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys((*old, *new)):
            inner = old.get(key, _ABSENT), new.get(key, _ABSENT)
            yield from _differences((*parts, key), *inner)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, pair in enumerate(zip(old, new, strict=True)):
            yield from _differences((*parts, str(index)), *pair)
    else:
        yield parts, old, new


def _shown(parts: Sequence[str], old: Any, new: Any) -> tuple[str, str]:
    if len(parts) > 2 and parts[0] == "services" and parts[2] in _SECRETS:
        return "", ""
    return _json(old), _json(new)


def _json(value: Any) -> str:
    """Of what holds more than one value only that it is there: it may hold secrets."""
    if value is _ABSENT or value is None:
        return ""
    if isinstance(value, dict):
        return "{...}"
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return "[...]"
    return msgspec.json.encode(value).decode()
