"""What is made of the frames of a socket, over all its connections.

A reader lives as long as the stream that a person follows; connections come and go
below it. It decides what a new connection asks for and what of the answer is new. Pure:
no socket, no clock.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol, TypeVar

from toolkit.deploy.provider import messages
from toolkit.deploy.provider.messages import Event, LogLine
from toolkit.deploy.provider.overlap import RESEND, PodTail

# More pods than one lease has; a gateway that makes up names cannot fill the memory.
MAX_PODS = 64
MAX_EVENTS = 4096
MAX_HELD_CHARS = 8 * 1024 * 1024
# Where everything was asked for, a connection that broke in the middle asks for so much.
ALL_AGAIN = 10 * RESEND

Told_co = TypeVar("Told_co", covariant=True)


class Reader(Protocol[Told_co]):
    """What a stream needs to know of what it reads."""

    @property
    def is_holding(self) -> bool:
        """Whether the gateway may still be sending the past: something is held back, or will
        be left out, until it is quiet."""

    def query(self) -> dict[str, str]:
        """The parameters of the next connection."""

    def opened(self) -> None:
        """A connection was opened."""

    def take(self, frame: bytes) -> Sequence[Told_co]:
        """What is new by a frame."""

    def settle(self) -> Sequence[Told_co]:
        """What was held back and is new: the gateway sends nothing more of the past."""


class LogReader:
    """Lines of the pods of a lease; see `overlap` for what happens at a reconnect."""

    def __init__(self, services: Sequence[str], tail: int | None, *, follow: bool) -> None:
        """`tail` is a number of lines of each pod, None for all that there are."""
        self._services = tuple(services)
        self._tail = tail
        self._follow = follow
        self._pods: OrderedDict[str, PodTail] = OrderedDict()

    @property
    def is_holding(self) -> bool:
        return any(pod.is_holding for pod in self._pods.values())

    def query(self) -> dict[str, str]:
        query = {"follow": "true" if self._follow else "false"}
        tail = self._again if self._pods else self._tail
        if tail is not None:
            query["tail"] = str(tail)
        if self._services:
            query["service"] = ",".join(self._services)
        return query

    def opened(self) -> None:
        for pod in self._pods.values():
            pod.begin_again(self._again)

    def take(self, frame: bytes) -> list[LogLine]:
        line = messages.log_line(frame)
        pod = self._pod(line.pod)
        new = [LogLine(line.pod, text) for text in pod.take(line.text)]
        if pod.is_holding and self._held_chars() > MAX_HELD_CHARS:
            new += self.settle()
        return new

    def settle(self) -> list[LogLine]:
        return [LogLine(name, text) for name, pod in self._pods.items() for text in pod.settle()]

    @property
    def _again(self) -> int:
        return ALL_AGAIN if self._tail is None else max(RESEND, self._tail)

    def _pod(self, name: str) -> PodTail:
        pod = self._pods.setdefault(name, PodTail())
        self._pods.move_to_end(name)
        if len(self._pods) > MAX_PODS:
            self._pods.popitem(last=False)
        return pod

    def _held_chars(self) -> int:
        return sum(pod.held_chars for pod in self._pods.values())


class EventReader:
    """Events of a lease. A new connection sends all that Kubernetes still has: until the
    gateway is quiet, each that was told before is left out once; a repeat is told."""

    def __init__(self, *, follow: bool) -> None:
        self._follow = follow
        self._told: OrderedDict[bytes, None] = OrderedDict()
        self._expected: set[bytes] = set()

    @property
    def is_holding(self) -> bool:
        return bool(self._expected)

    def query(self) -> dict[str, str]:
        return {"follow": "true" if self._follow else "false"}

    def opened(self) -> None:
        self._expected = set(self._told)

    def take(self, frame: bytes) -> list[Event]:
        event = messages.event(frame)
        digest = _digest(event)
        if digest in self._expected:
            self._expected.remove(digest)
            return []
        self._told[digest] = None
        self._told.move_to_end(digest)
        if len(self._told) > MAX_EVENTS:
            self._told.popitem(last=False)
        return [event]

    def settle(self) -> list[Event]:
        self._expected.clear()
        return []


def _digest(event: Event) -> bytes:
    texts = (event.kind, event.reason, event.note, event.subject)
    joined = "\0".join(texts).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(joined, digest_size=16).digest()
