"""Tokens: asked for when needed, never shown, never used to their last second."""

import asyncio
import time

import pytest

from tests.support.provider_tokens import Issuer
from toolkit.deploy.provider.token import Scope, Token, Tokens
from toolkit.errors import CredentialsError

SCOPES = frozenset({Scope.LOGS})


async def test_one_is_asked_for_when_many_need_it() -> None:
    issuer = Issuer()
    tokens = Tokens(issuer.token, SCOPES)
    bearers = await asyncio.gather(*(tokens.current() for _ in range(5)))
    assert {bearer.text for bearer in bearers} == {issuer.made[0].text}
    assert issuer.asked == [SCOPES]


async def test_one_that_was_refused_is_not_used_again() -> None:
    issuer = Issuer()
    tokens = Tokens(issuer.token, SCOPES)
    first = await tokens.current()
    tokens.forget(first)
    second = await tokens.current()
    assert second.text != first.text
    tokens.forget(first)  # late
    assert await tokens.current() is second


async def test_it_is_renewed_by_the_margin_before_its_end() -> None:
    issuer = Issuer(lasts_s=900)
    bearer = await Tokens(issuer.token, SCOPES, margin_s=100).current()
    assert bearer.renew_at <= time.monotonic() + 800


@pytest.mark.parametrize("lasts_s", [-10, 0, 29])
async def test_one_that_ends_too_soon_is_refused(lasts_s: float) -> None:
    with pytest.raises(CredentialsError, match="too soon"):
        await Tokens(Issuer(lasts_s=lasts_s).token, SCOPES).current()


@pytest.mark.parametrize("text", ["", "a.b", "a.b.c\r\nX-Evil: 1", "a.b.c.d", "ä.b.c", "a.b.c "])
async def test_what_is_no_jwt_is_refused_and_not_shown(text: str) -> None:
    async def source(scopes: frozenset[Scope]) -> Token:
        return Token(text, time.time() + 900)

    with pytest.raises(CredentialsError) as refused:
        await Tokens(source, SCOPES).current()
    assert "Evil" not in str(refused.value)


async def test_it_shows_itself_in_no_text() -> None:
    issuer = Issuer()
    bearer = await Tokens(issuer.token, SCOPES).current()
    assert bearer.text not in f"{bearer!r} {issuer.made[0]!r}"
    assert bearer.header == {"Authorization": f"Bearer {bearer.text}"}
