"""Which processes belong to a deployment, when who started them has gone."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

import psutil
import pytest

from toolkit.deploy import processes
from toolkit.deploy.processes import MARK, Started

# Starts a child with the environment of the second argument, prints its number and ends.
LEADER = """
import subprocess, sys
sleeper = [sys.executable, "-c", "import time; time.sleep(3600)"]
environment = dict(word.split("=") for word in sys.argv[1:])
print(subprocess.Popen(sleeper, env=environment, stdout=subprocess.DEVNULL).pid)
"""


class Left:
    """A session whose leader has ended, and the child that is left of it."""

    def __init__(self, *environment: str) -> None:
        argv = [sys.executable, "-c", LEADER, *environment]
        with subprocess.Popen(argv, start_new_session=True, stdout=subprocess.PIPE) as leader:
            said, _ = leader.communicate()
        self.leader = Started(leader.pid, time.time())
        self.child = psutil.Process(int(said))

    @property
    def lives(self) -> bool:
        with suppress(psutil.NoSuchProcess):
            return bool(self.child.status() != psutil.STATUS_ZOMBIE)
        return False


@pytest.fixture
def left() -> Iterator[type[Left]]:
    made: list[Left] = []

    class Kept(Left):
        def __init__(self, *environment: str) -> None:
            super().__init__(*environment)
            made.append(self)

    yield Kept
    for one in made:
        with suppress(psutil.NoSuchProcess):
            one.child.kill()


async def test_a_child_that_shows_no_environment_is_found_by_its_session(
    left: type[Left],
) -> None:
    session = left()
    await processes.end("uid-of-nobody", grace_s=1)
    assert session.lives
    await processes.end("uid-of-nobody", session.leader, grace_s=1)
    assert not session.lives


async def test_a_child_with_our_mark_needs_no_number(left: type[Left]) -> None:
    session = left(f"{MARK}=uid-of-this-test")
    await processes.end("uid-of-this-test", grace_s=1)
    assert not session.lives


@pytest.mark.parametrize("environment", ["PATH=/bin", f"{MARK}=uid-of-another"])
async def test_a_session_of_another_that_got_the_number_is_left_alone(
    left: type[Left], environment: str
) -> None:
    session = left(environment)
    await processes.end("uid-of-nobody", session.leader, grace_s=1)
    assert session.lives


async def test_a_leader_of_another_that_got_the_number_is_left_alone() -> None:
    argv = [sys.executable, "-c", "input()"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, start_new_session=True) as other:
        await processes.end("uid-of-nobody", Started(other.pid, 1.0), grace_s=1)
        assert other.poll() is None
        other.communicate(b"\n")
