"""Secrets of an SDL, sealed: only the Console can open them, for one account and one SDL.

In the SDL a secret stands as `ac-secret://NAME`, the whole value of a variable or the
name or password of a registry. Every name there needs a value and every value a name, or
the Console refuses both.

Seal with every order, where there are no secrets too: without a seal the Console hides all
values of the environment, and nobody can read again what was ordered.
"""

import hashlib
import time
import warnings
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from typing import Final, Literal

import msgspec
from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from toolkit.deploy.console.account import SecretsContext
from toolkit.errors import EndpointError, UsageError
from toolkit.sdl.sealed import SEALED, is_sealed

MAX_SECRETS: Final = 100
MAX_VALUE_BYTES: Final = 16 * 1024
"""Of one value, written as JSON."""

LASTS_S: Final = 300
"""The Console accepts 900 and its clock may differ."""

_ALGORITHM, _CONTENT = "RSA-OAEP-256", "A256GCM"
_REGISTRY: Final = jwe.JWERegistry(algorithms=[_ALGORITHM, _CONTENT], strict_check_header=False)
_KNOWN_CLAIMS: Final = frozenset({"kid", "sub", "exp", "sdlHash"})
_KEY_BITS: Final = range(2048, 8192 + 1)


class _PublicKey(msgspec.Struct, frozen=True):
    """What is needed of a JWK (RFC 7518 §6.3.1)."""

    kty: Literal["RSA"]
    n: str
    e: str


class Secrets(Mapping[str, str]):
    """Values by name; only the names can be seen."""

    def __init__(self, values: Mapping[str, str]) -> None:
        """Raises `UsageError` for what the Console would not take."""
        if why := _problem(values):
            raise UsageError(f"These secrets cannot be sealed: {why}.", hint=_HINT)
        self._values = dict(values)

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Secrets({', '.join(sorted(self._values))})"


_HINT = (
    "A name has letters, digits and _ and begins with no digit, 64 at most; a value is a text "
    f"of up to {MAX_VALUE_BYTES // 1024} KiB; an SDL has up to {MAX_SECRETS}."
)


def seal(
    secrets: Mapping[str, str],
    context: SecretsContext,
    *,
    sdl: str | None,
    now: float | None = None,
) -> str:
    """The secrets as a compact JWE, good for 5 minutes from `now`, in seconds of the Unix
    clock (None: this machine's).

    With `sdl`, the exact text that is ordered, they go with no other; None for a change of
    what is there, where only the values given are replaced. Raises `UsageError` for secrets
    that cannot be and `EndpointError` for a context that cannot be used; neither shows a
    secret, nor does its traceback where `secrets` is a `Secrets`.
    """
    checked = secrets if isinstance(secrets, Secrets) else Secrets(secrets)
    key = _key(context)
    header = {
        "alg": _ALGORITHM,
        "enc": _CONTENT,
        "kid": context.kid,
        "sub": context.sub,
        "exp": int(time.time() if now is None else now) + LASTS_S,
    }
    if sdl is not None:
        digest = hashlib.sha256(sdl.encode()).digest()
        header["sdlHash"] = urlsafe_b64encode(digest).decode().rstrip("=")
    sealed = _encrypted(header, checked, key)
    if sealed is None:
        raise _unusable("nothing can be encrypted with its key")
    return sealed


def _problem(values: Mapping[str, str]) -> str:
    """What is wrong, empty if nothing is. A name that is none may be a value by mistake."""
    if len(values) > MAX_SECRETS:
        return f"there are {len(values)}"
    if not all(is_sealed(f"{SEALED}{name}") for name in values):
        return "a name is none"
    for name, value in values.items():
        try:
            size = len(msgspec.json.encode(value))
        except UnicodeEncodeError:
            return f"{name} is no text"
        if size > MAX_VALUE_BYTES:
            return f"{name} is too long"
    return ""


def _key(context: SecretsContext) -> RSAKey:
    unknown = set(context.required_claims) - _KNOWN_CLAIMS
    if unknown:
        raise _unusable("it asks for a claim that this program does not know")
    try:
        public = msgspec.convert(context.jwk, _PublicKey)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a short key, which is refused here
            key = RSAKey.import_key(msgspec.structs.asdict(public))
    except (JoseError, ValueError) as error:
        raise _unusable("its key cannot be read") from error
    if key.public_key.key_size not in _KEY_BITS:
        raise _unusable("its key is too short or too long")
    return key


def _encrypted(header: dict[str, object], secrets: Secrets, key: RSAKey) -> str | None:
    """None where the key turns out to be none: errors of the library hold the plain text."""
    plain = msgspec.json.encode(dict(secrets))
    try:
        return jwe.encrypt_compact(header, plain, key, registry=_REGISTRY)
    except (JoseError, ValueError):
        return None


def _unusable(why: str) -> EndpointError:
    return EndpointError(
        f"The Console's context for secrets cannot be used: {why}.",
        hint="Ask again; a newer akash-llm may understand a newer Console.",
    )
