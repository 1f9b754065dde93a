"""All notebooks as pages of one book."""

import shutil
from pathlib import Path

import pytest

from toolkit import paths
from toolkit.cli import run
from toolkit.errors import UsageError

DATA = Path(__file__).parent / "data"


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that the notebooks come from."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    monkeypatch.setattr(paths, "notebooks", lambda: folder)
    return folder


def test_it_has_a_page_for_each(shelf: Path, tmp_path: Path) -> None:
    shutil.copy(DATA / "typed.ipynb", shelf / "1_typed.ipynb")
    shutil.copy(DATA / "typed.ipynb", shelf / "2_again.ipynb")
    out = tmp_path / "book"
    assert run(["notebook", "book", "--out", str(out)]) == 0
    index = (out / "index.html").read_text()
    for name in ("1_typed", "2_again"):
        assert f'href="{name}.html"' in index
        assert "default-src 'none'" in (out / f"{name}.html").read_text()
        assert (out / name / "result.json").exists()


def test_it_ends_with_the_first_that_fails(
    shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(DATA / "raises.ipynb", shelf / "1_raises.ipynb")
    shutil.copy(DATA / "typed.ipynb", shelf / "2_typed.ipynb")
    out = tmp_path / "book"
    assert run(["notebook", "book", "--out", str(out)]) == UsageError.exit_code
    assert "error: UsageError" in capsys.readouterr().err
    assert not (out / "1_raises.html").exists() and not (out / "2_typed").exists()


def test_a_run_leaves_a_page_of_its_own(tmp_path: Path) -> None:
    argv = ["notebook", "run", str(DATA / "typed.ipynb"), "--out", str(tmp_path), "--html"]
    assert run(argv) == 0
    assert 'class="highlight' in (tmp_path / "typed.html").read_text()
