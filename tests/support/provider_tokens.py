"""Tokens of AEP-64 for the provider gateway of the tests, and what a gateway checks of them.

Form and signature are the real ones; a provider knows the key of an account by the chain.
"""

import secrets
import time
from collections.abc import Iterable
from typing import Literal

import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from toolkit.deploy.provider.token import Scope, Token

OWNER = "akash1" + "q" * 38
ALGORITHM = "ES256K"


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    alg: Literal["ES256K"]
    typ: Literal["JWT"]


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
        self._key = ECKey.generate_key("secp256k1")

    async def token(self, scopes: frozenset[Scope]) -> Token:
        """What a client is given as its source of tokens."""
        self.asked.append(scopes)
        token = self.make(scopes)
        self.made.append(token)
        return token

    def make(self, scopes: frozenset[Scope], *, ended_s_ago: float | None = None) -> Token:
        """A token; with `ended_s_ago` one that has ended, though its holder is told otherwise."""
        lasts_s = self.lasts_s if ended_s_ago is None else -ended_s_ago
        return Token(self.signed(scopes, lasts_s), time.time() + self.lasts_s)

    def signed(self, scopes: Iterable[str], lasts_s: float) -> str:
        """The text of a token."""
        now = time.time()
        claims = Claims(
            iss=OWNER,
            iat=int(now) - 1,
            nbf=int(now) - 1,
            exp=int(now + lasts_s),
            jti=secrets.token_hex(8),
            leases=Leases(tuple(sorted(scopes))),
        )
        header = {"alg": ALGORITHM, "typ": "JWT"}
        payload = msgspec.json.encode(claims)
        return jws.serialize_compact(header, payload, self._key, algorithms=[ALGORITHM])

    def check(self, authorization: str | None, scope: Scope) -> None:
        """Raises `Refused` as a gateway refuses, in its words."""
        if authorization is None:
            raise Refused(400, "JWT is missing")
        kind, _, text = authorization.partition(" ")
        if kind != "Bearer" or text.count(".") != 2:
            raise Refused(400, "invalid authorization header")
        claims = self._claims(text)
        if not claims.nbf <= time.time() < claims.exp:
            raise Refused(401, "JWT is expired")
        if scope not in claims.leases.scope:
            raise Refused(401, "unauthorized access")

    def _claims(self, text: str) -> Claims:
        try:
            signed = jws.deserialize_compact(text, self._key, algorithms=[ALGORITHM])
        except JoseError as error:
            raise Refused(401, "JWT is invalid") from error
        try:
            msgspec.convert(signed.headers(), Header)
            return msgspec.json.decode(signed.payload, type=Claims)
        except msgspec.DecodeError as error:
            raise Refused(400, "JWT has invalid claims") from error
