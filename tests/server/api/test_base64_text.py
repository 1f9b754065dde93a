"""Base64 in pieces is the same as in one."""

import base64

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from server.api import base64_text
from server.errors import InvalidRequest


@given(st.binary(max_size=100))
@example(b"\xff" * (3 << 19))
@example(b"\xff" * ((3 << 19) - 1))
def test_what_was_encoded(data: bytes) -> None:
    assert base64_text.decode(base64.b64encode(data).decode()) == data
    assert base64_text.decode(base64.encodebytes(data).decode().replace("\n", "\r\n")) == data


@given(st.text("aZ0+/=-\n", max_size=12))
def test_what_python_refuses_is_refused(text: str) -> None:
    try:
        wanted = base64.b64decode(text.replace("\n", ""), validate=True)
    except ValueError:
        with pytest.raises(InvalidRequest, match="illegal base64 data at input byte"):
            base64_text.decode(text)
    else:
        assert base64_text.decode(text) == wanted


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("aGk", 3),
        ("aG=k", 4),
        ("aGk=aGk=", 8),
        ("a-Gk", 1),
        ("data:image/png;base64,aGk=", 4),
        ("aGkü", 3),
        ("A" * (1 << 20) + "=AAA", (1 << 20) + 4),
        ("A" * ((1 << 20) - 2) + "==AAAA", (1 << 20) + 4),
        ("A" * (1 << 21) + "~", 1 << 21),
    ],
)
def test_where_it_goes_wrong(text: str, at: int) -> None:
    with pytest.raises(InvalidRequest, match=f"illegal base64 data at input byte {at}$"):
        base64_text.decode(text)
