"""Terms of keys: written, read, clamped; hostile texts are refused with a reason."""

from datetime import UTC

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.grants import Grant, KeyInfo, Limits, Terms, fixed_grants
from server.keys import KeyDigest, KeyRing, Scope

SHA = "a" * 64
RING = KeyRing.from_text(f"me:read:{SHA},you:admin:{'b' * 64}")

counts = st.none() | st.integers(1, 2**31 - 1)
limits = st.builds(
    Limits,
    requests_per_minute=counts,
    tokens_per_minute=counts,
    parallel=counts,
    num_predict=counts,
    num_ctx=st.none() | st.integers(4, 2**31 - 1),
)
terms = st.builds(
    Terms,
    models=st.none() | st.lists(st.sampled_from(["m", "M:7b", "user/*", "*"])).map(tuple),
    limits=limits,
    expires_at=st.none() | st.datetimes(timezones=st.just(UTC)),
)
values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
fields = st.sampled_from(["models", "limits", "expires_at", "parallel", "num_ctx", "x"])
nested = st.dictionaries(fields, values | st.dictionaries(fields, values))


@given(terms=terms)
def test_what_is_written_can_be_read(terms: Terms) -> None:
    assert msgspec.json.decode(msgspec.json.encode(terms), type=Terms) == terms
    text = msgspec.json.encode({"me": terms}).decode()
    mine, yours = fixed_grants(RING, text)
    assert (mine.terms, yours.terms) == (terms, Terms())


@given(text=st.text() | st.dictionaries(st.sampled_from(["me", "who"]), nested).map(str))
def test_any_text_is_terms_or_an_error(text: str) -> None:
    try:
        grants = fixed_grants(RING, text)
    except ValueError as error:
        assert str(error)
    else:
        assert [grant.key for grant in grants] == list(RING.keys)


@given(given_terms=st.dictionaries(st.sampled_from(["me", "who"]), nested))
def test_any_json_is_terms_or_an_error(given_terms: dict[str, object]) -> None:
    text = msgspec.json.encode(given_terms).decode()
    try:
        grants = fixed_grants(RING, text)
    except ValueError as error:
        assert str(error)
    else:
        assert set(given_terms) <= {"me"}
        assert [grant.key for grant in grants] == list(RING.keys)


@pytest.mark.parametrize(
    ("most", "asked", "given"),
    [(None, None, None), (None, 7, 7), (5, None, 5), (5, 7, 5), (5, 3, 3), (5, 0, 0)],
)
def test_answers_are_clamped(most: int | None, asked: int | None, given: int | None) -> None:
    assert Limits(num_predict=most).clamp_output(asked) == given


def test_windows_are_clamped() -> None:
    assert Limits().clamp_context(100) == 100
    assert Limits(num_ctx=8).clamp_context(100) == 8
    assert Limits(num_ctx=8).clamp_context(4) == 4


def test_what_is_shown_is_never_the_digest() -> None:
    shown = KeyInfo.of(Grant(key=KeyDigest("me", Scope.READ, SHA)))
    assert shown.name == "me" and SHA not in str(shown)
