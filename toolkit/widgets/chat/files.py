"""Conversations as JSON files: written whole or not at all, read by their owner only.

What is in a folder may be from anybody. A file that is not one of ours is left as it is,
and why it cannot be opened is one line. Pictures are kept once, under their digest.
"""

from datetime import UTC, datetime
from typing import Literal, TypeVar

import msgspec

from toolkit import jsontext
from toolkit.client import ChatStats
from toolkit.errors import ConfigError, ToolkitError
from toolkit.widgets.chat.conversation import Conversation, Turn, TurnState
from toolkit.widgets.chat.pictures import Picture, picture_of


class StoredTurn(msgspec.Struct, frozen=True, omit_defaults=True):
    """A turn as it is written; `pictures` are digests."""

    prompt: str
    model: str
    state: TurnState
    text: str = ""
    thinking: str = ""
    pictures: tuple[str, ...] = ()
    stats: ChatStats | None = None
    error: str = ""
    hint: str = ""
    details: str = ""
    waited_s: float = 0.0
    usd: float | None = None


class Heading(msgspec.Struct, frozen=True, kw_only=True):
    """What a list of conversations shows."""

    format: Literal["akash-llm conversation"] = "akash-llm conversation"
    schema: Literal[1] = 1
    title: str
    created_at: datetime
    updated_at: datetime


H = TypeVar("H", bound=Heading)


class StoredConversation(Heading, frozen=True, kw_only=True):
    """The whole file."""

    given_title: str = ""
    system: str = ""
    turns: tuple[StoredTurn, ...]
    pictures: dict[str, Picture] = {}


def encode(conversation: Conversation) -> bytes:
    """The file of a conversation."""
    stored = StoredConversation(
        title=conversation.title,
        given_title=conversation.given_title,
        system=conversation.system,
        created_at=conversation.created_at,
        updated_at=datetime.now(UTC),
        turns=tuple(_stored(turn) for turn in conversation.turns),
        pictures={p.digest: p for turn in conversation.turns for p in turn.pictures},
    )
    return msgspec.json.format(jsontext.encoded(stored), indent=1) + b"\n"


def heading_of(data: bytes, name: str) -> Heading:
    """What the list shows of a file; `ConfigError` for one that is not a conversation."""
    return _decoded(data, name, Heading)


def decode(data: bytes, name: str) -> Conversation:
    """The conversation of a file, or `ConfigError`. A reply that was under way when it was
    written was stopped by what ended its notebook."""
    stored = _decoded(data, name, StoredConversation)
    try:
        turns = [_turn(turn, stored.pictures) for turn in stored.turns]
    except (KeyError, ToolkitError):
        raise _foreign(name, "a picture is missing, or is not what its name says") from None
    return Conversation(
        turns, title=stored.given_title, system=stored.system, created_at=stored.created_at
    )


def local_time(moment: datetime) -> datetime:
    """`moment` on this machine's clock; without a zone it counts as UTC, which is what we write.

    `ValueError` for a date that no clock here can show.
    """
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    try:
        return aware.astimezone()
    except (OverflowError, OSError):
        raise ValueError(f"no clock shows {moment.isoformat()}") from None


def _decoded(data: bytes, name: str, kind: type[H]) -> H:
    try:
        heading = msgspec.json.decode(data, type=kind)
        local_time(heading.updated_at)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise _foreign(name, str(error)) from None
    return heading


def _foreign(name: str, why: str) -> ConfigError:
    return ConfigError(
        f"{name} is no conversation that can be opened: {why}.",
        hint="It is left as it is. Open another one, or begin a new one.",
    )


def _stored(turn: Turn) -> StoredTurn:
    return StoredTurn(
        prompt=turn.prompt,
        model=turn.model,
        state=turn.state,
        text=turn.text,
        thinking=turn.thinking,
        pictures=tuple(picture.digest for picture in turn.pictures),
        stats=turn.stats,
        error=turn.error,
        hint=turn.hint,
        details=turn.details,
        waited_s=round(turn.waited_s, 3),
        usd=turn.usd,
    )


def _turn(stored: StoredTurn, pictures: dict[str, Picture]) -> Turn:
    shown = tuple(_checked(digest, pictures[digest]) for digest in stored.pictures)
    turn = Turn(stored.prompt, stored.model, shown)
    turn.add(stored.text, stored.thinking)
    turn.stats, turn.waited_s, turn.usd = stored.stats, stored.waited_s, stored.usd
    turn.error, turn.hint, turn.details = stored.error, stored.hint, stored.details
    is_over = stored.state not in (TurnState.WAITING, TurnState.STREAMING)
    turn.state = stored.state if is_over else TurnState.STOPPED
    return turn


def _checked(digest: str, picture: Picture) -> Picture:
    if picture.digest != digest:
        raise ConfigError("another picture")
    return picture_of(picture.data, picture.name)
