"""A server that starts removes what no model needs, unless it is told not to."""

import os
import time
from pathlib import Path

import pytest

from server.models.store import Store
from tests.support.ports import free_port
from tests.support.serving import Serving, write_gguf

DAYS_AGO = time.time() - 3 * 86400


@pytest.mark.parametrize(("prune", "is_there"), [("on", False), ("off", True)])
def test_only_what_nobody_needs_goes(tmp_path: Path, prune: str, is_there: bool) -> None:
    store = Store(tmp_path / "models")
    weights, _ = store.add_file("m", write_gguf(tmp_path / "m.gguf")).check()
    lost = store.blobs.folder / f"sha256-{'0' * 64}"
    lost.write_bytes(b"lost")
    for path in (weights, lost):
        os.utime(path, (DAYS_AGO, DAYS_AGO))
    args = ["--models", str(store.root), "--prune", prune]
    with Serving(tmp_path, free_port(), args=args) as server:
        if not is_there:
            _wait_until_gone(lost, server)
        assert lost.exists() is is_there and weights.exists()


def _wait_until_gone(path: Path, server: Serving) -> None:
    deadline = time.monotonic() + 60
    while path.exists():
        assert time.monotonic() < deadline, server.log.read_text()
        time.sleep(0.02)
