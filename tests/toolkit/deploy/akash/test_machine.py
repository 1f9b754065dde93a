"""Renting as a state machine: whatever happens in whatever order, the books are right.

Never is a deployment open that the books do not have, never one above the cap; what is
closed has cost what the account was paid; and in the end nothing is left.
"""

import contextlib
import os
import tempfile
from pathlib import Path

import stamina
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.support.console.chaos import CALLS, KINDS, Chaos, Kill, fault
from tests.support.console.states import Generation
from toolkit import paths

NAMES = st.sampled_from(["one", "two"])
HOSTS = st.sampled_from(["akash1a", "akash1b", "akash1c", "akash1d"])
KILLS = st.none() | st.builds(Kill, st.integers(1, 25), st.booleans(), st.booleans())


class Renting(RuleBasedStateMachine):
    generation = Generation.NEWER

    def __init__(self) -> None:
        super().__init__()
        self.stack = contextlib.ExitStack()
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.home = os.environ.get(paths.HOME_VARIABLE)
        os.environ[paths.HOME_VARIABLE] = str(folder / "home")
        self.stack.enter_context(stamina.set_testing(True, attempts=2))
        self.chaos = self.stack.enter_context(Chaos(folder, self.generation))

    @rule(name=NAMES, image=st.integers(1, 2), cpu=st.sampled_from([2, 4]), kill=KILLS)
    def deploy(self, name: str, image: int, cpu: int, kill: Kill | None) -> None:
        self.chaos.deploy(name, image=image, cpu=cpu, kill=kill)

    @rule(name=NAMES, kill=KILLS)
    def close(self, name: str, kill: Kill | None) -> None:
        self.chaos.close(name, kill=kill)

    @rule(kill=KILLS)
    def doctor(self, kill: Kill | None) -> None:
        self.chaos.doctor(kill=kill)

    @rule(call=st.sampled_from(CALLS), kind=st.sampled_from(KINDS), after=st.booleans())
    def go_wrong(self, call: tuple[str, str], kind: str, after: bool) -> None:
        self.chaos.server.script.add(fault(call, kind, after=after))

    @rule(host=HOSTS)
    def fall_silent(self, host: str) -> None:
        self.chaos.world.silent ^= {host}

    @rule(host=HOSTS)
    def refuse_manifests(self, host: str) -> None:
        self.chaos.world.deaf ^= {host}

    @rule(blocks=st.integers(1, 700))
    def let_time_go_by(self, blocks: int) -> None:
        self.chaos.world.advance(blocks)

    @rule()
    def lose_a_lease(self) -> None:
        for each in self.chaos.world.deployments.values():
            if each.active_leases:
                self.chaos.world.lose_lease(each.dseq)
                break

    @rule()
    def load_for_ever(self) -> None:
        self.chaos.world.crashing ^= {"akash1a"}

    @invariant()
    def the_books_are_right(self) -> None:
        self.chaos.check()

    def teardown(self) -> None:
        try:
            self.chaos.settle()
        finally:
            self.stack.close()
            if self.home is not None:
                os.environ[paths.HOME_VARIABLE] = self.home


class RentingFromAnOlderConsole(Renting):
    generation = Generation.OLDER


BRIEF = settings(
    max_examples=4,
    stateful_step_count=10,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
TestRenting = Renting.TestCase
TestRenting.settings = BRIEF
TestRentingFromAnOlderConsole = RentingFromAnOlderConsole.TestCase
TestRentingFromAnOlderConsole.settings = BRIEF
