"""/tokenize and /detokenize: what llama.cpp's server and vLLM have under the same paths.

A body may speak either's language, and a reply has the fields of both.
"""

from collections.abc import Sequence

from litestar.types import ASGIApp

from server import limits
from server.api import gojson
from server.api import openai_objects as wire
from server.api.core import Core, require
from server.api.openai_errors import InvalidField
from server.api.openai_messages import conversation
from server.api.openai_types import DetokenizeBody, TokenizeBody
from server.api.requests import ChatRequest, CompletionRequest, Generation
from server.api.stream import reply
from server.models.stored import StoredModel


async def tokenize(core: Core, body: TokenizeBody, owner: str) -> ASGIApp:
    """The tokens of a text, or of a conversation as the model gets it."""
    _check_one(body)
    model = await _model(core, body.model)
    request = _request(model, body, Generation(owner=owner))
    tokens = list(await core.tokenize(request, add_bos=_adds_bos(body)))
    pieces = await _pieces(core, model, tokens) if _wants_pieces(body) else []
    made = wire.Tokenized(
        tokens=[*tokens], count=len(tokens), max_model_len=(await core.info(model)).context
    )
    if body.with_pieces:
        both = zip(tokens, pieces, strict=True)
        made.tokens = [wire.Piece(id=token, piece=piece) for token, piece in both]
    if body.return_token_strs:
        made.token_strs = pieces
    return reply(gojson.encode(made))


async def detokenize(core: Core, body: DetokenizeBody) -> ASGIApp:
    """The text of tokens."""
    model = await _model(core, body.model)
    limits.check_prompt(len(body.tokens), 0)
    text = await core.detokenize(model, body.tokens)
    return reply(gojson.encode(wire.Detokenized(content=text, prompt=text)))


def _check_one(body: TokenizeBody) -> None:
    ways = {"content": body.content, "prompt": body.prompt, "messages": body.messages}
    given = [name for name, value in ways.items() if value is not None]
    if not given:
        raise InvalidField("content", "content, prompt or messages is required")
    if len(given) > 1:
        raise InvalidField(given[1], f"{given[0]} and {given[1]} cannot both be given")


def _request(
    model: StoredModel, body: TokenizeBody, generation: Generation
) -> ChatRequest | CompletionRequest:
    if body.messages is None:
        text = body.prompt if body.content is None else body.content
        return CompletionRequest(model=model, prompt=text or "", generation=generation)
    require(model, model.name.display(), "chat")
    return ChatRequest(model=model, messages=conversation(body.messages), generation=generation)


def _adds_bos(body: TokenizeBody) -> bool:
    """What the body says under either name. Else a `content` gets nothing in front, as in
    llama.cpp, and anything else does, as in vLLM."""
    for said in (body.add_special, body.add_special_tokens):
        if said is not None:
            return said
    return body.content is None


def _wants_pieces(body: TokenizeBody) -> bool:
    return bool(body.with_pieces or body.return_token_strs)


async def _pieces(core: Core, model: StoredModel, tokens: Sequence[int]) -> list[str]:
    """The text of each token alone; what is half a character is U+FFFD."""
    limits.check_count("tokens with pieces", tokens, limits.MAX_PIECES)
    texts: dict[int, str] = {}
    for token in tokens:
        if token not in texts:
            texts[token] = await core.detokenize(model, [token])
    return [texts[token] for token in tokens]


async def _model(core: Core, name: str | None) -> StoredModel:
    """The model of that name; without one, the only one in memory or else in the store."""
    if name and name.strip():
        return await core.find(name)
    found = [served.model for served in core.loaded()]
    if len(found) != 1:
        found = [model for model in await core.list() if model.problem is None]
    if len(found) != 1:
        raise InvalidField("model", "model is required")
    return found[0]
