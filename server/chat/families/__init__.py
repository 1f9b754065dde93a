"""Which family a model belongs to. A new one is a module here and its name in `_FAMILIES`."""

import importlib
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from server.chat.family import Family
from server.chat.reasoning import Tags

# The first whose sign is found counts; the last reads calls of models that have no form.
_FAMILIES = (
    "harmony",
    "mistral_named",
    "mistral",
    "deepseek",
    "deepseek_v31",
    "function_gemma",
    "gemma4",
    "qwen_coder",
    "glm",
    "nemotron",
    "phi",
    "granite",
    "command_a",
    "command_r",
    "hermes",
    "llama_pythonic",
    "llama",
    "gemma",
    "generic",
)

_TAGS: tuple[Tags, ...] = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<unused94>thought\n", "<unused95>"),
    ("<|channel>thought\n", "<channel|>"),
    ("<reasoning>", "</reasoning>"),
    ("<thought>", "</thought>"),
    ("Here is my thought process:", "Here is my response:"),
)


def family_of(template: str | None, control_tokens: Sequence[str]) -> Family:
    """The family that a chat template speaks for; without one, the control tokens do."""
    text = template if template is not None else "\n".join(control_tokens)
    family = next(f for f in _all() if not f.signs or any(sign in text for sign in f.signs))
    if family.is_harmony:
        return replace(family, markers=_known(family.marks, control_tokens))
    thinking = tuple(tags for tags in _TAGS if any(tag.strip() in text for tag in tags))
    thinking = thinking or family.thinking or _TAGS[:1]
    marks = tuple(dict.fromkeys((*family.marks, *_tags_alone(thinking))))
    return replace(family, thinking=thinking, marks=marks, markers=_known(marks, control_tokens))


@lru_cache(maxsize=1)
def _all() -> tuple[Family, ...]:
    modules = (importlib.import_module(f"server.chat.families.{name}") for name in _FAMILIES)
    return tuple(module.FAMILY for module in modules)


def _tags_alone(thinking: Sequence[Tags]) -> list[str]:
    """The tags without the words behind them, as tokens would be."""
    return [
        tag.partition(">")[0] + ">" if tag[0] == "<" else tag for pair in thinking for tag in pair
    ]


def _known(marks: Sequence[str], control_tokens: Sequence[str]) -> tuple[str, ...]:
    known = frozenset(control_tokens)
    return tuple(mark for mark in marks if mark in known)
