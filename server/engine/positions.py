"""Where tokens stand in a model whose images have rows that share a position (M-RoPE).

To the engine a token stands where it is counted: everything before it is one each. To such a
model an image takes fewer positions than rows, so whatever follows it stands nearer.
"""

from bisect import bisect_right

from server.engine.image_tokens import num_shared

# Where an image ends, and how many rows up to there take no position.
Shared = tuple[tuple[int, int], ...]


class Positions:
    """The images that each slot holds. Lengths are in tokens and never end within an image."""

    def __init__(self, slots: int) -> None:
        self._shared: list[Shared] = [()] * slots

    def of(self, slot: int, index: int) -> int:
        """The position of a token that has `index` tokens before it."""
        shared = self._shared[slot]
        at = bisect_right(shared, index, key=lambda one: one[0])
        return index - shared[at - 1][1] if at else index

    def add(self, slot: int, start: int, tokens: list[int]) -> None:
        """A slot holds the image of these tokens from `start` on."""
        self.trim(slot, start)
        known = self._shared[slot]
        before = known[-1][1] if known else 0
        self._shared[slot] = (*known, (start + len(tokens), before + num_shared(tokens)))

    def trim(self, slot: int, length: int) -> None:
        """A slot holds its first `length` tokens only."""
        self._shared[slot] = tuple(one for one in self._shared[slot] if one[0] <= length)

    def copy(self, source: int, target: int) -> None:
        """A slot holds what another one does."""
        self._shared[target] = self._shared[source]

    def save(self, slot: int) -> Shared:
        """What `restore` takes."""
        return self._shared[slot]

    def restore(self, slot: int, shared: Shared) -> None:
        """A slot holds what was saved."""
        self._shared[slot] = shared
