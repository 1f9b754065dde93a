"""What a provider has of one lease: its status, and the frames of its logs and events."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import contextmanager

import msgspec

# How often what follows looks whether the lease is still there.
LOOK_S = 0.05


class Feed:
    """Frames of several sources, kept and passed on to who follows."""

    def __init__(self) -> None:
        self._past: list[tuple[str, str]] = []
        self._followers: set[asyncio.Queue[tuple[str, str]]] = set()

    def add(self, source: str, frame: object) -> None:
        entry = (source, msgspec.json.encode(frame).decode())
        self._past.append(entry)
        for follower in self._followers:
            follower.put_nowait(entry)

    def forget(self, source: str) -> None:
        """As when a container is started again: its old lines are gone."""
        self._past = [entry for entry in self._past if entry[0] != source]

    async def frames(
        self, query: Mapping[str, str], is_there: Callable[[], bool]
    ) -> AsyncGenerator[str, None]:
        """What a socket with these parameters gets, while the lease is there."""
        services = tuple(query.get("service", "").split(","))
        with self._followed() as news:
            for source, frame in self._last(int(query.get("tail", "-1"))):
                if source.startswith(services):
                    yield frame
            while query.get("follow") == "true" and is_there():
                try:
                    async with asyncio.timeout(LOOK_S):
                        source, frame = await news.get()
                except TimeoutError:
                    continue
                if source.startswith(services):
                    yield frame

    def _last(self, tail: int) -> list[tuple[str, str]]:
        """The last `tail` frames of each source, all for -1."""
        left = dict.fromkeys((source for source, _ in self._past), tail)
        kept = []
        for entry in reversed(self._past):
            if left[entry[0]] != 0:
                left[entry[0]] -= 1
                kept.append(entry)
        return kept[::-1]

    @contextmanager
    def _followed(self) -> Iterator[asyncio.Queue[tuple[str, str]]]:
        queue: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self._followers.add(queue)
        try:
            yield queue
        finally:
            self._followers.discard(queue)


class HostedLease:
    """`status` is the answer to who asks for it; without `has_pods` there is no log yet."""

    def __init__(self) -> None:
        self.logs = Feed()
        self.events = Feed()
        self.status: tuple[int, object] = (200, {"services": {}, "forwarded_ports": None})
        self.has_pods = True

    def write(self, pod: str, *lines: str) -> None:
        """What a container prints."""
        for line in lines:
            self.logs.add(pod, {"name": pod, "message": line})

    def happen(self, reason: str, note: str, *, kind: str = "Normal") -> None:
        """Something that Kubernetes does with a pod."""
        about = {"kind": "Pod", "namespace": "ns", "name": "vllm-5cf7d8bb9-x2x4z"}
        event = {"type": kind, "reason": reason, "note": note, "object": about}
        self.events.add("", event | {"reportingController": "kubelet", "reportingInstance": "n1"})
