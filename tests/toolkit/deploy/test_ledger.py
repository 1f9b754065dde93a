"""The ledger against a model of it, with programs that die between any two steps."""

import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from toolkit.deploy.base import Intent, State
from toolkit.deploy.ledger import SCHEMA_VERSION, Ledger
from toolkit.errors import ConfigError

NAMES = st.sampled_from(["a", "b", "c"])


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.db")


def test_a_row_is_there_for_others_before_open_returns(ledger: Ledger) -> None:
    record = ledger.open(Intent(name="mine"), sdl="x", run_id="run-1")
    seen = Ledger(ledger.path).find("mine")
    assert seen == record
    assert (seen.state, seen.run_id, seen.is_open) == (State.OPENING, "run-1", True)


def test_one_open_row_per_name(ledger: Ledger) -> None:
    first = ledger.open(Intent(name="mine"), sdl="x")
    with pytest.raises(ConfigError, match="open already"):
        ledger.open(Intent(name="mine"), sdl="y")
    ledger.move(first.uid, State.CLOSING)
    ledger.move(first.uid, State.CLOSED)
    second = ledger.open(Intent(name="mine"), sdl="y")
    assert ledger.find("mine") == second
    assert ledger.latest("mine") == second
    assert [record.uid for record in ledger.records()] == [first.uid, second.uid]


def test_notes_add_up_and_the_first_error_stays(ledger: Ledger) -> None:
    uid = ledger.open(Intent(name="mine"), sdl="x").uid
    ledger.note(uid, url="http://127.0.0.1:1", handle={"port": 1})
    ledger.note(uid, handle={"pid": 7, "started_at": 1.5})
    ledger.move(uid, State.CLOSING, error="first")
    record = ledger.move(uid, State.CLOSED, error="second")
    assert record.handle == {"port": 1, "pid": 7, "started_at": 1.5}
    assert (record.url, record.error) == ("http://127.0.0.1:1", "first")
    assert record.closed_at is not None
    what = [event.what for event in ledger.events(uid)]
    assert what == ["opening", "noted", "noted", "closing", "closed"]


def test_nothing_comes_back_from_closed(ledger: Ledger) -> None:
    uid = ledger.open(Intent(name="mine"), sdl="x").uid
    with pytest.raises(ValueError, match="cannot become closed"):
        ledger.move(uid, State.CLOSED)
    ledger.move(uid, State.CLOSING)
    ledger.move(uid, State.CLOSED)
    assert ledger.move(uid, State.CLOSING).state is State.CLOSED
    with pytest.raises(ValueError, match="closed cannot become ready"):
        ledger.move(uid, State.READY)


def test_only_rows_of_a_run(ledger: Ledger) -> None:
    ledger.open(Intent(name="a"), sdl="x", run_id="one")
    ledger.open(Intent(name="b"), sdl="x")
    assert [record.name for record in ledger.open_records(run_id="one")] == ["a"]
    assert [record.name for record in ledger.open_records()] == ["a", "b"]


def test_looking_makes_no_file(ledger: Ledger) -> None:
    assert ledger.open_records() == []
    assert ledger.find("mine") is None
    assert not ledger.path.exists()


def test_only_its_owner_may_read_it(ledger: Ledger) -> None:
    ledger.open(Intent(name="mine"), sdl="x")
    assert stat.S_IMODE(ledger.path.stat().st_mode) == 0o600


def test_a_newer_ledger_is_left_alone(ledger: Ledger) -> None:
    ledger.open(Intent(name="mine"), sdl="x")
    with sqlite3.connect(ledger.path) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    db.close()
    with pytest.raises(ConfigError, match="newer"):
        ledger.records()


def test_a_damaged_ledger_is_one_clear_error(ledger: Ledger) -> None:
    ledger.path.write_bytes(b"this is no database, whatever its name may say" * 40)
    with pytest.raises(ConfigError, match="cannot be used"):
        ledger.open(Intent(name="mine"), sdl="x")


OPEN_TEN = """
import sys
from pathlib import Path
from toolkit.deploy.base import Intent
from toolkit.deploy.ledger import Ledger
for number in range(10):
    Ledger(Path(sys.argv[1])).open(Intent(name=f"{sys.argv[2]}{number}"), sdl="x")
"""


def test_programs_write_at_once_and_nothing_is_lost(ledger: Ledger) -> None:
    argv = [sys.executable, "-c", OPEN_TEN, str(ledger.path)]
    writers = [subprocess.Popen([*argv, prefix]) for prefix in "abc"]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert len(ledger.open_records()) == 30


class LedgerMachine(RuleBasedStateMachine):
    """Any order of openings, notes, steps and crashes, next to a dictionary of the truth."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.path = Path(self._folder.name) / "ledger.db"
        self.ledger = Ledger(self.path)
        self.truth: dict[str, tuple[str, State]] = {}
        self.closed = 0

    def teardown(self) -> None:
        self._folder.cleanup()

    @rule(name=NAMES)
    def open(self, name: str) -> None:
        if name in self.truth:
            with pytest.raises(ConfigError):
                self.ledger.open(Intent(name=name), sdl="x")
        else:
            self.truth[name] = (self.ledger.open(Intent(name=name), sdl="x").uid, State.OPENING)

    @rule(name=NAMES, state=st.sampled_from([State.READY, State.CLOSING, State.CLOSED]))
    def move(self, name: str, state: State) -> None:
        if name not in self.truth:
            return
        uid, now = self.truth[name]
        allowed = {
            State.OPENING: {State.READY, State.CLOSING},
            State.READY: {State.READY, State.CLOSING},
            State.CLOSING: {State.CLOSING, State.CLOSED},
        }[now]
        if state not in allowed:
            with pytest.raises(ValueError, match="cannot become"):
                self.ledger.move(uid, state)
        elif self.ledger.move(uid, state).state is State.CLOSED:
            del self.truth[name]
            self.closed += 1
        else:
            self.truth[name] = (uid, state)

    @rule(name=NAMES)
    def die_within_a_write(self, name: str) -> None:
        """What a program does whose transaction never came to its end."""
        if not self.path.exists():
            return
        db = sqlite3.connect(self.path, isolation_level=None)
        db.execute("BEGIN IMMEDIATE")
        db.execute("UPDATE deployments SET state = 'closed' WHERE name = ?", (name,))
        db.close()

    @rule()
    def start_again(self) -> None:
        self.ledger = Ledger(self.path)

    @invariant()
    def the_ledger_is_the_truth(self) -> None:
        rows = {r.name: (r.uid, r.state) for r in self.ledger.open_records()}
        assert rows == self.truth
        assert sum(not r.is_open for r in self.ledger.records()) == self.closed


LedgerMachine.TestCase.settings = settings(
    max_examples=int(os.environ.get("LEDGER_EXAMPLES", "15")), stateful_step_count=15, deadline=None
)
TestLedgerMachine = LedgerMachine.TestCase
