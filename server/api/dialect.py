"""What a dialect is to the rest of the server: paths, handlers, the shape of an error."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
from litestar.handlers import HTTPRouteHandler

from server.api.core import Core
from server.errors import ServerError


@dataclass(frozen=True, slots=True)
class Dialect:
    """One API over the core.

    `prefixes` are the beginnings of the paths that are its own: errors there wear its
    shape, before and after routing. The longest one wins; an empty one takes the rest.
    `error` is the type of what `encode_error` writes.
    Unless `shapes_unknown_paths` an unknown path or method gets plain text, as in Ollama.
    `reply_headers` are headers that each of its replies has, errors too.
    """

    name: str
    prefixes: tuple[str, ...]
    handlers: Callable[[Core], Sequence[HTTPRouteHandler]]
    encode_error: Callable[[ServerError], bytes]
    error: type[msgspec.Struct]
    shapes_unknown_paths: bool = False
    reply_headers: Callable[[], dict[str, str]] = dict


def dialect_of(path: str, dialects: Sequence[Dialect]) -> Dialect:
    """The dialect that a path belongs to. One of them must have the empty prefix."""
    owners = ((prefix, d) for d in dialects for prefix in d.prefixes if path.startswith(prefix))
    return max(owners, key=lambda owner: len(owner[0]))[1]
