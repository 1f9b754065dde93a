"""What a key may do beyond its scope: which models, how much, until when.

The same shape stands in the key store, in AKASH_LLM_KEY_LIMITS, in the bodies of the admin
routes and in the output of the command line. Nothing here knows HTTP.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from server.allowlist import AllowList
from server.keys import KeyDigest, KeyRing, Scope

_MOST = 2**31 - 1
Count = Annotated[int, Meta(ge=1, le=_MOST)]
Window = Annotated[int, Meta(ge=4, le=_MOST)]


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much a key may do; None is no limit.

    Tokens are those of prompts and of answers together. `parallel` requests may run or wait
    at once. `num_predict` and `num_ctx` are the most tokens of one answer and of one window:
    what is asked beyond them is clamped.
    """

    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    parallel: Count | None = None
    num_predict: Count | None = None
    num_ctx: Window | None = None

    def clamp_output(self, asked: int | None) -> int | None:
        """The most tokens of an answer; None is as many as the model wants."""
        return _smaller(asked, self.num_predict)

    def clamp_context(self, window: int) -> int:
        """The window of a request."""
        return window if self.num_ctx is None else min(window, self.num_ctx)


class Terms(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The conditions of a key. `models` None is every model; see `server.allowlist`.

    Raises `ValueError` (so that decoding one says where) for models that name nothing.
    """

    models: tuple[str, ...] | None = None
    limits: Limits = Limits()
    expires_at: Annotated[datetime, Meta(tz=True)] | None = None

    def __post_init__(self) -> None:
        AllowList.of(self.models)


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """A key as a server knows it: who, its scope, its digest and its terms.

    `created_at` None: it comes from the environment. One that is revoked stays on record, so
    that its name and its usage never pass to another key.
    """

    key: KeyDigest
    terms: Terms = Terms()
    created_at: datetime | None = None
    revoked_at: datetime | None = None

    def is_valid(self, now: datetime) -> bool:
        """Whether the key opens anything at that time."""
        expires_at = self.terms.expires_at
        return self.revoked_at is None and (expires_at is None or now < expires_at)


class KeyInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A key as it is shown to admins: all but its digest. One of the environment was not
    created by us, and only its deployer can end it."""

    name: str
    scope: Scope
    models: tuple[str, ...] | None
    limits: Limits
    expires_at: datetime | None
    source: Literal["environment", "state"]
    created_at: datetime | None
    revoked_at: datetime | None

    @classmethod
    def of(cls, grant: Grant) -> "KeyInfo":
        """The part of a grant that may be seen."""
        return cls(
            name=grant.key.name,
            scope=grant.key.scope,
            models=grant.terms.models,
            limits=grant.terms.limits,
            expires_at=grant.terms.expires_at,
            source="environment" if grant.created_at is None else "state",
            created_at=grant.created_at,
            revoked_at=grant.revoked_at,
        )


def now() -> datetime:
    """The time by which keys expire."""
    return datetime.now(UTC)


def fixed_grants(ring: KeyRing, terms_text: str) -> tuple[Grant, ...]:
    """The keys of AKASH_LLM_KEYS with the terms of AKASH_LLM_KEY_LIMITS.

    The text is JSON: `{"NAME": {"models": […], "limits": {…}, "expires_at": "…"}}`. Raises
    `ValueError` for a text that is no such thing or names a key that is not there.
    """
    terms = _terms(terms_text)
    unknown = sorted(set(terms) - {key.name for key in ring.keys})
    if unknown:
        raise ValueError(f"no key is called {', '.join(map(repr, unknown))}")
    return tuple(Grant(key=key, terms=terms.get(key.name, Terms())) for key in ring.keys)


def _terms(text: str) -> Mapping[str, Terms]:
    if not text.strip():
        return {}
    try:
        return msgspec.json.decode(text, type=dict[str, Terms])
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from None


def _smaller(asked: int | None, most: int | None) -> int | None:
    given = [number for number in (asked, most) if number is not None]
    return min(given, default=None)
