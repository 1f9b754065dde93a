"""Agreement with what the network's own tools make of the same files.

The reference files do not belong to this repository; without them these tests are skipped.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from toolkit.sdl import Level, parse, validate
from toolkit.sdl.groups import group_specs
from toolkit.sdl.manifest import manifest

REFERENCE = Path(__file__).parents[4] / "shared" / "data" / "sdl"
INDEX = REFERENCE / "index.json"
ROWS: list[dict[str, Any]] = json.loads(INDEX.read_text()) if INDEX.is_file() else []

pytestmark = pytest.mark.skipif(
    not ROWS, reason="the reference files (../shared/data/sdl beside the repository) are missing"
)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row["id"]))
def test_verdict_and_hash(row: dict[str, Any]) -> None:
    report = validate(_input(row), row["id"])
    invalid = [each for each in report.problems if each.level is Level.INVALID]
    assert (not invalid) == row["ok"], row["first_error"]
    assert report.hash == row["manifest_version_hex"]


@pytest.mark.parametrize(
    "row", [each for each in ROWS if each["ok"]], ids=lambda row: str(row["id"])
)
def test_manifest_and_groups(row: dict[str, Any]) -> None:
    sdl = parse(_input(row), row["id"]).sdl
    assert manifest(sdl) == _expected(row)["manifest"]
    assert group_specs(sdl) == _expected(row)["groups"]


@pytest.mark.parametrize(
    "row", [each for each in ROWS if not each["ok"]], ids=lambda row: str(row["id"])
)
def test_problems_stand_where_the_reference_says(row: dict[str, Any]) -> None:
    ours = {each.path for each in validate(_input(row)).problems if each.level is Level.INVALID}
    theirs = {each["instancePath"] for each in _expected(row)["errors"]}
    # One wrong item is reported by them for the item and for every list that could hold it.
    assert any(path in theirs for path in ours)
    assert all(any(_is_near(path, other) for path in ours) for other in theirs)


def _is_near(path: str, other: str) -> bool:
    return path.startswith(other) or other.startswith(path)


def _input(row: dict[str, Any]) -> bytes:
    return (REFERENCE / "inputs" / f"{row['id']}.yaml").read_bytes()


def _expected(row: dict[str, Any]) -> Any:
    return json.loads((REFERENCE / "expected" / f"{row['id']}.json").read_text())
