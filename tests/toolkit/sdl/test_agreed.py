"""Agreement with the network's npm package on small files of our own."""

import json
from pathlib import Path

import pytest

from toolkit.sdl import Level, validate

AGREED = Path(__file__).parents[2] / "data" / "sdl" / "agreed"
EXPECTED: dict[str, str | None] = json.loads((AGREED / "expected.json").read_text())


def test_each_file_has_a_verdict() -> None:
    assert {file.stem for file in AGREED.glob("*.yaml")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_verdict_and_hash(name: str) -> None:
    report = validate((AGREED / f"{name}.yaml").read_bytes(), name)
    assert report.hash == EXPECTED[name]
    is_invalid = any(problem.level is Level.INVALID for problem in report.problems)
    assert is_invalid == (EXPECTED[name] is None)


@pytest.mark.parametrize("name", [name for name, hashed in EXPECTED.items() if hashed is None])
def test_a_refusal_says_what_to_do(name: str) -> None:
    report = validate((AGREED / f"{name}.yaml").read_bytes(), name)
    first = report.problems[0]
    assert (first.hint and first.line > 1) or name == "float-version"
