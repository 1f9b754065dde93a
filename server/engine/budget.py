"""Which idle models have to go so that another one fits: a rule over values."""

from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

import msgspec

from server.errors import LoadFailed
from server.sizes import show_size

T = TypeVar("T")


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What models may take together. `memory_bytes` None and `max_loaded` 0 bound nothing."""

    memory_bytes: int | None = None
    max_loaded: int = 0

    def fits(self, memory_bytes: int, number: int) -> bool:
        """Whether so many models may take so much."""
        in_memory = self.memory_bytes is None or memory_bytes <= self.memory_bytes
        return in_memory and (self.max_loaded == 0 or number <= self.max_loaded)

    def check(self, need_bytes: int) -> None:
        """Raise `LoadFailed` for what does not fit even alone."""
        if self.memory_bytes is not None and need_bytes > self.memory_bytes:
            raise LoadFailed(
                f"the model needs about {show_size(need_bytes)} of memory, the budget is "
                f"{show_size(self.memory_bytes)}: lower --context or --parallel, or raise --memory"
            )


class Holding(NamedTuple, Generic[T]):
    """What one model holds. Models of the lowest `rank` are the first to go.

    A model that is leaving still holds its memory, but nothing has to be done for it.
    """

    model: T
    memory_bytes: int
    is_idle: bool
    is_leaving: bool
    rank: tuple[bool, int]


def victims(
    need_bytes: int, number: int, holdings: Sequence[Holding[T]], budget: Budget
) -> tuple[list[T], bool]:
    """The idle models that have to go, lowest rank first, so that `number` more models with
    `need_bytes` fit, and whether they fit then. Never more than necessary."""
    staying = [each for each in holdings if not each.is_leaving]
    total, count = sum(each.memory_bytes for each in staying), len(staying)
    going: list[T] = []
    for each in sorted((each for each in staying if each.is_idle), key=lambda each: each.rank):
        if budget.fits(total + need_bytes, count + number):
            break
        going.append(each.model)
        total, count = total - each.memory_bytes, count - 1
    return going, budget.fits(total + need_bytes, count + number)


def fits_now(need_bytes: int, holdings: Sequence[Holding[T]], budget: Budget) -> bool:
    """Whether one more model fits beside everything, leaving models too."""
    return budget.fits(sum(each.memory_bytes for each in holdings) + need_bytes, len(holdings) + 1)
