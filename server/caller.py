"""Whose request it is, and what the core asks about that: may it, how much, how long.

A dialect gets a `Caller` from `server.auth.caller_of` and hands it to the core with every
request. The core asks it for models and windows, and an `Admission` for its turn.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Protocol

import msgspec

from server.allowlist import AllowList
from server.grants import Grant, Limits
from server.keys import Scope
from server.models.name import ModelName


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """The key that a request came with: its name, scope, models and limits."""

    name: str
    scope: Scope
    models: AllowList = AllowList()
    limits: Limits = Limits()

    @classmethod
    def of(cls, grant: Grant) -> "Caller":
        """Whoever has that key."""
        key, terms = grant.key, grant.terms
        models = AllowList.of(terms.models)
        return cls(name=key.name, scope=key.scope, models=models, limits=terms.limits)

    def may_use(self, name: ModelName) -> bool:
        """Whether there is a model of that name for this caller."""
        return self.models.allows(name)


# Without any keys, which is possible on loopback only, everybody is an administrator.
EVERYBODY = Caller(name="", scope=Scope.ADMIN)
# What a server does of its own accord, such as trying out a model; no key has that name.
SERVER = Caller(name="(server)", scope=Scope.ADMIN)


class Ticket(Protocol):
    """A request that was let in."""

    @property
    def headers(self) -> Mapping[str, str]:
        """What the caller has left now, as header fields of the reply."""

    def settle(self, prompt_tokens: int, output_tokens: int) -> None:
        """How much it has used so far; the last call counts."""

    def computed(self, seconds: float) -> None:
        """How long it was computed for, where the engine says so; else the time between
        the first `settle` and the end counts."""


class Admission(Protocol):
    """Lets requests in, one `with` block each."""

    def begin(
        self, caller: Caller, model: ModelName, tokens: int
    ) -> AbstractContextManager[Ticket]:
        """Let a request in that will use about so many tokens.

        Raises `RateLimited`. The end of the block settles it, however it ends.
        """
