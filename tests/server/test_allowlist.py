"""Which models a key may use."""

import pytest

from server.allowlist import MAX_PATTERNS, AllowList
from server.models.name import ModelName


@pytest.mark.parametrize(
    ("patterns", "name", "is_allowed"),
    [
        (None, "anything:1", True),
        ([], "anything:1", False),
        (["m"], "m:latest", True),
        (["m"], "M", True),
        (["M:Latest"], "m", True),
        (["m"], "m:7b", False),
        (["m:7b"], "m", False),
        (["m"], "user/m", False),
        (["library/m"], "m", True),
        (["registry.ollama.ai/library/m"], "m", True),
        (["m*"], "m:7b", True),
        (["M*"], "mistral:7b", True),
        (["m:*"], "mistral:7b", False),
        (["m:*"], "m:7b", True),
        (["m*"], "mallory.example/x/y", False),
        (["m*"], "mallory/x", False),
        (["user/*"], "user/m:7b", True),
        (["user/*"], "m", False),
        (["hf.co/*"], "hf.co/org/model:q4", True),
        (["registry.ollama.ai/*"], "m", True),
        (["registry.ollama.ai/*"], "hf.co/org/model", False),
        (["*"], "hf.co/org/model", True),
        (["a", "b*"], "bee", True),
        (["a", "b*"], "c", False),
    ],
)
def test_allowed(patterns: list[str] | None, name: str, is_allowed: bool) -> None:
    assert AllowList.of(patterns).allows(ModelName.parse(name)) is is_allowed


@pytest.mark.parametrize("pattern", ["", "a b", "../x", "a*b*", "**", "x" * 700 + "*"])
def test_a_pattern_that_can_name_nothing(pattern: str) -> None:
    with pytest.raises(ValueError, match="name"):
        AllowList.of([pattern])


def test_too_many() -> None:
    with pytest.raises(ValueError, match="256"):
        AllowList.of([f"m{i}" for i in range(MAX_PATTERNS + 1)])
