"""What a dialect asks the core for, whichever way its own body says it."""

from typing import Literal

import msgspec

from server.api.options import Options
from server.caller import Caller
from server.chat.messages import Message
from server.chat.tools import Tool
from server.engine.types import Grammar
from server.models.model import Model

# Whether to think: not said, no, yes, or how much ("low", "medium", "high", "max").
Think = bool | str | None


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """What all kinds of generation have in common.

    `options` stand over the model's own and those over `defaults`, which stand over the
    built-in ones. `keep_alive_s` None leaves it as it is. `truncate`: a prompt that is too
    long may be cut; `shift`: so may what has been read when the window is full.
    `top_logprobs` as in `engine.types.Request`. `caller` is whose request it is.
    """

    caller: Caller
    options: Options = Options()
    defaults: Options = Options()
    format: Grammar | None = None
    keep_alive_s: float | None = None
    truncate: bool = True
    shift: bool = True
    top_logprobs: int | None = None


class ToolUse(msgspec.Struct, frozen=True, kw_only=True):
    """The functions that a reply may call.

    `choice` "auto" leaves it to the model, "required" makes it call one: the one called
    `name` if that is not empty. Unless `is_parallel` it calls one at most. With "none" the
    model is not told of them.
    """

    tools: tuple[Tool, ...] = ()
    choice: Literal["auto", "none", "required"] = "auto"
    name: str = ""
    is_parallel: bool = True

    @property
    def shown(self) -> tuple[Tool, ...]:
        """The functions that the model is told of."""
        return () if self.choice == "none" else self.tools

    @property
    def forced(self) -> tuple[Tool, ...]:
        """The functions of which it must call one; none if it need not."""
        if self.choice != "required":
            return ()
        return tuple(tool for tool in self.tools if self.name in ("", tool.name))


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A reply to a conversation; if that ends with the assistant's words, their continuation.

    `before` are the tokens of an earlier one, then the model's example messages are left
    out. `think` None: as the model does by itself. `tells_tokens`: those of prompt and reply
    are wanted in `Done`.
    """

    model: Model
    messages: tuple[Message, ...]
    tool_use: ToolUse = ToolUse()
    think: Think = None
    generation: Generation
    before: tuple[int, ...] | None = None
    tells_tokens: bool = False

    @property
    def images(self) -> tuple[bytes, ...]:
        """The files of all images, in the order of the conversation."""
        return tuple(image for message in self.messages for image in message.images)


class CompletionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The continuation of a text or of tokens, or with `suffix` what goes between two texts."""

    model: Model
    prompt: str | tuple[int, ...]
    suffix: str = ""
    generation: Generation


class EmbedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A vector for each text, or for each list of tokens.

    `dimensions`: only so many of its leading components.
    """

    model: Model
    inputs: tuple[str | tuple[int, ...], ...]
    dimensions: int | None = None
    generation: Generation
