"""Bodies as Go's decoder reads them: whatever comes is read, or refused in its words."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from server.api import anthropic_types, gojson, ollama_types, responses_types
from server.errors import ServerError

STRUCTS = [
    ollama_types.GenerateRequest,
    ollama_types.ChatRequest,
    ollama_types.EmbedRequest,
    ollama_types.CreateRequest,
    anthropic_types.MessagesRequest,
    responses_types.ResponsesRequest,
]


def names(struct: Any) -> list[str]:
    """The names of the fields of a struct and of those in it."""
    _, parts = msgspec.json.schema_components([struct])
    return sorted({name for part in parts.values() for name in part.get("properties", {})})


def bodies(known: SearchStrategy[str]) -> SearchStrategy[Any]:
    leaves = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-2, 2) | st.text(max_size=2)
    values = st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(known, inner, max_size=4),
        max_leaves=12,
    )
    return st.dictionaries(known, values, max_size=5)


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: struct.__name__)
@given(data=st.data())
def test_any_body_is_read_or_refused(struct: Any, data: st.DataObject) -> None:
    body = data.draw(bodies(st.sampled_from(names(struct))))
    try:
        assert isinstance(gojson.decode(msgspec.json.encode(body), struct), struct)
    except ServerError as error:
        assert (error.status, error.message[:22]) == (400, "json: cannot unmarshal")
