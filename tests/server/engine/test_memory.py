"""How much memory models may take on this machine."""

from pathlib import Path

import psutil
import pytest

from server.engine import memory
from server.engine.config import EngineConfig
from tests.support.tiny_llama import write_tiny_llama

GIB = 1 << 30


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the cgroup's limit; the machine has 64 GiB."""
    monkeypatch.setattr(memory, "_CGROUP_V2", tmp_path / "memory.max")
    monkeypatch.setattr(memory, "_CGROUP_V1", tmp_path / "none")
    machine = psutil.virtual_memory()._replace(total=64 * GIB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: machine)
    return tmp_path / "memory.max"


@pytest.mark.parametrize(
    ("limit", "budget"),
    [
        ("max\n", 64 * GIB - 64 * GIB // 10),
        ("9223372036854771712\n", 64 * GIB - 64 * GIB // 10),
        (f"{2 * GIB}\n", 2 * GIB - GIB // 2),
        (f"{GIB // 2}\n", GIB // 4),
        ("junk", 64 * GIB - 64 * GIB // 10),
    ],
)
def test_the_budget_leaves_a_reserve(cgroup: Path, limit: str, budget: int) -> None:
    cgroup.write_text(limit)
    assert memory.default_budget() == budget


def test_without_a_cgroup_the_machine_counts(cgroup: Path) -> None:
    assert memory.default_budget() == 64 * GIB - 64 * GIB // 10


def test_what_a_file_needs(tmp_path: Path) -> None:
    config = EngineConfig(context=256, parallel=1)
    path = write_tiny_llama(tmp_path / "tiny.gguf")
    assert memory.needed(path, config) > path.stat().st_size
    path.write_bytes(b"no model")
    assert memory.needed(path, config) == 0
    assert memory.needed(tmp_path / "nowhere", config) == 0
