"""Whether a level was more than the server can take.

Open loop: requests come whether or not the server keeps up, so what is open grows. Closed
loop: more open requests bring hardly more tokens, they only wait longer.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence

from toolkit.bench.records import Level

# A backlog may grow by so much of what was sent before it counts as growing.
GROWTH = 0.1
# Less than so much of what more open requests should bring at best is hardly more.
GAIN = 0.1
FEWEST = 20


def backlog_grows(sent: Sequence[float], ended: Sequence[float], now: float) -> bool:
    """Whether what is open has grown since the middle of the time of sending.

    `sent` and `ended` are moments in order, `now` the last moment at which it was sent. The
    noise of arrivals (the root of their number) does not count as growth, nor do fewer than
    `FEWEST` requests. The first half is for the server to fill.
    """
    if len(sent) < FEWEST or now <= sent[0]:
        return False
    middle = (sent[0] + now) / 2
    came = bisect_right(sent, now) - bisect_right(sent, middle)
    left = bisect_right(ended, now) - bisect_right(ended, middle)
    return came - left > max(GROWTH * came, 2 * math.sqrt(came))


def grows(level: Level) -> bool:
    """Whether the backlog of an open loop grew while it was sent to."""
    if not level.load.is_open or not level.records:
        return False
    sent = sorted(record.sent_s for record in level.records)
    ended = sorted(record.end_s for record in level.records)
    return backlog_grows(sent, ended, sent[-1])


def gains_little(before: tuple[float, float], after: tuple[float, float]) -> bool:
    """Whether more open requests brought hardly more; each is (open requests, tokens/s)."""
    (few, slow), (many, fast) = before, after
    if many <= few or few <= 0 or slow <= 0:
        return False
    return fast / slow - 1 < GAIN * (many / few - 1)
