"""Events of the core for tests of what dialects make of them."""

from collections.abc import Sequence

import msgspec
from hypothesis import strategies
from hypothesis.strategies import SearchStrategy

from server.api.events import Called, Delta, Done, Event, Started, Thinking
from server.chat.tools import ToolCall
from server.engine.types import FinishReason

STARTED = Started(prompt_tokens=12, truncated_tokens=0, context=100, asked_context=None)
CALLS = (
    ToolCall("call_aaaaaaaa", "get_weather", {"city": "Łódź", "days": [1, 2]}),
    ToolCall("call_bbbbbbbb", "get_time", {}),
)


def done(
    reason: FinishReason = FinishReason.EOS, stop_string: str | None = None, truncated: int = 0
) -> Done:
    return Done(
        reason=reason,
        stop_string=stop_string,
        prompt_tokens=12,
        cached_tokens=5,
        output_tokens=10,
        truncated_tokens=truncated,
        shifted_tokens=0,
        total_ns=1,
        load_ns=1,
        prompt_ns=1,
        output_ns=1,
        tokens=[],
    )


def whole(*said: Event, last: Done | None = None) -> list[Event]:
    """A reply from its beginning to its end."""
    return [STARTED, *said, last or done()]


def kinds(events: Sequence[Event]) -> list[tuple[str, str]]:
    """What is said in a row, put together: (kind, text or name)."""
    found: list[tuple[str, str]] = []
    for event in events:
        match event:
            case Called():
                found.append(("call", event.call.name))
            case Delta(text) | Thinking(text) if text:
                kind = "text" if isinstance(event, Delta) else "thought"
                if found and found[-1][0] == kind:
                    text = found.pop()[1] + text
                found.append((kind, text))
    return found


def numbered(said: Sequence[Event]) -> list[Event]:
    """The events with an id of its own for each call."""
    return [
        Called(at, msgspec.structs.replace(event.call, id=f"call_{at:08}"))
        if isinstance(event, Called)
        else event
        for at, event in enumerate(said)
    ]


EVENTS: SearchStrategy[list[Event]] = strategies.lists(
    strategies.one_of(
        strategies.text(max_size=4).map(Delta),
        strategies.text(max_size=4).map(Thinking),
        strategies.sampled_from(CALLS).map(lambda call: Called(0, call)),
    ),
    max_size=12,
).map(numbered)
