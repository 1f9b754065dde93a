"""What a step costs, as measured, and so how many rows of prompts it may have."""

from dataclasses import dataclass, field

# While streams run, prompts take up to this share of the time, so a stream keeps a fifth of
# its speed and a prompt takes a quarter longer.
PROMPT_SHARE = 0.8

# A step is not longer than this where it can be helped: it is as long as a cancelled
# request may hold its slot where decoding cannot be interrupted, as on a GPU.
LONGEST_STEP_NS = 10 * 10**9

MIN_PROMPT_ROWS = 32
_UNMEASURED_ROWS = 512
_WEIGHT = 0.25


@dataclass(slots=True)
class Pace:
    """Running means of the cost of decode steps, by their rows, and of a row of a prompt."""

    batch: int
    _decode_ns: dict[int, float] = field(default_factory=dict)
    _prompt_row_ns: float = 0.0

    def prompt_rows(self, num_decoding: int) -> int:
        """How many rows of prompts the next step may have beside so many streams."""
        if not self._prompt_row_ns:
            return min(self.batch, _UNMEASURED_ROWS)
        longest_ns = float(LONGEST_STEP_NS)
        if num_decoding:
            decode_ns = self.decode_ns(num_decoding)
            if decode_ns is None:
                return min(self.batch, _UNMEASURED_ROWS)
            longest_ns = min(longest_ns, decode_ns * PROMPT_SHARE / (1 - PROMPT_SHARE))
        rows = int(longest_ns / self._prompt_row_ns)
        return min(self.batch, max(MIN_PROMPT_ROWS, rows))

    def decode_ns(self, num_rows: int) -> float | None:
        """What a step of so many decode rows takes, from the measured one that is nearest."""
        if not self._decode_ns:
            return None
        nearest = min(self._decode_ns, key=lambda rows: abs(rows - num_rows))
        return self._decode_ns[nearest] * max(1.0, num_rows / nearest)

    def has_measured(self, num_rows: int) -> bool:
        """Whether a step of just so many decode rows was measured."""
        return num_rows in self._decode_ns

    def observe(self, num_decode_rows: int, num_prompt_rows: int, duration_ns: int) -> None:
        """A step took so long."""
        if not num_prompt_rows:
            known = self._decode_ns.get(num_decode_rows, float(duration_ns))
            self._decode_ns[num_decode_rows] = known + _WEIGHT * (duration_ns - known)
            return
        if num_prompt_rows < MIN_PROMPT_ROWS:
            return  # too few to tell their cost from that of the step itself
        decode_ns = (self.decode_ns(num_decode_rows) or 0.0) if num_decode_rows else 0.0
        row_ns = max(duration_ns - decode_ns, 0.1 * duration_ns) / num_prompt_rows
        known = self._prompt_row_ns or row_ns
        self._prompt_row_ns = known + _WEIGHT * (row_ns - known)
