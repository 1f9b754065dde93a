"""From token bytes to text: whole characters only, and stop strings cut out."""

import codecs
from bisect import bisect_left
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Text:
    """Text that may be shown, and the stop string that ended it, if one did."""

    text: str
    stop: str | None = None


class Detokenizer:
    """Incremental UTF-8 and stop strings over token borders, for one request.

    Text that may turn out to be the beginning of a stop string is held back; bytes
    that are not a whole character yet wait for the rest of it.
    """

    def __init__(self, stop: tuple[str, ...] = ()) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stop = tuple(s for s in stop if s)
        self._ordered = sorted(self._stop)
        self._longest = max((len(s) for s in self._stop), default=0)
        self._held = ""

    def feed(self, raw: bytes) -> Text:
        """Text that is certain after these bytes. Nothing may be fed after a stop."""
        return self._advance(self._decoder.decode(raw))

    def flush(self) -> Text:
        """What is left at the end; half a character becomes U+FFFD."""
        text = self._advance(self._decoder.decode(b"", final=True))
        if text.stop is not None:
            return text
        held, self._held = self._held, ""
        return Text(text.text + held)

    def _advance(self, new: str) -> Text:
        text = self._held + new
        if not self._stop:
            return Text(text)
        found = [(at, s) for s in self._stop if (at := text.find(s)) >= 0]
        if found:
            # The earliest match wins; of two at one place the one given first.
            at, stop = min(found, key=lambda pair: pair[0])
            self._held = ""
            return Text(text[:at], stop)
        keep = self._possible_start(text)
        self._held = text[len(text) - keep :]
        return Text(text[: len(text) - keep])

    def _possible_start(self, text: str) -> int:
        """Length of the longest end of `text` that begins a stop string."""
        for length in range(min(self._longest - 1, len(text)), 0, -1):
            # In their order, the stop strings that begin like this follow on it.
            end = text[-length:]
            at = bisect_left(self._ordered, end)
            if at < len(self._ordered) and self._ordered[at].startswith(end):
                return length
        return 0
