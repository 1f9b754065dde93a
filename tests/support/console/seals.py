"""The Console's side of sealed secrets: its key, and what a seal must say.

Seals live by the clock on the wall, as tokens do: blocks of the chain mean nothing to them.
"""

import functools
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

import msgspec
from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from tests.support.console.references import Secrets
from tests.support.console.states import Refusal

LONGEST_LIFE_S = 900
ALGORITHMS = ("RSA-OAEP-256", "A256GCM")


class _Registry(jwe.JWERegistry):
    """As many and as long secrets as there may be make a long text."""

    max_ciphertext_length = 4 * 1024 * 1024


REGISTRY = _Registry(algorithms=ALGORITHMS, strict_check_header=False)


class Seals:
    """Opens what was sealed for `user`. `retire` takes another key."""

    def __init__(self, user: str, *, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self._user = user
        self._number = 1

    @property
    def kid(self) -> str:
        return f"sdl-secrets.v{self._number}"

    def retire(self) -> None:
        """Seals for the key until now are refused."""
        self._number += 1

    def context(self) -> dict[str, Any]:
        """What a client needs to seal."""
        jwk = _key(self._number).as_dict(private=False)
        return {
            "kid": self.kid,
            "sub": self._user,
            "jwk": {**jwk, "use": "enc", "alg": "RSA-OAEP-256"},
            "requiredClaims": ["kid", "sub", "exp"],
        }

    def opened(self, seal: str, sdl: str) -> Secrets:
        """The secrets in a seal that goes with `sdl`."""
        try:
            self._check(_header(seal), sdl)
            plain = jwe.decrypt_compact(seal, _key(self._number), registry=REGISTRY).plaintext
        except (JoseError, ValueError, msgspec.MsgspecError):
            raise Refusal(400, "Sealed secrets failed authentication") from None
        try:
            return msgspec.json.decode(plain or b"", type=Secrets)
        except msgspec.DecodeError:
            message = "Sealed secrets must be a flat object of string values"
            raise Refusal(400, message) from None

    def _check(self, header: Mapping[str, Any], sdl: str) -> None:
        if (header.get("alg"), header.get("enc")) != ALGORITHMS:
            raise Refusal(400, f"Seals must use {' and '.join(ALGORITHMS)}")
        if header.get("kid") != self.kid:
            raise Refusal(409, "Sealed to a key the console no longer holds")
        if header.get("sub") != self._user:
            raise Refusal(403, "Sealed for a different user")
        exp, now = header.get("exp"), self.clock()
        if not isinstance(exp, int) or exp <= now:
            raise Refusal(400, "Sealed secrets have expired")
        if exp > now + LONGEST_LIFE_S:
            raise Refusal(400, "Sealed secrets expire too far in the future")
        if header.get("sdlHash", _hash(sdl)) != _hash(sdl):
            raise Refusal(403, "Sealed secrets are bound to a different SDL")


def _header(seal: str) -> Mapping[str, Any]:
    part = seal.split(".")[0]
    raw = urlsafe_b64decode(part + "=" * (-len(part) % 4))
    return msgspec.json.decode(raw, type=dict[str, Any])


@functools.cache
def _key(number: int) -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": f"sdl-secrets.v{number}"})


def _hash(sdl: str) -> str:
    return urlsafe_b64encode(sha256(sdl.encode()).digest()).decode().rstrip("=")
