"""Several replies to one request, told as one stream of events.

Each is a run of the core of its own. The engine computes a prompt that they share only
once, so more replies to the same prompt cost their own tokens and little else.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from itertools import islice

from server import limits
from server.api.core import Core
from server.api.events import Event, Events, OfChoice, Started
from server.api.requests import ChatRequest, CompletionRequest
from server.errors import InvalidRequest


def run_choices(core: Core, requests: Sequence[ChatRequest | CompletionRequest]) -> Events:
    """One `Started`, then what each run says as `OfChoice`, with its place as `index`.

    Closing it closes all of them, and so does one that fails. What was cut from each prompt
    stands in its `Done`. Each counts as a request of its key, and no more are under way than
    that may have at once. Raises what they raise, and `InvalidRequest` at once for more of them
    than the key may ever make in a minute.
    """
    terms = requests[0].generation.caller.limits
    if terms.requests_per_minute is not None and len(requests) > terms.requests_per_minute:
        raise InvalidRequest(
            f"{len(requests)} replies are asked for, each of which counts as a request: "
            f"this key may make {terms.requests_per_minute} request(s) per minute"
        )
    at_once = min(limits.MAX_REPLIES_AT_ONCE, terms.parallel or len(requests))
    return interleaved([core.run(request) for request in requests], at_once)


async def interleaved(runs: Sequence[Events], at_once: int) -> Events:
    """`run_choices` for runs that are there; at most `at_once` of them are under way."""
    has_started = False
    async with aclosing(_merged(runs, at_once)) as events:
        async for index, event in events:
            if not isinstance(event, Started):
                yield OfChoice(index, event)
            elif not has_started:
                has_started = True
                yield event


async def _merged(runs: Sequence[Events], at_once: int) -> AsyncGenerator[tuple[int, Event], None]:
    """The events of all runs as they come, each with the place of its run."""
    if len(runs) == 1:
        # As most are: without a task for each event.
        async with aclosing(runs[0]) as events:
            async for said in events:
                yield 0, said
        return
    waiting: dict[asyncio.Task[Event | None], int] = {}

    def wait_for(index: int) -> None:
        waiting[asyncio.create_task(_next(runs[index]))] = index

    rest = iter(range(len(runs)))
    try:
        for index in islice(rest, at_once):
            wait_for(index)
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=waiting.__getitem__):
                event = task.result()
                index = waiting.pop(task)
                if event is not None:
                    wait_for(index)
                    yield index, event
                elif (following := next(rest, None)) is not None:
                    wait_for(following)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        for run in runs:
            await run.aclose()


async def _next(run: Events) -> Event | None:
    return await anext(run, None)
