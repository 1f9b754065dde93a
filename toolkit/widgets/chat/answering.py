"""One reply, from the request to its figures, into a turn that is painted as it grows."""

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing

from toolkit.client import Endpoint
from toolkit.errors import RequestRefused, ToolkitError
from toolkit.widgets.chat.conversation import Conversation, Turn, TurnState
from toolkit.widgets.chat.facts import EndpointFacts
from toolkit.widgets.chat.figures import usd_of
from toolkit.widgets.chat.settings import ChatSettings
from toolkit.widgets.task import ticking

SAVE_EVERY_S = 2.0
SAVE_REST = 20.0  # a file with large pictures is written less often


class Answering:
    """Asks `endpoint`; `paint` is called at most ten times a second, `save` now and then."""

    def __init__(
        self,
        endpoint: Endpoint,
        facts: EndpointFacts,
        paint: Callable[[Turn], None],
        save: Callable[[], None],
    ) -> None:
        self._endpoint = endpoint
        self._facts = facts
        self._paint = paint
        self._save = save

    async def answer(self, turn: Turn, conversation: Conversation, settings: ChatSettings) -> None:
        """Answer the last turn; however that ends, it is over then. Cancelling stops it."""
        began = time.monotonic()
        due = began + SAVE_EVERY_S

        def paint() -> None:
            nonlocal due
            now = time.monotonic()
            turn.waited_s = now - began
            self._paint(turn)
            if now > due:
                self._save()
                took_s = time.monotonic() - now
                due = now + max(SAVE_EVERY_S, SAVE_REST * took_s)

        try:
            async with ticking(paint):
                await self._stream(turn, conversation, settings, paint)
        except asyncio.CancelledError:
            turn.state = TurnState.STOPPED
        except ToolkitError as error:
            turn.fail(error.message, error.hint, _details(error, turn, self._endpoint))
        finally:
            turn.waited_s = time.monotonic() - began
            if not turn.is_over():
                turn.fail("This panel failed.", "The status line says how.")
            usd_per_hour = await self._facts.price()
            if usd_per_hour is not None:
                turn.usd = usd_of(usd_per_hour, turn.waited_s)
            self._paint(turn)

    async def _stream(
        self,
        turn: Turn,
        conversation: Conversation,
        settings: ChatSettings,
        paint: Callable[[], None],
    ) -> None:
        stream = self._endpoint.chat(
            conversation.messages(),
            model=turn.model,
            options=settings.options(),
        )
        async with aclosing(stream) as chunks:
            async for chunk in chunks:
                turn.add(chunk.text, chunk.thinking)
                if turn.num_chunks == 1:
                    paint()
                if chunk.stats is not None:
                    turn.stats, turn.state = chunk.stats, TurnState.COMPLETE


def _details(error: ToolkitError, turn: Turn, endpoint: Endpoint) -> str:
    """What helps to find a cause; the errors themselves hold no key."""
    known = {"kind": type(error).__name__, "model": turn.model, "endpoint": endpoint.url}
    if isinstance(error, RequestRefused):
        known |= {"HTTP status": str(error.status), "code": error.code}
    if error.__cause__ is not None:
        known["because"] = f"{type(error.__cause__).__name__}: {error.__cause__}"
    return "\n".join(f"{name}: {value}" for name, value in known.items() if value)
