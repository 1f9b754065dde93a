"""Keys in the state file: what is kept, who sees changes, and what a kill leaves."""

import multiprocessing
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from server import grants
from server.caller import Caller
from server.errors import InvalidRequest, NotFound, ServerError
from server.grants import Grant, Limits, Terms
from server.keychain import LOOK_EVERY_S, Keychain
from server.keys import KeyDigest, Scope, digest, generate_key
from server.keystore import Change, KeyStore, KeyWatch
from server.state import State

TERMS = Terms(models=("m*",), limits=Limits(parallel=2, num_ctx=64))


class Clock:
    """Time that stands still unless it is told to pass."""

    def __init__(self) -> None:
        self.passed_s = 0.0

    def __call__(self) -> float:
        return self.passed_s

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.passed_s)


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / "state")


@pytest.fixture
def store(state: State) -> KeyStore:
    return KeyStore(state)


def chain(state: State, clock: Clock, *fixed: Grant, may_open: bool = True) -> Keychain:
    return Keychain(fixed, KeyWatch(state), may_open=may_open, now=clock.now, clock=clock)


def name_of(caller: Caller | None) -> str | None:
    return caller.name if caller else None


def test_the_key_itself_is_nowhere(state: State, store: KeyStore) -> None:
    key = store.create("ann", Scope.INFERENCE, TERMS)
    for file in state.path.parent.iterdir():
        assert key.encode() not in file.read_bytes()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(state.path.parent.stat().st_mode) == 0o700
    (grant,) = store.list()
    assert grant.key == KeyDigest("ann", Scope.INFERENCE, digest(key))
    assert grant.terms == TERMS and grant.revoked_at is None


def test_a_name_is_never_given_twice(store: KeyStore) -> None:
    store.create("ann", Scope.READ, Terms())
    store.revoke("ann")
    with pytest.raises(InvalidRequest, match="taken"):
        store.create("ann", Scope.READ, Terms())
    for action in (store.revoke, lambda name: store.change(name, Change())):
        for name in ("ann", "bob"):
            with pytest.raises(NotFound):
                action(name)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "x" * 65, "ä", "'; DROP TABLE keys; --"])
def test_names_that_are_none(store: KeyStore, name: str) -> None:
    with pytest.raises(InvalidRequest, match="made of"):
        store.create(name, Scope.READ, Terms())


def test_a_change_touches_what_it_names(store: KeyStore) -> None:
    store.create("ann", Scope.READ, TERMS)
    grant = store.change("ann", Change(limits={"parallel": None, "num_predict": 5}))
    assert grant.terms == Terms(models=("m*",), limits=Limits(num_ctx=64, num_predict=5))
    grant = store.change("ann", Change(models=None, expires_at=datetime(2027, 1, 1, tzinfo=UTC)))
    assert grant.terms.models is None and grant.terms.limits.num_predict == 5
    assert store.change("ann", Change()) == grant == store.list()[0]
    promoted = store.change("ann", Change(scope=Scope.ADMIN))
    assert promoted.key.scope is Scope.ADMIN and promoted.terms == grant.terms


@pytest.mark.parametrize(
    "change",
    [
        Change(limits={"paralel": 1}),
        Change(limits={"parallel": 0}),
        Change(models=("a b",)),
        Change(expires_at=datetime(2027, 1, 1)),  # noqa: DTZ001 - that is the mistake
    ],
)
def test_a_change_that_makes_no_sense_changes_nothing(store: KeyStore, change: Change) -> None:
    store.create("ann", Scope.READ, TERMS)
    with pytest.raises(InvalidRequest):
        store.change("ann", change)
    assert store.list()[0].terms == TERMS


def test_a_running_server_sees_what_others_do(state: State, store: KeyStore) -> None:
    clock = Clock()
    keys = chain(state, clock)
    assert keys.is_open
    key = store.create("ann", Scope.INFERENCE, TERMS)
    clock.passed_s += LOOK_EVERY_S
    found = keys.caller(key)
    assert found is not None and (found.name, found.limits) == ("ann", TERMS.limits)
    assert not keys.is_open and keys.caller(generate_key()) is None
    store.change("ann", Change(limits={"parallel": 7}))
    clock.passed_s += LOOK_EVERY_S
    found = keys.caller(key)
    assert found is not None and found.limits.parallel == 7
    store.revoke("ann")
    clock.passed_s += LOOK_EVERY_S
    assert keys.caller(key) is None
    assert not keys.is_open  # revoking the last key does not open a server
    keys.close()


def test_expiry_needs_no_look(state: State, store: KeyStore) -> None:
    clock = Clock()
    terms = Terms(expires_at=clock.now() + timedelta(seconds=LOOK_EVERY_S / 2))
    key = store.create("ann", Scope.READ, terms)
    keys = chain(state, clock)
    assert name_of(keys.caller(key)) == "ann"
    clock.passed_s += LOOK_EVERY_S / 2
    assert keys.caller(key) is None
    keys.close()


def test_keys_of_the_environment_win_and_stay(state: State, store: KeyStore) -> None:
    clock, mine = Clock(), generate_key()
    fixed = Grant(key=KeyDigest("ann", Scope.ADMIN, digest(mine)))
    theirs = store.create("ann", Scope.READ, Terms())
    keys = chain(state, clock, fixed)
    assert keys.caller(theirs) is None
    found = keys.caller(mine)
    assert found is not None and found.scope is Scope.ADMIN
    keys.close()


def test_a_file_that_is_lost_takes_its_keys_along_and_opens_nothing(
    state: State, store: KeyStore
) -> None:
    clock = Clock()
    key = store.create("ann", Scope.READ, Terms())
    keys = chain(state, clock)
    for file in state.path.parent.iterdir():
        file.unlink()
    clock.passed_s += LOOK_EVERY_S
    assert keys.caller(key) is None and not keys.is_open
    again = store.create("bob", Scope.READ, Terms())
    clock.passed_s += LOOK_EVERY_S
    assert name_of(keys.caller(again)) == "bob"
    keys.close()


def test_a_file_that_breaks_leaves_the_keys_as_they_were(
    state: State, store: KeyStore, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    key = store.create("ann", Scope.READ, Terms())
    keys = chain(state, clock)
    with state.writing() as db:
        db.execute("UPDATE keys SET terms = '{\"limit\": 1}'")
    for _ in range(3):
        clock.passed_s += LOOK_EVERY_S
        assert name_of(keys.caller(key)) == "ann"
    assert [record.message for record in caplog.records if "cannot be read" in record.message] == [
        "keys cannot be read and stay as they are: the stored key 'ann' cannot be read: "
        "Object contains unknown field `limit`"
    ]
    with pytest.raises(ServerError, match="'ann' cannot be read"):
        chain(state, clock)
    keys.close()


def test_a_file_of_a_newer_version_is_left_alone(state: State, store: KeyStore) -> None:
    store.create("ann", Scope.READ, Terms())
    db = sqlite3.connect(state.path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(ServerError, match="newer"):
        store.list()


def _create(folder: str, number: int) -> str:
    return KeyStore(State(Path(folder))).create(f"key-{number}", Scope.READ, Terms())


def test_processes_that_start_and_make_keys_at_once(state: State) -> None:
    folder = str(state.path.parent)
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        made = pool.starmap(_create, [(folder, number) for number in range(24)])
    keys = chain(state, Clock())
    assert {name_of(keys.caller(key)) for key in made} == {f"key-{n}" for n in range(24)}
    keys.close()


def test_a_kill_leaves_every_key_that_was_told(state: State) -> None:
    """A process makes keys and tells each; wherever it is killed, those are there."""
    code = (
        "import sys; from pathlib import Path\n"
        "from server.grants import Terms; from server.keys import Scope\n"
        "from server.keystore import KeyStore; from server.state import State\n"
        "store = KeyStore(State(Path(sys.argv[1])))\n"
        "for n in range(10**6):\n"
        "    print(store.create(f'k{n}', Scope.READ, Terms()), flush=True)\n"
    )
    command = [sys.executable, "-c", code, str(state.path.parent)]
    told = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(5):
            told.append(process.stdout.readline().strip())
        os.kill(process.pid, signal.SIGKILL)
        told += [line.strip() for line in process.stdout if line.endswith("\n")]
    keys = chain(state, Clock())
    names = [name_of(keys.caller(key)) for key in told]
    assert names == [f"k{n}" for n in range(len(told))]
    keys.close()


def test_threads_may_share_a_store(store: KeyStore) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: store.create(f"k{n}", Scope.READ, Terms()), range(12)))
    assert len(store.list()) == 12
    assert all(grant.is_valid(grants.now()) for grant in store.list())
