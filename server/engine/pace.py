"""What a step costs, as measured, and so how many rows of prompts it may have."""

from bisect import bisect_left, insort
from dataclasses import dataclass, field

# While streams run, a step takes so much longer for prompts: a stream keeps a fifth of its
# speed, and a prompt takes a quarter longer. More where more requests wait for their first
# token than for their next.
PROMPT_TIMES = 4

# A stream may stop for so long where a prompt is read meanwhile: shorter steps only make both
# take longer.
LEAST_PROMPT_NS = 250 * 10**6

# Streams that have only begun may stop for longer where the prompts came together with
# theirs: they then run together, in larger batches, instead of one after the other.
LEAST_PROMPT_AT_BEGINNING_NS = 1500 * 10**6

# A step is not longer than this where it can be helped: it is as long as a cancelled
# request may hold its slot where decoding cannot be interrupted, as on a GPU.
LONGEST_STEP_NS = 10 * 10**9

MIN_PROMPT_ROWS = 32
_UNMEASURED_ROWS = 512
_WEIGHT = 0.25
# What was measured so many steps ago may have been a hiccup and is measured anew.
_STALE_STEPS = 1000


@dataclass(slots=True)
class Pace:
    """Running means of the cost of decode steps, by their rows, and of a row of a prompt."""

    batch: int
    _decode_ns: dict[int, float] = field(default_factory=dict)
    _measured_at: dict[int, int] = field(default_factory=dict)
    _measured_rows: list[int] = field(default_factory=list)
    _num_observed: int = 0
    _prompt_row_ns: float = 0.0

    def prompt_rows(
        self, num_decoding: int, num_reading: int, *, begin_together: bool = False
    ) -> int:
        """How many rows of prompts the next step may have beside so many streams, when so
        many prompts are being read, which may all have come together."""
        if not self._prompt_row_ns:
            return min(self.batch, _UNMEASURED_ROWS)
        longest_ns = float(LONGEST_STEP_NS)
        if num_decoding:
            decode_ns = self.decode_ns(num_decoding)
            if decode_ns is None:
                return min(self.batch, _UNMEASURED_ROWS)
            times = PROMPT_TIMES * max(1.0, num_reading / num_decoding)
            least_ns = LEAST_PROMPT_AT_BEGINNING_NS if begin_together else LEAST_PROMPT_NS
            longest_ns = min(longest_ns, max(least_ns, decode_ns * times))
        rows = int(longest_ns / self._prompt_row_ns)
        return min(self.batch, max(MIN_PROMPT_ROWS, rows))

    def decode_ns(self, num_rows: int) -> float | None:
        """What a step of so many decode rows takes, from the measured one that is nearest."""
        if not self._decode_ns:
            return None
        if num_rows in self._decode_ns:
            return self._decode_ns[num_rows]
        at = bisect_left(self._measured_rows, num_rows)
        beside = self._measured_rows[max(at - 1, 0) : at + 1]
        nearest = min(beside, key=lambda rows: abs(rows - num_rows))
        return self._decode_ns[nearest] * max(1.0, num_rows / nearest)

    def has_measured(self, num_rows: int) -> bool:
        """Whether a step of just so many decode rows was measured lately."""
        measured_at = self._measured_at.get(num_rows)
        return measured_at is not None and self._num_observed - measured_at < _STALE_STEPS

    def observe(self, num_decode_rows: int, num_prompt_rows: int, duration_ns: int) -> None:
        """A step took so long."""
        if not num_prompt_rows:
            is_known = self.has_measured(num_decode_rows)
            known = self._decode_ns[num_decode_rows] if is_known else float(duration_ns)
            self._num_observed += 1
            if num_decode_rows not in self._decode_ns:
                insort(self._measured_rows, num_decode_rows)
            self._measured_at[num_decode_rows] = self._num_observed
            self._decode_ns[num_decode_rows] = known + _WEIGHT * (duration_ns - known)
            return
        if num_prompt_rows < MIN_PROMPT_ROWS:
            return  # too few to tell their cost from that of the step itself
        decode_ns = (self.decode_ns(num_decode_rows) or 0.0) if num_decode_rows else 0.0
        row_ns = max(duration_ns - decode_ns, 0.1 * duration_ns) / num_prompt_rows
        known = self._prompt_row_ns or row_ns
        self._prompt_row_ns = known + _WEIGHT * (row_ns - known)
