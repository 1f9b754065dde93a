"""The phases of an opening with their times. Pure but for the clock it is given."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from toolkit.deploy.base import Update

NOW, DONE, FAILED, STOPPED = "now", "done", "failed", "stopped"


@dataclass(slots=True)
class Phase:
    """One phase: what it is about at last, since when, and how it stands."""

    name: str
    text: str
    began_s: float
    usual_s: float | None
    took_s: float = 0.0
    state: str = NOW


class Phases:
    """Updates as they come become phases; the last one goes on until the next, or the end."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._phases: list[Phase] = []
        self._began = clock()

    def see(self, update: Update) -> None:
        """The next update; one of the same phase changes what it is about."""
        last = self._phases[-1] if self._phases else None
        if last is not None and last.name == update.phase and last.state is NOW:
            last.text, last.usual_s = update.text, update.usual_s or last.usual_s
            return
        self._end(DONE, update.elapsed_s)
        self._phases.append(Phase(update.phase, update.text, update.elapsed_s, update.usual_s))

    def end(self, state: str = DONE) -> None:
        """The last phase is over; what is said from now on begins anew."""
        self._end(state, self._elapsed_s)

    def told(self) -> list[Phase]:
        """All phases; the one under way has taken what it has until now."""
        if self._phases and self._phases[-1].state is NOW:
            last = self._phases[-1]
            last.took_s = max(0.0, self._elapsed_s - last.began_s)
        return list(self._phases)

    @property
    def is_done(self) -> bool:
        """Whether all of them went well."""
        return all(phase.state == DONE for phase in self._phases)

    @property
    def sentence(self) -> str:
        """The phase under way, in one line."""
        phases = self.told()
        if not phases:
            return "beginning…"
        last = phases[-1]
        usual = f", usually {last.usual_s:.0f} s" if last.usual_s else ""
        return f"{last.name}: {last.text} ({last.took_s:.0f} s{usual})"

    @property
    def _elapsed_s(self) -> float:
        return self._clock() - self._began

    def _end(self, state: str, at_s: float) -> None:
        if self._phases and self._phases[-1].state is NOW:
            last = self._phases[-1]
            last.took_s, last.state = max(0.0, at_s - last.began_s), state
