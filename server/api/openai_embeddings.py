"""/v1/embeddings"""

import base64
from array import array

from litestar.types import ASGIApp
from msgspec import UNSET

from server import limits
from server.api import gojson, openai_fields
from server.api import openai_objects as wire
from server.api.core import Core
from server.api.events import Embedded, Event
from server.api.openai_errors import InvalidField, encode_error
from server.api.openai_inputs import inputs
from server.api.openai_types import EmbeddingBody
from server.api.requests import EmbedRequest, Generation
from server.api.stream import reply_with_whole
from server.caller import Caller
from server.errors import ServerError

MAX_DIMENSIONS = 1 << 20
_FORMATS = ("float", "base64")


async def embed(core: Core, body: EmbeddingBody, caller: Caller) -> ASGIApp:
    """The vector of each input."""
    name = openai_fields.model_name(body.model)
    texts = inputs("input", body.input or None)
    limits.check_count("inputs", texts, limits.MAX_EMBED_INPUTS)
    form = body.encoding_format or "float"
    if form.lower() not in _FORMATS:
        raise InvalidField(
            "encoding_format",
            f"Invalid value for 'encoding_format' = {form[:64]}. "
            "Supported values: ['float', 'base64'].",
        )
    if body.dimensions is not None:
        openai_fields.check_range("dimensions", body.dimensions, 1, MAX_DIMENSIONS)
    generation = Generation(
        options=openai_fields.options(body.options),
        keep_alive_s=openai_fields.keep_alive(body.keep_alive),
        truncate=body.truncate is not False,
        caller=caller,
    )
    request = EmbedRequest(
        model=await core.find(name, caller),
        inputs=texts,
        dimensions=body.dimensions,
        generation=generation,
    )
    encoder = _Encoder(name, is_base64=form.lower() == "base64")
    return reply_with_whole(core.run_embed(request), encoder)


class _Encoder:
    def __init__(self, model: str, *, is_base64: bool) -> None:
        self._model = model
        self._is_base64 = is_base64

    def whole(self, events: list[Event]) -> bytes:
        (embedded,) = (event for event in events if isinstance(event, Embedded))
        data = [
            wire.Embedding(index=at, embedding=self._vector(raw))
            for at, raw in enumerate(embedded.vectors)
        ]
        tokens = embedded.prompt_tokens
        return gojson.encode(
            wire.Embeddings(
                data=data,
                model=self._model,
                usage=wire.EmbeddingUsage(prompt_tokens=tokens, total_tokens=tokens),
                truncated=embedded.truncated_tokens or UNSET,
            )
        )

    def error(self, error: ServerError) -> bytes:
        return encode_error(error)

    def _vector(self, raw: bytes) -> list[float] | str:
        return base64.b64encode(raw).decode() if self._is_base64 else array("f", raw).tolist()
