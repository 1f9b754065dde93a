"""Several runs told as one stream: order, bounds, failures, and what closing does."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.api.choices import interleaved
from server.api.events import Delta, Event, Events, OfChoice, Started
from server.errors import EngineCrashed

STARTED = Started(prompt_tokens=1, truncated_tokens=0, context=8, asked_context=None)


class Run:
    """A run that says its texts, each after as many turns of the loop as `pauses` say."""

    def __init__(self, texts: Sequence[str], *, pauses: int = 0, fails: bool = False) -> None:
        self.is_open = False
        self.was_started = False
        self._texts = texts
        self._pauses = pauses
        self._fails = fails

    async def events(self) -> Events:
        self.is_open = self.was_started = True
        try:
            yield STARTED
            for text in self._texts:
                for _ in range(self._pauses):
                    await asyncio.sleep(0)
                yield Delta(text)
            if self._fails:
                raise EngineCrashed("gone")
        finally:
            self.is_open = False


class Endless(Run):
    """A run that says something once and then nothing for ever."""

    async def events(self) -> Events:
        async with aclosing(super().events()) as events:
            async for event in events:
                yield event
        self.is_open = True
        try:
            await asyncio.Event().wait()
        finally:
            self.is_open = False


def events_of(runs: Sequence[Run]) -> list[Events]:
    return [run.events() for run in runs]


def texts_of(events: Sequence[Event], index: int) -> list[str]:
    return [
        event.event.text
        for event in events
        if isinstance(event, OfChoice) and event.index == index and isinstance(event.event, Delta)
    ]


@given(
    scripts=st.lists(
        st.tuples(st.lists(st.text(min_size=1), max_size=4), st.integers(0, 3)),
        min_size=1,
        max_size=6,
    ),
    at_once=st.integers(1, 4),
)
def test_each_run_is_told_whole_and_in_order(
    scripts: list[tuple[list[str], int]], at_once: int
) -> None:
    runs = [Run(texts, pauses=pauses) for texts, pauses in scripts]

    async def gather() -> list[Event]:
        return [event async for event in interleaved(events_of(runs), at_once)]

    events = asyncio.run(gather())
    assert events[0] == STARTED and STARTED not in events[1:]
    for index, (texts, _) in enumerate(scripts):
        assert texts_of(events, index) == texts
    assert not any(run.is_open for run in runs)


async def test_no_more_are_under_way_than_may_be() -> None:
    runs = [Run(["a", "b"], pauses=at) for at in range(5)]
    most = 0
    async for _ in interleaved(events_of(runs), 2):
        most = max(most, sum(run.is_open for run in runs))
    assert most == 2 and all(run.was_started for run in runs)


async def test_runs_take_turns() -> None:
    events = [event async for event in interleaved(events_of([Run("abc"), Run("xyz")]), 2)]
    order = [event.index for event in events if isinstance(event, OfChoice)]
    assert order == [0, 1] * 3


async def test_one_that_fails_ends_all() -> None:
    runs = [Endless("a"), Run("b", fails=True), Endless("c")]
    with pytest.raises(EngineCrashed):
        async for _ in interleaved(events_of(runs), 3):
            pass
    assert all(run.was_started for run in runs) and not any(run.is_open for run in runs)


async def test_closing_ends_all() -> None:
    runs = [Endless("a"), Endless("b")]
    async with aclosing(interleaved(events_of(runs), 2)) as events:
        seen = [await anext(events) for _ in range(3)]
    assert {event.index for event in seen if isinstance(event, OfChoice)} == {0, 1}
    assert not any(run.is_open for run in runs)


async def test_cancelling_ends_all() -> None:
    runs = [Endless("a"), Endless("b")]

    async def read() -> None:
        async with aclosing(interleaved(events_of(runs), 2)) as events:
            async for _ in events:
                has_read.set()

    has_read = asyncio.Event()
    reading = asyncio.create_task(read())
    await has_read.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert not any(run.is_open for run in runs)
