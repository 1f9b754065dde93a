"""What a route says about itself: its query and its bodies, for the OpenAPI document."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from server.keys import Scope

JSON_TYPE, NDJSON_TYPE = "application/json", "application/x-ndjson"
SSE_TYPE, TEXT_TYPE = "text/event-stream", "text/plain"
BYTES_TYPE = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Described:
    """The query and the bodies of a route, as types that msgspec reads and writes.

    `request` bytes is any body, `query` a struct of what may stand behind the `?`, all of which
    may be left out; `reply` None an empty one, `str` with another type a text.
    `stream` are the kinds of objects in a stream, `stream_type` how they are framed.
    `statuses` are further ones that are no error, with their meaning.
    """

    summary: str
    request: Any = None
    request_type: str = JSON_TYPE
    query: type[msgspec.Struct] | None = None
    reply: Any = None
    reply_type: str = JSON_TYPE
    stream: tuple[Any, ...] = ()
    stream_type: str = NDJSON_TYPE
    statuses: Mapping[int, str] = field(default_factory=dict)


def route_opt(scope: Scope | None, described: Described, **more: Any) -> dict[str, Any]:
    """The `opt` of a route: who may use it (None: open to all), and what it is."""
    own = {} if scope is None else {"scope": scope}
    return {**own, "described": described, **more}
