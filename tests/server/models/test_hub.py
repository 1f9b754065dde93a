"""Files of Hugging Face by their path, from a stand-in for it, and without its library."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from server.errors import InvalidRequest, Unsupported
from server.models.hub import Hub, HubFile
from server.models.name import InvalidModelName
from server.models.patience import Patience
from server.models.store import Store
from tests.support.gguf_files import write_model
from tests.support.hub_stand_in import REPO, TOKEN, HubStandIn
from tests.support.serving import ROOT
from tests.support.tiny_split import write_tiny_split


def pull(stand_in: HubStandIn, home: Path, file: str, **env: str) -> tuple[int, list[Any], str]:
    """Pull with the command line: its code, its lines of JSON, its error."""
    ours = {
        "AKASH_LLM_HOME": str(home),
        "HF_ENDPOINT": stand_in.url,
        "HF_HOME": str(home / "hf"),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    done = subprocess.run(
        [sys.executable, "-m", "toolkit", "models", "pull", f"hf://{REPO}/{file}", "--json"],
        env={**os.environ, **ours, **env},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def test_file_is_pulled(akash_home: Path, tmp_path: Path) -> None:
    weights = write_model(tmp_path / "w.gguf").read_bytes()
    with HubStandIn({"deep/Model-Q4_1.gguf": weights}) as stand_in:
        code, told, error = pull(stand_in, akash_home, "deep/Model-Q4_1.gguf")
    assert code == 0, error
    assert told[-1]["name"] == f"hf.co/{REPO}:Model-Q4_1"
    statuses = [line["status"] for line in told[:-1]]
    assert statuses[0] == "pulling manifest" and statuses[-1] == "success"
    model = Store(akash_home / "models").get(f"hf.co/{REPO}:model-q4_1")
    assert model.check()[0].read_bytes() == weights


def test_split_weights_are_pulled_by_their_first_part(akash_home: Path, tmp_path: Path) -> None:
    files = {path.name: path.read_bytes() for path in write_tiny_split(tmp_path)}
    with HubStandIn(files) as stand_in:
        code, told, error = pull(stand_in, akash_home, "tiny-00001-of-00003.gguf")
        assert code == 0, error
        assert (told[-1]["name"], told[-1]["problem"]) == (f"hf.co/{REPO}:tiny", None)
        del files["tiny-00003-of-00003.gguf"]
        code, _, error = pull(stand_in, akash_home, "tiny-00001-of-00003.gguf")
    assert code == 2
    assert f"{REPO} has no file tiny-00003-of-00003.gguf" in error


def test_token_goes_to_hugging_face_only(akash_home: Path, tmp_path: Path) -> None:
    files = {"w.gguf": write_model(tmp_path / "w.gguf").read_bytes()}
    with HubStandIn(files, is_gated=True) as stand_in:
        code, _, error = pull(stand_in, akash_home, "w.gguf")
        assert code == 3
        assert "it answered 403" in error and "hf auth login" in error
        stand_in.seen.clear()
        code, _, error = pull(stand_in, akash_home, "w.gguf", HF_TOKEN=TOKEN)
        assert code == 0, error
    assert {token for path, token in stand_in.seen if path.startswith("/cdn/")} == {""}
    assert {token for path, token in stand_in.seen if REPO in path} == {f"Bearer {TOKEN}"}


def test_repository_that_is_not_there(akash_home: Path) -> None:
    with HubStandIn({}) as stand_in:
        code, _, error = pull(stand_in, akash_home, "x.gguf@other")
    assert code == 2
    assert f"Hugging Face has no {REPO}" in error


def test_part_that_is_no_model_is_not_listed(akash_home: Path) -> None:
    with HubStandIn({"x.gguf": b"no model"}) as stand_in:
        code, _, error = pull(stand_in, akash_home, "x.gguf")
    assert code == 3
    assert "is not a GGUF file" in error
    assert Store(akash_home / "models").list() == []


def test_without_its_library_one_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(Unsupported, match="huggingface_hub") as caught:
        Hub(Patience())
    assert "pip install" in caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "hf://",
        "hf://user/m.gguf",
        "hf://user/repo/m.bin",
        "hf://user/repo/../../m.gguf",
        "hf://user/repo/m.gguf@a b",
        "hf://user/repo/m.gguf?x=1",
        "hf://user/re po/m.gguf",
    ],
)
def test_what_names_no_file_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="names no file"):
        HubFile.parse(text)


def test_names_of_files() -> None:
    file = HubFile.parse("hf://user/repo/a/b-00002-of-00003.gguf@v1.0")
    assert (file.repo, file.revision) == ("user/repo", "v1.0")
    assert file.name.display() == "hf.co/user/repo:b"
    assert file.paths == [f"a/b-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    with pytest.raises(InvalidModelName):
        _ = HubFile.parse(f"hf://user/repo/{'x' * 90}.gguf").name
