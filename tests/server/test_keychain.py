"""A running server's keys against a plain model of what they should be, whatever is done in
whatever order by whomever."""

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

from server.grants import Limits, Terms
from server.keychain import LOOK_EVERY_S, Keychain
from server.keys import Scope
from server.keystore import Change, KeyStore, KeyWatch
from server.state import State

START = datetime(2026, 1, 1, tzinfo=UTC)
LIVES = st.none() | st.floats(0, 20, allow_nan=False)


class Known:
    """What a key should be."""

    def __init__(self, name: str, expires_at: datetime | None) -> None:
        self.name = name
        self.expires_at = expires_at
        self.parallel: int | None = None
        self.is_revoked = False

    def is_valid(self, now: datetime) -> bool:
        return not self.is_revoked and (self.expires_at is None or now < self.expires_at)


class Keys(RuleBasedStateMachine):
    """Every change is made by another store than the one that the server looks at."""

    made = Bundle("made")

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.passed_s = 0.0
        self.known: dict[str, Known] = {}
        state = State(Path(self.folder.name))
        self.store = KeyStore(State(Path(self.folder.name)))
        self.keys = Keychain(
            (), KeyWatch(state), may_open=True, now=self.now, clock=lambda: self.passed_s
        )

    def now(self) -> datetime:
        return START + timedelta(seconds=self.passed_s)

    @rule(target=made, lives_s=LIVES)
    def create(self, lives_s: float | None) -> str:
        name = f"k{len(self.known)}"
        expires_at = None if lives_s is None else self.now() + timedelta(seconds=lives_s)
        key = self.store.create(name, Scope.READ, Terms(expires_at=expires_at))
        self.known[key] = Known(name, expires_at)
        return key

    @rule(key=made)
    def revoke(self, key: str) -> None:
        known = self.known[key]
        if not known.is_revoked:
            self.store.revoke(known.name)
            known.is_revoked = True

    @rule(key=made, parallel=st.none() | st.integers(1, 9), lives_s=LIVES)
    def change(self, key: str, parallel: int | None, lives_s: float | None) -> None:
        known = self.known[key]
        if known.is_revoked:
            return
        known.parallel = parallel
        known.expires_at = None if lives_s is None else self.now() + timedelta(seconds=lives_s)
        change = Change(limits={"parallel": parallel}, expires_at=known.expires_at)
        self.store.change(known.name, change)

    @rule(seconds=st.floats(0, 10, allow_nan=False))
    def wait(self, seconds: float) -> None:
        self.passed_s += seconds

    @invariant()
    def the_server_knows_it_half_a_second_later(self) -> None:
        self.passed_s += LOOK_EVERY_S + 1e-6  # sums of floats may fall short
        assert self.keys.is_open == (not self.known)
        for key, known in self.known.items():
            caller = self.keys.caller(key)
            assert (caller is not None) == known.is_valid(self.now())
            if caller is not None:
                assert caller.name == known.name
                assert caller.limits == Limits(parallel=known.parallel)

    def teardown(self) -> None:
        if hasattr(self, "keys"):
            self.keys.close()
            self.folder.cleanup()


TestKeys = Keys.TestCase
TestKeys.settings = settings(
    max_examples=15,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
