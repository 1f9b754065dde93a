"""`akash-llm keys` on a state folder, through the command line. Over HTTP: see the server's
tests of the admin routes."""

import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from server.keys import digest, read_key_file
from server.keystore import KeyStore
from server.state import State
from server.usage import Counts, Place, UsageFile
from toolkit.cli import run

Output = pytest.CaptureFixture[str]


def keys(*arguments: object) -> int:
    return run(["keys", *map(str, arguments)])


def rows(capsys: Output) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_new_list_revoke(akash_home: Path, capsys: Output) -> None:
    assert keys("list") == 0
    assert capsys.readouterr().out == "no keys\n"
    assert not (akash_home / "state").exists()  # looking makes nothing
    assert keys("new", "ann", "--model", "m*", "--model", "n", "--parallel", 2) == 0
    said = capsys.readouterr()
    key = said.out.strip()
    assert "shown once" in said.err and key not in said.err
    (grant,) = KeyStore(State(akash_home / "state")).list()
    assert grant.key.sha256 == digest(key)
    assert keys("list") == 0
    head, line = capsys.readouterr().out.splitlines()
    assert head.split() == ["NAME", "SCOPE", "MODELS", "LIMITS", "EXPIRES_AT", "REVOKED_AT"]
    assert line.split() == ["ann", "inference", "m*,n", "parallel=2", "-", "-"]
    assert keys("revoke", "ann") == 0
    assert capsys.readouterr().out == "ann is revoked\n"
    assert keys("list", "--json") == 0
    (row,) = rows(capsys)
    assert row["revoked_at"] and key not in str(row) and digest(key) not in str(row)


def test_all_terms(tmp_path: Path, capsys: Output) -> None:
    limits = {
        "requests_per_minute": 1,
        "tokens_per_minute": 2,
        "parallel": 3,
        "num_predict": 4,
        "num_ctx": 5,
    }
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in limits.items()]
    where = ("--state", tmp_path / "s", "--json")
    assert keys("new", "ann", "--scope", "read", "--days", "2", *flags, *where) == 0
    (made,) = rows(capsys)
    assert (made["name"], made["scope"]) == ("ann", "read") and made["key"].startswith("ak-")
    assert keys("list", *where) == 0
    (row,) = rows(capsys)
    assert row["limits"] == limits and row["models"] is None
    left = datetime.fromisoformat(row["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=1, hours=23) < left <= timedelta(days=2)


def test_change(tmp_path: Path, capsys: Output) -> None:
    where = ("--state", tmp_path / "s")
    assert keys("new", "ann", "--model", "m", "--parallel", 2, "--num-ctx", 9, *where) == 0
    capsys.readouterr()
    terms = ("--parallel", "none", "--num-predict", 7, "--days", 3)
    assert keys("change", "ann", "--scope", "read", *terms, *where) == 0
    head, line = capsys.readouterr().out.splitlines()
    assert head.split() == ["NAME", "SCOPE", "MODELS", "LIMITS", "EXPIRES_AT", "REVOKED_AT"]
    assert line.split()[:4] == ["ann", "read", "m", "num_predict=7,num_ctx=9"]
    assert keys("change", "ann", "--model", "n*", "--model", "o", *where, "--json") == 0
    (row,) = rows(capsys)
    assert row["models"] == ["n*", "o"] and row["scope"] == "read"
    left = datetime.fromisoformat(row["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=2, hours=23) < left <= timedelta(days=3)
    assert keys("change", "ann", "--every-model", "--days", "none", *where, "--json") == 0
    (again,) = rows(capsys)
    assert again == {**row, "models": None, "expires_at": None}
    assert keys("list", *where, "--json") == 0 and rows(capsys) == [again]
    assert keys("change", "ann", "--num-ctx", 3, *where) == 2
    assert keys("list", *where, "--json") == 0 and rows(capsys) == [again]


def test_a_key_into_a_file(akash_home: Path, tmp_path: Path, capsys: Output) -> None:
    path = tmp_path / "ann.key"
    assert keys("new", "ann", "--out", path, "--json") == 0
    (told,) = rows(capsys)
    assert told == {"name": "ann", "scope": "inference", "key_file": str(path)}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (grant,) = KeyStore(State(akash_home / "state")).list()
    assert grant.key.sha256 == digest(read_key_file(path))


def test_usage(akash_home: Path, capsys: Output) -> None:
    file = UsageFile(State(akash_home / "state"))
    days = [datetime(2026, 1, day, tzinfo=UTC).date() for day in (1, 2)]
    file.add({Place("ann", "m:latest", day): Counts(requests=2, seconds=0.5) for day in days})
    file.add({Place("bob", "n:latest", days[0]): Counts(requests=7)})
    assert keys("show-usage", "--since", "2026-01-02", "--json") == 0
    (row,) = rows(capsys)
    assert (row["key"], row["day"], row["requests"]) == ("ann", "2026-01-02", 2)
    assert keys("show-usage", "--model", "N") == 0
    head, line = capsys.readouterr().out.splitlines()
    assert head.split()[:4] == ["DAY", "KEY", "MODEL", "REQUESTS"]
    assert line.split() == ["2026-01-01", "bob", "n:latest", "7", "0", "0", "0", "0.0"]
    assert keys("show-usage", "--key", "nobody") == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["new", "a b"], 2, "made of"),
        (["new", "ann", "--model", "a b"], 2, "invalid"),
        (["new", "ann", "--parallel", "0"], 2, "--parallel"),
        (["new", "ann", "--scope", "root"], 2, "--scope"),
        (["revoke", "nobody"], 2, "no key is called 'nobody'"),
        (["change", "nobody", "--parallel", "1"], 2, "no key is called 'nobody'"),
        (["change", "ann"], 2, "Say what is to be changed"),
        (["change", "ann", "--parallel", "0"], 2, "--parallel"),
        (["change", "ann", "--parallel", "many"], 2, "--parallel"),
        (["change", "ann", "--days", "0"], 2, "--days"),
        (["change", "ann", "--scope", "root"], 2, "--scope"),
        (["change", "ann", "--model", "m", "--every-model"], 2, "either --model or"),
        (["show-usage", "--since", "today"], 2, "2026-01-31"),
        (["list", "--state", "s", "--endpoint", "e"], 2, "one of --state"),
        (["list", "--key-file", "f"], 2, "--url"),
        (["list", "--url", "http://192.0.2.1", "--key-file", "no.key"], 4, "no.key"),
        (["list", "--endpoint", "nope"], 2, "nope"),
    ],
)
def test_what_makes_no_sense(
    akash_home: Path, capsys: Output, arguments: list[str], code: int, text: str
) -> None:
    assert keys(*arguments) == code
    assert text in capsys.readouterr().err


def test_a_folder_that_cannot_be_used(tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "file").write_text("")
    assert keys("new", "ann", "--state", tmp_path / "file" / "s") == 3
    assert "AKASH_LLM_STATE" in capsys.readouterr().err


def test_a_name_of_a_model_cannot_steer_the_terminal(akash_home: Path, capsys: Output) -> None:
    file = UsageFile(State(akash_home / "state"))
    day = datetime(2026, 1, 1, tzinfo=UTC).date()
    file.add({Place("ann", "\x1b[2Jm", day): Counts(requests=1)})
    assert keys("show-usage") == 0 and keys("show-usage", "--json") == 0
    assert "\x1b" not in capsys.readouterr().out
