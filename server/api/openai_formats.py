"""What the output is held to: OpenAI's `response_format`, and vLLM's ways to say more."""

import json
from collections.abc import Sequence
from typing import Any

from server import limits
from server.api import gojson, ollama_fields
from server.api.openai_errors import InvalidField
from server.api.openai_types import GenerationBody, ResponseFormat, StructuredOutputs
from server.engine.types import Grammar
from server.errors import InvalidRequest, PayloadTooLarge


def output_format(body: GenerationBody) -> Grammar | None:
    """The one constraint of a body. Raises `InvalidField` for a wrong one and for two."""
    found = {
        name: grammar
        for name, grammar in (
            ("response_format", _response_format(body.response_format)),
            ("structured_outputs", _structured(body.structured_outputs)),
            ("guided_json", _schema("guided_json", body.guided_json)),
            ("guided_regex", _regex("guided_regex", body.guided_regex)),
            ("guided_choice", _choice("guided_choice", body.guided_choice)),
            ("guided_grammar", _grammar("guided_grammar", body.guided_grammar)),
        )
        if grammar is not None
    }
    return _only(found)


def _only(found: dict[str, Grammar]) -> Grammar | None:
    if len(found) > 1:
        first, second, *_ = found
        raise InvalidField(second, f"{first} and {second} cannot both hold")
    return next(iter(found.values()), None)


def _response_format(value: ResponseFormat | None) -> Grammar | None:
    if value is None or value.type == "text":
        return None
    if value.type == "json_object":
        return _schema("response_format.schema", value.schema) or Grammar("json")
    if value.type != "json_schema":
        raise InvalidField(
            "response_format.type",
            "response_format.type must be 'text', 'json_object' or 'json_schema'",
        )
    where = "response_format.json_schema"
    if value.json_schema is None or value.json_schema.schema is None:
        raise InvalidField(f"{where}.schema", f"{where}.schema is required")
    return _schema(f"{where}.schema", value.json_schema.schema)


def _structured(value: StructuredOutputs | None) -> Grammar | None:
    if value is None:
        return None
    where = "structured_outputs"
    ways = {
        f"{where}.json": _schema(f"{where}.json", value.json),
        f"{where}.json_object": Grammar("json") if value.json_object else None,
        f"{where}.regex": _regex(f"{where}.regex", value.regex),
        f"{where}.choice": _choice(f"{where}.choice", value.choice),
        f"{where}.grammar": _grammar(f"{where}.grammar", value.grammar),
    }
    return _only({name: grammar for name, grammar in ways.items() if grammar is not None})


def _schema(name: str, value: dict[str, Any] | str | None) -> Grammar | None:
    """A JSON schema, as an object or as text."""
    if value is None:
        return None
    schema: Any = value
    if isinstance(value, str):
        _check_length(name, value, limits.MAX_SCHEMA_BYTES)
        try:
            schema = gojson.parse(value.encode())
        except InvalidRequest as error:
            raise InvalidField(name, f"{name}: {error.message}") from None
    if not isinstance(schema, dict):
        raise InvalidField(name, f"{name} must be a JSON schema object")
    return ollama_fields.output_format(schema)


def _regex(name: str, value: str | None) -> Grammar | None:
    if value is None:
        return None
    _check_length(name, value, limits.MAX_PATTERN_LENGTH)
    return Grammar("regex", value)


def _grammar(name: str, value: str | None) -> Grammar | None:
    """A context-free grammar: llama.cpp's notation is known by its `::=`, the other is Lark."""
    if value is None:
        return None
    _check_length(name, value, limits.MAX_PATTERN_LENGTH)
    return Grammar("gbnf" if "::=" in value else "lark", value)


def _choice(name: str, value: Sequence[str] | None) -> Grammar | None:
    """One of these texts, and nothing else."""
    if value is None:
        return None
    if not value or not all(value):
        raise InvalidField(name, f"{name} must have at least one text, and none that is empty")
    _check_length(name, "".join(value), limits.MAX_PATTERN_LENGTH)
    texts = [json.dumps(text, ensure_ascii=False) for text in value]
    return Grammar("lark", "start: " + " | ".join(texts))


def _check_length(name: str, text: str, most: int) -> None:
    if len(text) > most:
        raise PayloadTooLarge(f"{name} is longer than {most} characters")
