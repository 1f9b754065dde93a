"""Short-lived tokens for a provider's gateway, asked for when they are needed.

Where a token comes from is the caller's business (the Console makes them for its
wallets). A token is kept in memory only, shows itself in no text, and is renewed
before it ends.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum

from toolkit.errors import CredentialsError

MARGIN_S = 30.0

_JWT = re.compile(r"[\w-]{1,4096}\.[\w-]{1,65536}\.[\w-]{1,1024}", re.ASCII)


class Scope(StrEnum):
    """What a token may be used for, by the names of AEP-64; those that this client needs."""

    STATUS = "status"
    LOGS = "logs"
    EVENTS = "events"


@dataclass(frozen=True, slots=True)
class Token:
    """A JWT, and when it ends in seconds of the Unix clock."""

    text: str = field(repr=False)
    expires_at: float


TokenSource = Callable[[frozenset[Scope]], Awaitable[Token]]


@dataclass(frozen=True, slots=True)
class Bearer:
    """A token in use; `renew_at` is a moment of `time.monotonic`, which no clock change moves."""

    text: str = field(repr=False)
    renew_at: float

    @property
    def header(self) -> dict[str, str]:
        """The header that carries it."""
        return {"Authorization": f"Bearer {self.text}"}


class Tokens:
    """One token at a time for one set of scopes."""

    def __init__(
        self, source: TokenSource, scopes: frozenset[Scope], *, margin_s: float = MARGIN_S
    ) -> None:
        self._source = source
        self._scopes = scopes
        self._margin_s = margin_s
        self._held: Bearer | None = None
        self._lock = asyncio.Lock()

    async def current(self) -> Bearer:
        """A token with at least the margin left, a new one where the held one has less.

        Raises `CredentialsError` for one that ends too soon or is no JWT, and what the
        source raises.
        """
        async with self._lock:
            if self._held is None or time.monotonic() >= self._held.renew_at:
                self._held = self._checked(await self._source(self._scopes))
            return self._held

    def forget(self, refused: Bearer) -> None:
        """The next `current` asks for a new one, unless that has been done already."""
        if self._held is refused:
            self._held = None

    def _checked(self, token: Token) -> Bearer:
        if not _JWT.fullmatch(token.text):
            raise CredentialsError(
                "What came as a token for the provider is none.",
                hint="Ask the Console for a new one; its API may have changed.",
            )
        left_s = token.expires_at - time.time() - self._margin_s
        if left_s <= 0:
            raise CredentialsError(
                "The new token for the provider has ended already or ends too soon.",
                hint=f"Ask for one of more than {self._margin_s:.0f} s, and check this "
                "machine's clock.",
            )
        return Bearer(token.text, time.monotonic() + left_s)
