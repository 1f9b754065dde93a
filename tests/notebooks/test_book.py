"""All notebooks as pages of one book."""

import json
import shutil
from pathlib import Path

import nbformat
import pytest

from toolkit import paths
from toolkit.cli import run
from toolkit.deploy.keeper import Keeper
from toolkit.errors import CredentialsError, UsageError

DATA = Path(__file__).parent / "data"
# What a notebook leaves that has ordered something, for an account whose key is gone.
RENTED = nbformat.v4.new_code_cell("""\
import os
from toolkit import paths
from toolkit.deploy.akash.orders import Orders
from toolkit.deploy.base import Intent
from toolkit.deploy.ledger import Ledger
from toolkit.sdl.inputs import RenderInputs
from toolkit.sdl.render import render

ledger, key = Ledger(paths.ledger()), f"owner:admin:{'0' * 64}"
sdl = render(RenderInputs(image="example.org/server:1", keys_text=key))
intent = Intent(name="rented", target="console")
record = ledger.open(intent, sdl=sdl, run_id=os.environ["AKASH_LLM_RUN"])
Orders(ledger).add(record.uid, label="rented", sdl=sdl)
""")


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
    assert run(["notebook", "book", "--out", str(out), "--json"]) == UsageError.exit_code
    said = capsys.readouterr()
    (told,) = [json.loads(line) for line in said.out.splitlines()]
    assert told["status"] == "failed" and said.err.count("error: UsageError") == 1
    assert not (out / "1_raises.html").exists() and not (out / "2_typed").exists()


def test_what_cannot_be_closed_leaves_nothing_else_open(
    shelf: Path,
    tmp_path: Path,
    stocked_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("AKASH_API_KEY", raising=False)
    nbformat.write(nbformat.v4.new_notebook(cells=[RENTED]), shelf / "1_rented.ipynb")
    opens = nbformat.read(DATA / "opens.ipynb", as_version=4)
    opens.cells[0].source = opens.cells[0].source.replace("True", "False")
    nbformat.write(opens, shelf / "2_opens.ipynb")
    out = tmp_path / "book"
    ended = run(["notebook", "book", "--out", str(out)])
    said = capsys.readouterr().err
    assert ended == CredentialsError.exit_code, said
    assert [record.name for record in Keeper().ledger.open_records()] == ["rented"]
    assert {record.name for record in Keeper().ledger.records()} == {"rented", "mine"}
    assert 'href="2_opens.html"' in (out / "index.html").read_text()


def test_a_run_leaves_a_page_of_its_own(tmp_path: Path) -> None:
    argv = ["notebook", "run", str(DATA / "typed.ipynb"), "--out", str(tmp_path), "--html"]
    assert run(argv) == 0
    assert 'class="highlight' in (tmp_path / "typed.html").read_text()
