"""Which messages go when a conversation is too long for its window: the oldest, but never the
system's nor the last.

Many chat templates refuse a conversation that does not begin with a user, and the result of a
tool says nothing without its call. So what is left begins with a user's message where it can,
else with one of the assistant's, else it is the last message alone.
"""

from collections.abc import Awaitable, Callable, Sequence

from server.chat.messages import ASSISTANT, SYSTEM, USER, Message
from server.errors import InvalidRequest


async def drop_oldest(
    messages: Sequence[Message],
    room: int,
    tokens_of: Callable[[Sequence[Message]], Awaitable[list[int]]],
) -> list[int]:
    """The tokens with as few of the oldest messages gone as the room allows; if they never
    fit, with as many gone as the template takes; none if it takes no shorter conversation."""
    order = [at for at, message in enumerate(messages[:-1]) if message.role != SYSTEM]
    counts = _counts([messages[at].role for at in (*order, -1)]) if order else []
    fitting: list[int] = []
    shortest: list[int] = []
    low, high = 0, len(counts)
    while low < high:
        middle = (low + high) // 2
        gone = set(order[: counts[middle]])
        left = [message for at, message in enumerate(messages) if at not in gone]
        try:
            tokens = await tokens_of(left)
        except InvalidRequest:  # it took the whole one: it needs what is gone
            high = middle
            continue
        if len(tokens) <= room:
            high, fitting = middle, tokens
        else:
            low, shortest = middle + 1, tokens
    return fitting or shortest


def _counts(roles: Sequence[str]) -> list[int]:
    """How many of the messages with these roles may go together, fewest first: up to a user's;
    behind the last of those, up to the assistant's; all but the last message."""
    users = [count for count, role in enumerate(roles) if count and role == USER]
    last = users[-1] if users else 0
    replies = [count for count, role in enumerate(roles) if count > last and role == ASSISTANT]
    return list(dict.fromkeys([*users, *replies, len(roles) - 1]))
