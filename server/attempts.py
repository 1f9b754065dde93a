"""How often an address came without a key that is known, so that it gets little for it.

A key has 256 random bits, so guessing is hopeless; what it costs here is the log and the
answers. An address over the limit is told to wait and no longer written down. A key that is
known passes from everywhere all the same: behind an ingress all clients share an address,
and anybody could lock out the others.
"""

from collections import OrderedDict

ALLOWED = 100
SPAN_S = 60.0
MAX_ADDRESSES = 4096


class Attempts:
    """Failures per address, for so many addresses as were seen last. Pure."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def fail(self, address: str, now: float) -> int:
        """Count a failure; returns the number of this span, from 1."""
        begun, count = self._seen.pop(address, (now, 0))
        if now - begun >= SPAN_S:
            begun, count = now, 0
        self._seen[address] = (begun, count + 1)
        if len(self._seen) > MAX_ADDRESSES:
            self._seen.popitem(last=False)
        return count + 1

    def wait_s(self, address: str, now: float) -> float:
        """How long until the span of an address is over."""
        begun, _ = self._seen.get(address, (now - SPAN_S, 0))
        return max(0.0, begun + SPAN_S - now)
