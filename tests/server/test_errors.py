"""The tree of errors is drawn in its docstring, all of it."""

import re

from server import errors
from server.errors import ServerError
from server.models.name import InvalidModelName


def tree(kind: type[ServerError]) -> dict[str, tuple[int, str]]:
    found = {kind.__name__: (kind.status, kind.code)}
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            found |= tree(child)
    return found


def test_the_drawing_is_complete_and_right() -> None:
    drawn = re.findall(r"^[ │├└─]+(\w+) +(\d{3}) (\w+)", errors.__doc__ or "", re.MULTILINE)
    assert {name: (int(status), code) for name, status, code in drawn} == tree(ServerError)


def test_codes_differ() -> None:
    codes = [code for _, code in tree(ServerError).values()]
    assert len(set(codes)) == len(codes) and InvalidModelName.code not in codes
