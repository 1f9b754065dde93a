"""JSON as Ollama's Go server reads and writes it.

Reading: any Content-Type, unknown keys ignored, keys matched without regard to
case, null leaves the default, the last of equal keys wins, what follows the first
value is ignored, and mistakes are told in the words of Go's decoder. Writing:
compact, one line, with `<`, `>` and `&` escaped.
"""

import json
import re
from functools import cache
from types import UnionType
from typing import Annotated, Any, NoReturn, TypeVar, Union, get_args, get_origin

import msgspec

from server.errors import InvalidRequest
from server.limits import MAX_MESSAGES, check_count

T = TypeVar("T", bound=msgspec.Struct)

_encode = msgspec.json.Encoder().encode
_GO_NAMES = {
    "str": "string",
    "int": "int",
    "float": "float64",
    "bool": "bool",
    "array": "slice",
    "object": "object",
    "null": "null",
}
_MISMATCH = re.compile(r"Expected `(?P<want>[^`]+)`, got `(?P<got>[^`]+)`")
_OVERFLOW = re.compile(r"Expected `int` [<>]= ")
_PATH = re.compile(r" - at `\$(?P<path>[^`]*)`")
_STEP = re.compile(r"\.(?P<field>[^.\[]+)|\[[^\]]*\]")
_GO_TYPES = {str: "string", bool: "bool", int: "int", float: "float64"}
# Python's own decoder is slow, and holds up all threads meanwhile.
_MOST_LENIENT_BYTES = 4 << 20
_SURROGATE = re.compile("[\ud800-\udfff]")
_SYNTAX = {
    "Expecting value": "looking for beginning of value",
    "Expecting property name enclosed in double quotes": (
        "looking for beginning of object key string"
    ),
    "Illegal trailing comma before end of object": "looking for beginning of object key string",
    "Illegal trailing comma before end of array": "looking for beginning of value",
    "Expecting ':' delimiter": "after object key",
    "Expecting ',' delimiter": "after array element or object key:value pair",
    "Invalid control character at": "in string literal",
    "Invalid \\escape": "in string escape code",
    "Invalid \\uXXXX escape": "in \\u hexadecimal character escape",
}


def encode(value: Any) -> bytes:
    """Compact JSON as Go's encoder writes it, without a newline."""
    body = _encode(value)
    return (
        body.replace(b"<", b"\\u003c")
        .replace(b">", b"\\u003e")
        .replace(b"&", b"\\u0026")
        .replace(b"\xe2\x80\xa8", b"\\u2028")
        .replace(b"\xe2\x80\xa9", b"\\u2029")
    )


def decode(body: bytes, struct: type[T]) -> T:
    """The body as `struct`. Raises `InvalidRequest` in the words of Go's decoder."""
    if not body.strip():
        raise InvalidRequest("missing request body")
    value = parse(body)
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise InvalidRequest(
            f"json: cannot unmarshal {_kind(value)} into Go value of type api.{struct.__name__}"
        )
    try:
        return msgspec.convert(_fold(value, struct), struct)
    except msgspec.ValidationError as error:
        raise InvalidRequest(_mismatch(str(error), struct)) from None


def parse(body: bytes) -> Any:
    """The first JSON value of the body as plain objects."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if len(body) > _MOST_LENIENT_BYTES:
            raise InvalidRequest(f"the body is not valid JSON: {error}") from None
        return _parse_leniently(body.decode("utf-8", "replace"))


def _parse_leniently(text: str) -> Any:
    """What the fast decoder refuses: Go takes broken UTF-8 and trailing text."""
    start = len(text) - len(text.lstrip(" \t\r\n"))
    decoder = json.JSONDecoder(parse_constant=_refuse_constant)
    try:
        value, _ = decoder.raw_decode(text, start)
        return _without_surrogates(value)
    except json.JSONDecodeError as error:
        raise InvalidRequest(_syntax(error)) from None
    except RecursionError:
        raise InvalidRequest("exceeded max depth") from None
    except ValueError:  # an integer of thousands of digits
        raise InvalidRequest("json: cannot unmarshal number: it has too many digits") from None


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidRequest(f"invalid character '{name[0]}' looking for beginning of value")


def _syntax(error: json.JSONDecodeError) -> str:
    """Go's words for a syntax error that Python found."""
    at_end = error.pos >= len(error.doc.rstrip())
    if at_end or error.msg.startswith("Unterminated string"):
        return "unexpected EOF"
    where = _SYNTAX.get(error.msg, "looking for beginning of value")
    return f"invalid character {_go_character(error.doc[error.pos])} {where}"


def _go_character(character: str) -> str:
    if character == "'":
        return "'\\''"
    return "'" + json.dumps(character, ensure_ascii=False)[1:-1].replace('\\"', '"') + "'"


def _without_surrogates(value: Any) -> Any:
    """Half a surrogate pair becomes U+FFFD, as in Go: it could not be written again."""
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_without_surrogates(k): _without_surrogates(v) for k, v in value.items()}
    return value


@cache
def _fields(struct: type[msgspec.Struct]) -> dict[str, tuple[str, type[msgspec.Struct] | None]]:
    """Lower-case wire name -> wire name, and the struct in it if it is one or a list of them."""
    found = {}
    for field in msgspec.structs.fields(struct):
        inner = next((t for t in _types(field.type) if _is_struct(t)), None)
        found[field.encode_name.lower()] = (field.encode_name, inner)
    return found


def _types(annotation: Any) -> list[Any]:
    """The annotation and what it is made of."""
    parts = [annotation]
    for argument in getattr(annotation, "__args__", ()):
        parts += _types(argument)
    return parts


def _is_struct(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, msgspec.Struct)


def _fold(value: dict[str, Any], struct: type[msgspec.Struct]) -> dict[str, Any]:
    """The value with the keys that `struct` knows, spelled as it does, and no nulls."""
    fields = _fields(struct)
    folded = {}
    for key, item in value.items():
        known = fields.get(key) or fields.get(key.lower())
        if known is None or item is None:
            continue
        name, inner = known
        folded[name] = item if inner is None else _fold_inner(name, item, inner)
    return folded


def _fold_inner(name: str, item: Any, struct: type[msgspec.Struct]) -> Any:
    if isinstance(item, dict):
        return _fold(item, struct)
    if isinstance(item, list):
        check_count(name, item, MAX_MESSAGES)  # before each of them is folded and converted
        return [_fold_inner(name, {} if part is None else part, struct) for part in item]
    return item


def _mismatch(message: str, struct: type[msgspec.Struct]) -> str:
    """Go's words for a value of the wrong type."""
    found = _PATH.search(message)
    path = found.group("path") if found else ""
    where = struct.__name__ + re.sub(r"\[[^\]]*\]", "", path)
    if _OVERFLOW.match(message):
        return f"json: cannot unmarshal number into Go struct field {where} of type int"
    types = _MISMATCH.search(message)
    if types is None:
        return f"json: cannot unmarshal {where}: {message}"
    got = _GO_NAMES.get(types.group("got"), types.group("got"))
    got = {"int": "number", "float64": "number", "slice": "array"}.get(got, got)
    want = types.group("want").split(" | ")[0]
    if want in ("array", "object"):
        want = _go_type(_annotation_at(struct, path))
    return (
        f"json: cannot unmarshal {got} into Go struct field {where} "
        f"of type {_GO_NAMES.get(want, want)}"
    )


def _annotation_at(struct: type[msgspec.Struct], path: str) -> Any:
    """The type of what stands at a path like `.messages[...].content`."""
    found: Any = struct
    for step in _STEP.finditer(path):
        parts = _types(found)
        if name := step.group("field"):
            owners = [part for part in parts if _is_struct(part)]
            fields = {f.encode_name: f.type for o in owners for f in msgspec.structs.fields(o)}
            found = fields.get(name, Any)
        else:
            items = (get_args(part)[-1] for part in parts if get_origin(part) in (list, dict))
            found = next(items, Any)
    return found


def _go_type(annotation: Any) -> str:
    """What Go calls the type that it has in this place."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is list:
        return f"[]{_go_type(arguments[0])}"
    if origin is dict:
        return f"map[string]{_go_type(arguments[1])}"
    if origin in (Union, UnionType, Annotated):
        return _go_type(arguments[0])
    if _is_struct(annotation):
        return f"api.{annotation.__name__}"
    return _GO_TYPES.get(annotation, "interface {}")


def _kind(value: Any) -> str:
    """Go's word for the kind of a JSON value."""
    kinds = {str: "string", bool: "bool", list: "array", dict: "object"}
    return kinds.get(type(value), "number")
