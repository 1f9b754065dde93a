"""Requests that wait for a slot: bounded, and fair between the keys that sent them."""

from collections import Counter
from collections.abc import Iterator, Mapping

from server.engine.sequence import Sequence


class QueueFull(Exception):
    """As many requests wait as may wait."""


class Waiting:
    """The queue. Who was preempted comes first; then owners take turns, and each owner's
    requests keep their order.

    The owner with the fewest running requests is next; among equals the one whose last
    turn is longest ago. So nobody is starved by somebody who sends more.
    """

    def __init__(self) -> None:
        self._preempted: list[Sequence] = []
        self._queue: list[Sequence] = []
        self._turns: dict[str, int] = {}
        self._num_turns = 0

    def __len__(self) -> int:
        return len(self._preempted) + len(self._queue)

    def push(self, sequence: Sequence, limit: int) -> Sequence | None:
        """Queue a request behind at most `limit - 1` others.

        A full queue makes room for an owner who has little in it: the newest request of
        the owner who has most is returned, and has to be refused. Raises `QueueFull` if
        it is this owner's own doing.
        """
        displaced = self._displace(sequence.request.owner) if len(self) >= limit else None
        self._queue.append(sequence)
        return displaced

    def push_back(self, sequence: Sequence) -> None:
        """Queue a request that ran already; of several the oldest goes first."""
        self._preempted.append(sequence)
        self._preempted.sort(key=lambda s: s.submitted_ns)

    def in_order(self, num_running: Mapping[str, int]) -> Iterator[Sequence]:
        """Who is next, then who would be next after them. `num_running` is per owner."""
        yield from list(self._preempted)
        by_owner: dict[str, list[Sequence]] = {}
        for sequence in self._queue:
            by_owner.setdefault(sequence.request.owner, []).append(sequence)
        load = Counter(num_running)
        turns = dict(self._turns)
        turn = self._num_turns
        while by_owner:
            owner = min(by_owner, key=lambda name: (load[name], turns.get(name, -1)))
            yield by_owner[owner].pop(0)
            load[owner] += 1
            turns[owner], turn = turn, turn + 1
            if not by_owner[owner]:
                del by_owner[owner]

    def take(self, sequence: Sequence) -> None:
        """It is this one's turn."""
        if sequence in self._preempted:
            self._preempted.remove(sequence)
            return
        self._queue.remove(sequence)
        owner = sequence.request.owner
        self._turns[owner], self._num_turns = self._num_turns, self._num_turns + 1
        if not self._queue:
            # Nobody is left to be fair to, and keys that come and go leave no trace.
            self._turns = {owner: self._num_turns}

    def remove(self, sequence_id: int) -> Sequence | None:
        """Take a request out, wherever it waits. None if it is not here."""
        for places in (self._preempted, self._queue):
            for sequence in places:
                if sequence.id == sequence_id:
                    places.remove(sequence)
                    return sequence
        return None

    def ids(self) -> list[int]:
        """Ids of all that wait."""
        return [s.id for s in (*self._preempted, *self._queue)]

    def _displace(self, newcomer: str) -> Sequence:
        counts = Counter(s.request.owner for s in self._queue)
        if not counts:
            raise QueueFull
        heaviest, most = counts.most_common(1)[0]
        if counts[newcomer] + 1 >= most:
            raise QueueFull
        newest = next(s for s in reversed(self._queue) if s.request.owner == heaviest)
        self._queue.remove(newest)
        return newest
