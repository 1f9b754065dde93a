"""/tokenize and /detokenize: what llama.cpp's server and vLLM have under the same paths.

A body may speak either's language, and a reply has the fields of both.
"""

from litestar.types import ASGIApp

from server import limits
from server.api import gojson
from server.api import openai_objects as wire
from server.api.abilities import require
from server.api.core import Core
from server.api.openai_errors import InvalidField
from server.api.openai_messages import conversation
from server.api.openai_types import DetokenizeBody, TokenizeBody
from server.api.requests import ChatRequest, CompletionRequest, Generation
from server.api.stream import reply
from server.caller import Caller
from server.models.model import Model


async def tokenize(core: Core, body: TokenizeBody, caller: Caller) -> ASGIApp:
    """The tokens of a text, or of a conversation as the model gets it."""
    _check_one(body)
    model = await _model(core, body.model, caller)
    request = _request(model, body, Generation(caller=caller))
    with_texts = bool(body.with_pieces or body.return_token_strs)
    found = await core.spell(request, add_bos=_adds_bos(body), with_texts=with_texts)
    made = wire.Tokenized(
        tokens=[*found.tokens], count=len(found.tokens), max_model_len=found.context
    )
    if body.with_pieces:
        both = zip(found.tokens, found.texts, strict=True)
        made.tokens = [wire.Piece(id=token, piece=text) for token, text in both]
    if body.return_token_strs:
        made.token_strs = found.texts
    return reply(gojson.encode(made))


async def detokenize(core: Core, body: DetokenizeBody, caller: Caller) -> ASGIApp:
    """The text of tokens."""
    model = await _model(core, body.model, caller)
    limits.check_prompt(len(body.tokens), 0)
    text = await core.detokenize(model, body.tokens, Generation(caller=caller))
    return reply(gojson.encode(wire.Detokenized(content=text, prompt=text)))


def _check_one(body: TokenizeBody) -> None:
    ways = {"content": body.content, "prompt": body.prompt, "messages": body.messages}
    given = [name for name, value in ways.items() if value is not None]
    if not given:
        raise InvalidField("content", "content, prompt or messages is required")
    if len(given) > 1:
        raise InvalidField(given[1], f"{given[0]} and {given[1]} cannot both be given")


def _request(
    model: Model, body: TokenizeBody, generation: Generation
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


async def _model(core: Core, name: str | None, caller: Caller) -> Model:
    """The model of that name; without one, the only one in memory or else in the store."""
    if name and name.strip():
        return await core.find(name, caller)
    found = [served.model for served in core.loaded(caller)]
    if len(found) != 1:
        found = [model for model in await core.list(caller) if model.problem is None]
    if len(found) != 1:
        raise InvalidField("model", "model is required")
    return found[0]
