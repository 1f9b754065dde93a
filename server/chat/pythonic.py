"""Calls in Python's notation, read from its syntax tree. Nothing is ever evaluated."""

import ast
import warnings
from typing import Any, NamedTuple

from server.chat.values import MAX_DEPTH, NotReadable

# The tree of a longer text would take hundreds of megabytes.
MAX_LENGTH = 200_000
# Literals of JSON, which some models write in between.
_JSON_NAMES = {"true": True, "false": False, "null": None}


class Written(NamedTuple):
    """A call as it stands there."""

    name: str
    positional: list[Any]
    named: dict[str, Any]


def read_python(text: str) -> list[Written]:
    """The calls in a list of calls, or in lines of code that do nothing else.

    Arguments are literals. Raises `NotReadable`.
    """
    if len(text) > MAX_LENGTH:
        raise NotReadable("too long")
    try:
        with warnings.catch_warnings():
            # A wrong escape in a string is the model's affair.
            warnings.simplefilter("ignore")
            tree = ast.parse(text.strip())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise NotReadable("no Python") from None
    return [_call(node) for statement in tree.body for node in _expressions(statement)]


def _expressions(statement: ast.stmt) -> list[ast.expr]:
    if isinstance(statement, ast.Expr | ast.Assign):
        value = statement.value
        if value is None:
            raise NotReadable("nothing")
        return value.elts if isinstance(value, ast.List | ast.Tuple) else [value]
    raise NotReadable("more than calls")


def _call(node: ast.expr) -> Written:
    if not isinstance(node, ast.Call):
        raise NotReadable("no call")
    name = _name(node.func)
    if name == "print" and len(node.args) == 1 and isinstance(node.args[0], ast.Call):
        node = node.args[0]
        name = _name(node.func)
    named = {}
    for keyword in node.keywords:
        if keyword.arg is None:
            raise NotReadable("arguments from a variable")
        named[keyword.arg] = _literal(keyword.value, MAX_DEPTH)
    return Written(name, [_literal(value, MAX_DEPTH) for value in node.args], named)


def _name(node: ast.expr) -> str:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        raise NotReadable("a call of what is no name")
    return ".".join([node.id, *reversed(parts)])


def _literal(node: ast.expr, depth: int) -> Any:
    if depth < 0:
        raise NotReadable("nested too deep")
    match node:
        case ast.Constant(value=str() | int() | float() | None as value):
            return value
        case ast.Name(id=name) if name in _JSON_NAMES:
            return _JSON_NAMES[name]
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_literal(item, depth - 1) for item in items]
        case ast.Dict(keys=keys, values=values):
            return {_key(k): _literal(v, depth - 1) for k, v in zip(keys, values, strict=True)}
    raise NotReadable("a value that is no literal")


def _key(node: ast.expr | None) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    raise NotReadable("a key that is no text")
