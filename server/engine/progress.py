"""How far a load is, told often enough to watch and seldom enough not to matter."""

from collections.abc import Callable

# Told the part of the weights that is there, 0 to 1; False asks to give up the load.
Progress = Callable[[float], bool]

_LEAST_PAUSE_S = 0.1


def ignore(_fraction: float) -> bool:
    """The `Progress` of whoever does not want to know."""
    return True


class Reporter:
    """A `Progress` that passes on what grows, ten times a second at most.

    It asks to give up once `send` says that nobody listens: it raises OSError then.
    """

    def __init__(self, send: Callable[[float], None], clock_s: Callable[[], float]) -> None:
        self._send = send
        self._clock_s = clock_s
        self._last = 0.0
        self._sent_s = -_LEAST_PAUSE_S

    def __call__(self, fraction: float) -> bool:
        now_s, fraction = self._clock_s(), min(fraction, 1.0)
        if fraction <= self._last or now_s - self._sent_s < _LEAST_PAUSE_S:
            return True
        self._last, self._sent_s = fraction, now_s
        try:
            self._send(self._last)
        except OSError:
            return False
        return True
