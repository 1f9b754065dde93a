"""How many threads a runner takes."""

import os
from pathlib import Path

import psutil
import pytest

from server.engine import cpu


def test_the_default_is_within_what_this_process_may_use() -> None:
    assert 1 <= cpu.default_threads() <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("max 100000", 8), ("150000 100000", 2), ("50000 100000", 1), ("junk", 8), ("", 8)],
)
def test_the_limit_of_the_cgroup_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, expected: int
) -> None:
    (tmp_path / "cpu.max").write_text(limit)
    monkeypatch.setattr(cpu, "_CGROUP_V2", tmp_path / "cpu.max")
    monkeypatch.setattr(cpu, "_CGROUP_V1", tmp_path / "none")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(16)))
    monkeypatch.setattr(psutil, "cpu_count", lambda **_kwargs: 8)
    assert cpu.default_threads() == expected
