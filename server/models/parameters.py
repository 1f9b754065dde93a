"""The parameters that a model may bring: their names and the types of their values."""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from server.errors import InvalidRequest

_TYPES: dict[str, type] = {
    "num_keep": int,
    "seed": int,
    "num_predict": int,
    "top_k": int,
    "top_p": float,
    "min_p": float,
    "typical_p": float,
    "repeat_last_n": int,
    "temperature": float,
    "repeat_penalty": float,
    "presence_penalty": float,
    "frequency_penalty": float,
    "stop": list,
    "num_ctx": int,
    "num_batch": int,
    "num_gpu": int,
    "main_gpu": int,
    "use_mmap": bool,
    "num_thread": int,
    "draft_num_predict": int,
}
DEPRECATED = frozenset(
    {
        "embedding_only",
        "f16_kv",
        "logits_all",
        "low_vram",
        "mirostat",
        "mirostat_eta",
        "mirostat_tau",
        "num_gqa",
        "numa",
        "penalize_newline",
        "rope_frequency_base",
        "rope_frequency_scale",
        "tfs_z",
        "use_mlock",
        "vocab_only",
    }
)
_TYPE_NAMES = {int: "integer", float: "float32", bool: "boolean", list: "array"}
_BOOLEANS = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False}


def checked(parameters: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The parameters with values of their types, and the deprecated names that were dropped.

    A value may be text, as in a Modelfile. Raises `InvalidRequest` in Ollama's words for a
    name that is unknown and for a value of another type.
    """
    kept: dict[str, Any] = {}
    dropped: list[str] = []
    for name, value in parameters.items():
        if name in DEPRECATED:
            dropped.append(name)
        elif value is not None:
            kept[name] = _value(name, value)
    return kept, dropped


def from_lines(lines: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The parameters of a Modelfile as one mapping: those that may come several times add up.

    The values are text; `checked` gives them their types.
    """
    parameters: dict[str, Any] = {}
    for name, text in lines:
        if _TYPES.get(name) is list:
            parameters.setdefault(name, []).append(text)
        else:
            parameters[name] = text
    return parameters


def _value(name: str, value: Any) -> Any:
    kind = _TYPES.get(name)
    if kind is None:
        raise InvalidRequest(
            f"unknown parameter '{name}'", hint=f"known are {', '.join(sorted(_TYPES))}"
        )
    if kind is list:
        return _texts(name, value)
    if kind is bool:
        if isinstance(value, str) and value.lower() in _BOOLEANS:
            return _BOOLEANS[value.lower()]
        return value if isinstance(value, bool) else _refuse(name, kind)
    return _number(name, kind, value)


def _texts(name: str, value: Any) -> list[str]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list | tuple):
        _refuse(name, list)
    if not all(isinstance(one, str) for one in values):
        raise InvalidRequest(f'option "{name}" must be of an array of strings')
    return list(values)


def _number(name: str, kind: type, value: Any) -> int | float:
    """A whole number may come as 2.9, which Ollama cuts, or as text."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return _refuse(name, kind)
    try:
        if kind is int:
            return int(value)
        number = float(value)
    except (ValueError, OverflowError):
        return _refuse(name, kind)
    return number if abs(number) < 3.4e38 else _refuse(name, kind)


def _refuse(name: str, kind: type) -> NoReturn:
    raise InvalidRequest(f'option "{name}" must be of type {_TYPE_NAMES[kind]}')
