"""Processes that outlive us: started apart, found again, ended whole.

Each process carries its deployment's uid in its environment, and so do its children.
That mark is what makes it ours: a number alone may belong to somebody else by now, and
a process started by a program that was killed a moment later is in no file at all.
"""

import asyncio
import os
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
import psutil

from toolkit.errors import EndpointError

MARK = "AKASH_LLM_DEPLOYMENT"
POLL_S = 0.05
KILL_WAIT_S = 10.0
# The start time that the system tells may move by this much when the clock is set.
CLOCK_SLACK_S = 2.0


class Started(msgspec.Struct, frozen=True):
    """A process: its number, and when it was started (seconds since the epoch)."""

    pid: int
    started_at: float


def start(argv: Sequence[str], environment: Mapping[str, str], log: Path, *, uid: str) -> Started:
    """Start `argv` in a session of its own, its output appended to `log`.

    Nothing of it hangs on us: no pipe, no terminal, no signal handler, no object that
    has to be kept. Raises `OSError` if it cannot be started.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    pid = os.posix_spawn(
        argv[0],
        list(argv),
        {**environment, MARK: uid},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        setsigmask=[],
        setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE],
    )
    try:
        return Started(pid, psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:  # gone already; whoever waits for it will say so
        return Started(pid, time.time())


def is_alive(process: Started, uid: str) -> bool:
    """Whether it runs: this very process, not another one with its number."""
    _reap(process.pid)
    try:
        found = psutil.Process(process.pid)
        if found.status() == psutil.STATUS_ZOMBIE:
            return False
        return _is_ours(found, uid, process.started_at)
    except psutil.NoSuchProcess:
        return False


def marked(uid: str | None = None) -> dict[str, list[psutil.Process]]:
    """Living processes of this user by the uid that they carry; with `uid` only its own."""
    found: dict[str, list[psutil.Process]] = {}
    for process in psutil.process_iter():
        mark = environment_of(process).get(MARK)
        if mark and uid in (None, mark):
            found.setdefault(mark, []).append(process)
    return found


def environment_of(process: psutil.Process) -> Mapping[str, str]:
    """Its environment; empty where it is gone or not ours to read."""
    try:
        return process.environ()
    except (psutil.Error, OSError):
        return {}


def family(uid: str, *started: Started) -> list[psutil.Process]:
    """Everything that belongs to a deployment.

    By mark; from those, and from the processes that were `started`, their sessions and
    their descendants. A session begins with a process that we start, so all of it is
    ours: also children that were given another environment, or that have written their
    title over it, even when who started them has gone.
    """
    members = {p.pid: p for p in marked(uid).get(uid, ())}
    for one in started:
        if is_alive(one, uid):
            with suppress(psutil.NoSuchProcess):
                members[one.pid] = psutil.Process(one.pid)
        else:
            members |= {p.pid: p for p in _orphans(one)}
    for member in tuple(members.values()):
        with suppress(psutil.NoSuchProcess):
            members |= {p.pid: p for p in member.children(recursive=True)}
    members |= {p.pid: p for p in _of_sessions(members.values())}
    return list(members.values())


def is_leader(process: psutil.Process) -> bool:
    """Whether a session began with it, as it does with every process that we start."""
    return _session(process) == process.pid


async def end(uid: str, *started: Started, grace_s: float) -> None:
    """End everything of a deployment; silent if nothing is left.

    Leaders are asked first, so that they can end their children in order; what is still
    there after `grace_s` is killed. Returns when all are gone, else `EndpointError`.
    """
    members = family(uid, *started)
    if not members:
        return
    leaders = [p for p in members if is_leader(p)]
    _signal(leaders or members, signal.SIGTERM)
    left = await _gone(members, grace_s)
    if left:
        # Children that came meanwhile, or that outlived their leader.
        left = list({p.pid: p for p in (*left, *family(uid, *started))}.values())
        _signal(left, signal.SIGKILL)
        left = await _gone(left, KILL_WAIT_S)
    if left:
        numbers = ", ".join(str(p.pid) for p in left)
        raise EndpointError(
            f"processes that cannot be ended: {numbers}",
            hint="The system holds them (often a stuck disk); `akash-llm doctor` tries again.",
        )


async def _gone(processes: Sequence[psutil.Process], within_s: float) -> list[psutil.Process]:
    """Those of `processes` that are still there when all are gone or the time is up."""
    deadline = time.monotonic() + within_s
    left = [p for p in processes if _lives(p)]
    while left and time.monotonic() < deadline:
        await asyncio.sleep(POLL_S)
        left = [p for p in left if _lives(p)]
    return left


def _lives(process: psutil.Process) -> bool:
    _reap(process.pid)
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _signal(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)  # checks that it still is the same process


def _of_sessions(members: Iterable[psutil.Process]) -> list[psutil.Process]:
    """All of the sessions that these are in."""
    sessions = {_session(member) for member in members} - {None}
    if not sessions:
        return []
    return [process for process in psutil.process_iter() if _session(process) in sessions]


def _orphans(leader: Started) -> list[psutil.Process]:
    """What is left of the session of a leader that has ended.

    The system gives its number to no other process while any of that session lives. Should it
    be that of another session since, its members show an environment without our mark; ours
    that have lost the mark have written over all of theirs.
    """
    with suppress(psutil.NoSuchProcess):
        if psutil.Process(leader.pid).status() != psutil.STATUS_ZOMBIE:
            return []
    return [
        process
        for process in psutil.process_iter()
        if process.pid != leader.pid
        and _session(process) == leader.pid
        and not environment_of(process)
    ]


def _session(process: psutil.Process) -> int | None:
    try:
        return os.getsid(process.pid)
    except OSError:
        return None


def _is_ours(process: psutil.Process, uid: str, started_at: float) -> bool:
    """By its mark; by its start time where the environment may not be read."""
    try:
        return process.environ().get(MARK) == uid
    except (psutil.AccessDenied, OSError):
        return abs(process.create_time() - started_at) < CLOCK_SLACK_S


def _reap(pid: int) -> None:
    """Take the exit status of a child of ours, so that it is no zombie; else nothing."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
