"""Tokens of AEP-64 for the provider gateway of the tests, and what a gateway checks of them.

The form is the real one, claim by claim. The signature has the form of ES256K (64 bytes)
and is a keyed hash in truth: no client of a gateway ever looks into it.
"""

import hashlib
import hmac
import secrets
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Literal

import msgspec

from toolkit.deploy.provider.token import Scope, Token

OWNER = "akash1" + "q" * 38


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    alg: Literal["ES256K", "ES256KADR36"] = "ES256K"
    typ: Literal["JWT"] = "JWT"


class Leases(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    scope: tuple[str, ...]
    access: Literal["scoped"] = "scoped"


class Claims(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    iss: str
    iat: int
    nbf: int
    exp: int
    jti: str = ""
    leases: Leases
    version: Literal["v1"] = "v1"


class Refused(Exception):
    """A token that a gateway does not accept: status and message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Issuer:
    """Makes tokens and knows its own again. `made` are all so far."""

    def __init__(self, *, lasts_s: float = 900) -> None:
        self.lasts_s = lasts_s
        self.made: list[Token] = []
        self.asked: list[frozenset[Scope]] = []
        self._secret = secrets.token_bytes(32)

    async def token(self, scopes: frozenset[Scope]) -> Token:
        """What a client is given as its source of tokens."""
        self.asked.append(scopes)
        token = self.make(scopes)
        self.made.append(token)
        return token

    def make(self, scopes: frozenset[Scope], *, ended_s_ago: float | None = None) -> Token:
        """A token; with `ended_s_ago` one that has ended, though its holder is told otherwise."""
        now = time.time()
        ends = now + self.lasts_s
        exp = ends if ended_s_ago is None else now - ended_s_ago
        claims = Claims(
            iss=OWNER,
            iat=int(now) - 1,
            nbf=int(now) - 1,
            exp=int(exp),
            jti=secrets.token_hex(8),
            leases=Leases(tuple(sorted(scopes))),
        )
        signed = f"{_encoded(Header())}.{_encoded(claims)}"
        return Token(f"{signed}.{_base64(self._signature(signed))}", ends)

    def check(self, authorization: str | None, scope: Scope) -> None:
        """Raises `Refused` as a gateway refuses, in its words."""
        if authorization is None:
            raise Refused(400, "JWT is missing")
        kind, _, text = authorization.partition(" ")
        if kind != "Bearer" or text.count(".") != 2:
            raise Refused(400, "invalid authorization header")
        signed, _, signature = text.rpartition(".")
        if not hmac.compare_digest(_raw(signature), self._signature(signed)):
            raise Refused(401, "JWT is invalid")
        claims = self._claims(signed)
        if not claims.nbf <= time.time() < claims.exp:
            raise Refused(401, "JWT is expired")
        if scope not in claims.leases.scope:
            raise Refused(401, "unauthorized access")

    @staticmethod
    def _claims(signed: str) -> Claims:
        header, _, claims = signed.partition(".")
        try:
            msgspec.json.decode(_raw(header), type=Header)
            return msgspec.json.decode(_raw(claims), type=Claims)
        except msgspec.DecodeError as error:
            raise Refused(400, "JWT has invalid claims") from error

    def _signature(self, signed: str) -> bytes:
        return hmac.digest(self._secret, signed.encode(), hashlib.sha512)


def _encoded(part: msgspec.Struct) -> str:
    return _base64(msgspec.json.encode(part))


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def _raw(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
