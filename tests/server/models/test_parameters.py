"""Parameters of a model: names, types, and what becomes of the old ones."""

from typing import Any

import pytest

from server.errors import InvalidRequest
from server.models.parameters import DEPRECATED, checked, from_lines


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("num_ctx", 4096, 4096),
        ("num_ctx", "4096", 4096),
        ("num_ctx", 4096.7, 4096),
        ("temperature", 1, 1.0),
        ("temperature", "0.5", 0.5),
        ("use_mmap", True, True),
        ("use_mmap", "False", False),
        ("stop", ["a", "b"], ["a", "b"]),
        ("stop", "a", ["a"]),
    ],
)
def test_values_get_their_types(name: str, value: Any, kept: Any) -> None:
    (found,) = checked({name: value})[0].values()
    assert found == kept
    assert type(found) is type(kept)


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("x", 1, "unknown parameter 'x'"),
        ("num_ctx", "many", 'option "num_ctx" must be of type integer'),
        ("num_ctx", True, 'option "num_ctx" must be of type integer'),
        ("num_ctx", float("inf"), 'option "num_ctx" must be of type integer'),
        ("temperature", "nan", 'option "temperature" must be of type float32'),
        ("temperature", [1], 'option "temperature" must be of type float32'),
        ("use_mmap", 1, 'option "use_mmap" must be of type boolean'),
        ("stop", 1, 'option "stop" must be of type array'),
        ("stop", [1], 'option "stop" must be of an array of strings'),
    ],
)
def test_other_values_are_refused(name: str, value: Any, why: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        checked({name: value})
    assert caught.value.message == why


def test_old_names_are_dropped_and_null_is_nothing() -> None:
    kept, dropped = checked({"mirostat": 1, "seed": None, "tfs_z": "x"})
    assert (kept, dropped) == ({}, ["mirostat", "tfs_z"])
    assert len(DEPRECATED) == 15


def test_lines_of_a_modelfile() -> None:
    lines = [("stop", "a"), ("top_k", "1"), ("stop", "b"), ("top_k", "2")]
    assert checked(from_lines(lines))[0] == {"stop": ["a", "b"], "top_k": 2}
