"""Which models a key may use: names, and beginnings of names with a `*` behind.

`smollm2` is `smollm2:latest`, as everywhere; case does not count. A beginning without a
slash stands for models of the default library only, so that `smollm2*` never means
something on another host.
"""

from collections.abc import Iterable

import msgspec

from server.errors import InvalidRequest
from server.models.name import ModelName

MAX_PATTERNS = 256
MAX_LENGTH = 600


class AllowList(msgspec.Struct, frozen=True):
    """The models that are allowed; `is_whole` allows every one there is or will be."""

    is_whole: bool = True
    names: frozenset[ModelName] = frozenset()
    beginnings: tuple[str, ...] = ()

    @classmethod
    def of(cls, patterns: Iterable[str] | None) -> "AllowList":
        """The list that was written down; None allows every model, an empty one none.

        Raises `ValueError` for what can match no name.
        """
        if patterns is None:
            return cls()
        given = list(patterns)
        if len(given) > MAX_PATTERNS:
            raise ValueError(f"more than {MAX_PATTERNS} models")
        names = frozenset(_name(each) for each in given if not each.endswith("*"))
        return cls(False, names, tuple(_beginning(each) for each in given if each.endswith("*")))

    def allows(self, name: ModelName) -> bool:
        """Whether the model of that name may be used."""
        if self.is_whole or name.folded() in self.names:
            return True
        forms = (name.display().lower(), name.full().lower())
        return any(_matches(beginning, form) for beginning in self.beginnings for form in forms)


def _matches(beginning: str, form: str) -> bool:
    return form.startswith(beginning) and ("/" in beginning or not beginning or "/" not in form)


def _name(text: str) -> ModelName:
    try:
        return ModelName.parse(text).folded()
    except InvalidRequest as error:
        raise ValueError(error.message) from None


def _beginning(text: str) -> str:
    beginning = text[:-1].strip().lower()
    if "*" in beginning or len(beginning) > MAX_LENGTH:
        raise ValueError(f"a model is a name with at most one * at its end, got {text[:100]!r}")
    return beginning
