"""What can go wrong with one request, written down before it comes.

A fault strikes before the request has its effect, or after: to the client the two look
alike. Each is used up by the first request that it fits.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Canned:
    """An answer that is not the Console's own; a body of None cuts the connection."""

    status: int = 0
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """`do` is called when it strikes; without `answer` the request goes on after that."""

    method: str
    path: str
    after: bool = False
    answer: Canned | None = None
    do: Callable[[], object] | None = None


CUT = Canned()
CHALLENGE = b"<!DOCTYPE html><html><title>Just a moment...</title></html>"


def lost(method: str, path: str, *, after: bool) -> Fault:
    """The connection breaks before, or after, the request has had its effect."""
    return Fault(method=method, path=path, after=after, answer=CUT)


def answered(
    method: str,
    path: str,
    status: int,
    body: bytes = b"",
    *,
    after: bool = False,
    headers: Mapping[str, str] | None = None,
) -> Fault:
    """Something on the way answers in the Console's stead."""
    return Fault(method=method, path=path, after=after, answer=Canned(status, body, headers or {}))


def held(method: str, path: str, until: threading.Event, *, after: bool = False) -> Fault:
    """It takes as long as the test likes."""
    return Fault(method=method, path=path, after=after, do=until.wait)


class Script:
    """The faults to come."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, *faults: Fault) -> None:
        self._faults += faults

    def take(self, method: str, path: str) -> Fault | None:
        """The first fault for such a request; it is gone then."""
        for fault in self._faults:
            if fault.method == method and path.startswith(fault.path):
                self._faults.remove(fault)
                return fault
        return None

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        self._faults.clear()

    @property
    def is_done(self) -> bool:
        """Whether everything that was to go wrong has."""
        return not self._faults
