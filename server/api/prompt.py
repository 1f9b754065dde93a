"""From a conversation or a text to the tokens of a prompt that fits its window.

What does not fit is cut as Ollama cuts it, but never silently: `Prompt.truncated`
says how many tokens are gone.
"""

import asyncio
from collections.abc import Sequence

import msgspec

from server import limits
from server.api.dropping import drop_oldest
from server.chat.messages import IMAGE_MARKER, Conversation, Message
from server.chat.renderer import Renderer
from server.chat.template import ChatTemplate
from server.engine.image_tokens import text_tokens, whole_after, whole_before
from server.engine.types import ImageSegment, LoadedModel, ModelInfo, PromptText, Segment
from server.errors import ContextExceeded, InvalidRequest, Unsupported

TOO_LONG = (
    "the prompt is longer than the context length currently available to the model; "
    "shorten the prompt, or let it be truncated"
)


TAIL_CHARACTERS = 256
# Where a rendered prompt has an image; what a user types is never special.
_IMAGE = Segment(IMAGE_MARKER)
Segments = list[Segment | ImageSegment]
INPUT_TOO_LONG = "the input length exceeds the context length"


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """How many tokens a prompt may have, and what may be cut to get there.

    `max_tokens` are asked for behind it, None for as many as there is room for.
    `may_drop`: whole messages may go, oldest first. `may_cut`: what is left may lose
    its middle behind the first `num_keep` tokens.
    """

    context: int
    num_keep: int
    may_drop: bool
    may_cut: bool
    max_tokens: int | None = None


class Prompt(msgspec.Struct, frozen=True):
    """Tokens for the engine; `truncated` were cut; `num_bos` of them stand in front. `given` is
    what the reply begins with already, and `tail` the end of the text in front of that, where
    a template wrote it. `text` as in `engine.types.Request`."""

    tokens: list[int]
    truncated: int = 0
    num_bos: int = 0
    tail: str = ""
    given: str = ""
    text: PromptText | None = None


class Inputs(msgspec.Struct, frozen=True):
    """Texts to embed, as tokens; `truncated` were cut off their ends, all together."""

    tokens: list[list[int]]
    truncated: int = 0


async def from_inputs(
    model: LoadedModel, inputs: Sequence[str | Sequence[int]], context: int, *, may_cut: bool
) -> Inputs:
    """Texts, or their tokens, with what the vocabulary puts around each, at most `context`
    tokens of each.

    An empty one that gets nothing around it becomes the token that begins a text.
    Raises `ContextExceeded` if one is longer and may not be cut.
    """
    for text in inputs:
        limits.check_prompt(len(text), model.info.context)
    found = await asyncio.gather(*(_bare_tokens(model, text) for text in inputs))
    start, end = model.info.text_start, model.info.text_end
    room = max(0, context - len(start) - len(end))
    truncated = sum(max(0, len(tokens) - room) for tokens in found)
    if truncated and not may_cut:
        raise ContextExceeded(INPUT_TOO_LONG)
    whole = [[*start, *tokens[:room], *end] for tokens in found]
    limits.check_inputs(whole)
    return Inputs(whole, truncated)


async def from_chat(
    renderer: Renderer,
    template: ChatTemplate,
    model: LoadedModel,
    conversation: Conversation,
    window: Window,
    *,
    before: Sequence[int] = (),
) -> Prompt:
    """The prompt of a conversation, behind the tokens `before` of an earlier one.

    Raises `ContextExceeded` if it does not fit and may not be cut, `PayloadTooLarge` if
    it is far beyond what could.
    """
    messages = conversation.messages
    limits.check_prompt(sum(len(message.content) for message in messages), model.info.context)

    async def tokens_of(some: Sequence[Message]) -> list[int]:
        shorter = msgspec.structs.replace(conversation, messages=tuple(some))
        return await tokenize(model, await chat_segments(renderer, template, shorter))

    segments = await chat_segments(renderer, template, conversation)
    given = conversation.beginning.content if conversation.beginning else ""
    tail = _tail(segments, given)
    if not before and (made := _as_text(model, segments, window)):
        return msgspec.structs.replace(made, tail=tail, given=given)

    num_bos = _count_bos(model.info)
    before = _check_tokens(model.info, before, "context: ")
    room = window.context - len(before)
    whole = await tokenize(model, segments)
    kept = whole
    if len(whole) > room and window.may_drop:
        kept = await drop_oldest(messages, room, tokens_of) or whole
    joined = [*kept[:num_bos], *before, *kept[num_bos:]]
    made = _cut(joined, window, num_bos, already=len(whole) - len(kept))
    return msgspec.structs.replace(made, tail=tail, given=given)


async def from_segments(
    model: LoadedModel, segments: Sequence[Segment | ImageSegment], window: Window
) -> Prompt:
    """The prompt of a finished text. Raises `ContextExceeded` like `from_chat`."""
    if made := _as_text(model, segments, window):
        return made
    tokens = await tokenize(model, segments)
    return _cut(tokens, window, _count_bos(model.info))


def from_tokens(model: LoadedModel, tokens: Sequence[int], window: Window) -> Prompt:
    """A prompt that is tokens already. Raises `ContextExceeded` like `from_chat`."""
    limits.check_prompt(len(tokens), model.info.context)
    return _cut(list(_check_tokens(model.info, tokens)), window, 0)


async def chat_segments(
    renderer: Renderer, template: ChatTemplate, conversation: Conversation
) -> Segments:
    """A conversation as the model's template writes it, with its images. Raises
    `InvalidRequest` if the template leaves one out."""
    rendered = await renderer.render(template, conversation)
    images = [image for message in conversation.messages for image in message.images]
    places = [at for at, segment in enumerate(rendered) if segment == _IMAGE] if images else []
    if len(places) != len(images):
        raise InvalidRequest("the model's chat template leaves images out")
    segments: Segments = list(rendered)
    for place, image in zip(places, images, strict=True):
        segments[place] = ImageSegment(image)
    return segments


def template_of(info: ModelInfo, jinja: str | None = None) -> ChatTemplate:
    """The chat templates of a model, or the one that was made for it, with what rendering
    them needs of its vocabulary."""
    return ChatTemplate(
        source=jinja or info.chat_template,
        tool_source=None if jinja else info.tool_template,
        bos=info.bos,
        eos=info.eos,
        control_tokens=info.control_tokens,
    )


def text_of(segments: Sequence[Segment | ImageSegment]) -> str:
    """The text of segments; an image is its marker."""
    return "".join(s.text if isinstance(s, Segment) else IMAGE_MARKER for s in segments)


def _tail(segments: Sequence[Segment | ImageSegment], given: str) -> str:
    """The end of a text in front of what is given, long enough to show how the model was asked
    to begin. Some templates strip what is given."""
    text = text_of(segments)
    for own in (given, given.rstrip(), given.strip()):
        if own and text.endswith(own):
            return text[: -len(own)][-TAIL_CHARACTERS:]
    return text[-TAIL_CHARACTERS:]


def gap_segments(info: ModelInfo, before: str, after: str) -> list[Segment]:
    """What asks for the text between two others. Raises `Unsupported`."""
    if info.fim is None:
        raise Unsupported("the model has no fill-in-the-middle tokens")
    prefix, suffix, middle = (Segment(text) for text in info.fim)
    texts = (Segment(before, special=False), Segment(after, special=False))
    return [prefix, texts[0], suffix, texts[1], middle]


async def tokenize(
    model: LoadedModel, segments: Sequence[Segment | ImageSegment], *, add_bos: bool = True
) -> list[int]:
    """The tokens of a prompt with BOS in front, whatever their number."""
    length = sum(len(segment.text) for segment in segments if isinstance(segment, Segment))
    limits.check_prompt(length, model.info.context)
    return await model.tokenize(segments, add_bos=add_bos)


async def texts_of(model: LoadedModel, tokens: Sequence[int]) -> list[str]:
    """The text of each token alone; that of a row of an image is empty."""
    limits.check_count("tokens with pieces", tokens, limits.MAX_PIECES)
    texts = {token: await model.detokenize(text_tokens([token])) for token in set(tokens)}
    return [texts[token] for token in tokens]


async def _bare_tokens(model: LoadedModel, text: str | Sequence[int]) -> Sequence[int]:
    info = model.info
    if not isinstance(text, str) and text:
        return _check_tokens(info, text)
    tokens = await model.tokenize([Segment(str(text or ""), special=False)], add_bos=False)
    if tokens or info.text_start or info.text_end:
        return tokens
    return await model.tokenize([Segment(info.bos or info.eos)], add_bos=False)


def _as_text(
    model: LoadedModel, segments: Sequence[Segment | ImageSegment], window: Window
) -> Prompt | None:
    """The prompt of an engine that makes its tokens itself, if it may."""
    text = model.as_text(segments, context=window.context, max_tokens=window.max_tokens)
    return Prompt([], num_bos=_count_bos(model.info), text=text) if text else None


def _count_bos(info: ModelInfo) -> int:
    """How many tokens stand in front of every prompt whatever it says: none or one."""
    return 1 if info.add_bos else 0


def _check_tokens(info: ModelInfo, tokens: Sequence[int], where: str = "") -> Sequence[int]:
    for token in tokens:
        if not 0 <= token < info.vocab_size:
            raise InvalidRequest(f"{where}token {token} is not in the model's vocabulary")
    return tokens


def _cut(tokens: list[int], window: Window, num_bos: int, *, already: int = 0) -> Prompt:
    """Keep the first tokens and a tail, about half of the window, if it is too small. Images
    are kept or cut as a whole."""
    if len(tokens) <= window.context:
        return Prompt(tokens, already, num_bos)
    if not window.may_cut:
        raise ContextExceeded(
            f"{TOO_LONG} (it has {len(tokens)} tokens, the context {window.context})"
        )
    keep = min(window.num_keep + num_bos, window.context // 2)
    total = window.context - (window.context - keep) // 2
    tail = whole_after(tokens, len(tokens) - (total - keep))
    kept = [*tokens[: whole_before(tokens, keep)], *tokens[tail:]]
    return Prompt(kept, already + len(tokens) - len(kept), num_bos)
