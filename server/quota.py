"""How much a key has used, held against its limits. Pure: the clock is an argument.

A minute is any sixty seconds: in none of them is more let in than the limit says. What is
used is kept in parts of a second and counts until the whole part is sixty seconds old, so a
key takes a hundred bytes and may wait one second more than it had to.

How many tokens a request takes is known when it is over. An estimate is held back while it
runs, then what it used counts from its end. So answers may exceed the limit of tokens by
what was estimated too low, and what comes next waits for it. A request that alone exceeds
the limit gets in when nothing else counts: nothing waits for ever.
"""

import math
from collections import deque
from collections.abc import Mapping

import msgspec

from server.grants import Limits

WINDOW_S = 60
# Held back for an answer of a length that nobody said.
USUAL_OUTPUT = 256
CHARACTERS_PER_TOKEN = 4


def estimate(characters: int, max_tokens: int | None) -> int:
    """About how many tokens a prompt of that length and its answer take."""
    output = USUAL_OUTPUT if max_tokens is None else max_tokens
    return math.ceil(characters / CHARACTERS_PER_TOKEN) + output


class Window:
    """What was used in the last minute. Times never go back."""

    def __init__(self) -> None:
        self._parts: deque[tuple[int, int]] = deque()  # (second, amount), oldest first
        self._used = 0

    def add(self, now: float, amount: int) -> None:
        """Count `amount` from now on."""
        second = math.floor(now)
        if self._parts and self._parts[-1][0] >= second:
            second, before = self._parts.pop()
            self._parts.append((second, before + amount))
        elif amount:
            self._parts.append((second, amount))
        self._used += amount

    def used(self, now: float) -> int:
        """What counts now."""
        while self._parts and _expiry(self._parts[0]) <= now:
            self._used -= self._parts.popleft()[1]
        return self._used

    def wait_s(self, now: float, room: int) -> float:
        """How long until no more than `room` counts."""
        counted, end = self.used(now), now
        for part in self._parts:
            if counted <= room:
                break
            counted -= part[1]
            end = _expiry(part)
        return end - now


class Standing(msgspec.Struct, frozen=True):
    """One limit: what is left of it, and in how long all of it is there again."""

    limit: int
    remaining: int
    reset_s: float


class Refusal(msgspec.Struct, frozen=True):
    """Why a request has to wait, and how long about."""

    reason: str
    wait_s: float


class Quota:
    """What one key has used and has running."""

    def __init__(self) -> None:
        self._requests = Window()
        self._tokens = Window()
        self._held = 0
        self._running = 0

    def refusal(self, limits: Limits, tokens: int, now: float) -> Refusal | None:
        """Why a request of about so many tokens cannot begin now, or None."""
        if limits.parallel is not None and self._running >= limits.parallel:
            return Refusal(f"this key may have {limits.parallel} request(s) at once", 1)
        most = limits.requests_per_minute
        if most is not None and self._requests.used(now) >= most:
            wait_s = self._requests.wait_s(now, most - 1)
            return Refusal(f"this key may make {most} request(s) per minute", wait_s)
        most = limits.tokens_per_minute
        if most is not None:
            room = most - held(limits, tokens) - self._held
            if self._tokens.used(now) > room:
                wait_s = max(1.0, self._tokens.wait_s(now, max(0, room)))
                return Refusal(f"this key may use {most} tokens per minute", wait_s)
        return None

    def begin(self, limits: Limits, tokens: int, now: float) -> int:
        """Let a request in; returns what is held back for it, for `end`."""
        amount = held(limits, tokens)
        self._requests.add(now, 1)
        self._running += 1
        self._held += amount
        return amount

    def end(self, amount: int, used: int, now: float) -> None:
        """A request is over that held `amount` back and used so many tokens."""
        self._running -= 1
        self._held -= amount
        self._tokens.add(now, used)

    def standings(self, limits: Limits, now: float) -> dict[str, Standing]:
        """Where the key stands with each limit that it has."""
        found = {}
        if (most := limits.requests_per_minute) is not None:
            found["requests"] = _standing(self._requests, most, 0, now)
        if (most := limits.tokens_per_minute) is not None:
            found["tokens"] = _standing(self._tokens, most, self._held, now)
        return found


def held(limits: Limits, tokens: int) -> int:
    """What is held back for a request: no more than the limit, or it would never begin."""
    most = limits.tokens_per_minute
    return tokens if most is None else min(tokens, most)


def headers(standings: Mapping[str, Standing]) -> dict[str, str]:
    """Standings as OpenAI names them in its replies."""
    found = {}
    for kind, each in standings.items():
        found[f"x-ratelimit-limit-{kind}"] = str(each.limit)
        found[f"x-ratelimit-remaining-{kind}"] = str(each.remaining)
        found[f"x-ratelimit-reset-{kind}"] = f"{math.ceil(each.reset_s)}s"
    return found


def _standing(window: Window, limit: int, held_back: int, now: float) -> Standing:
    remaining = max(0, limit - window.used(now) - held_back)
    return Standing(limit, remaining, window.wait_s(now, 0))


def _expiry(part: tuple[int, int]) -> int:
    return part[0] + 1 + WINDOW_S
