"""The images of OpenAI's messages: data URLs. Nothing is ever fetched from elsewhere."""

import re

from server.api import base64_text
from server.api.openai_errors import InvalidField
from server.errors import InvalidRequest

# What Ollama takes; a picture without a type is told by its bytes.
_HEAD = re.compile(r"data:(image/(jpeg|jpg|png|webp))?;base64,", re.IGNORECASE)


def image(url: str, where: str) -> bytes:
    """The bytes of an image. `where` is the field of the URL. Raises `InvalidField`."""
    if url[:8].lower().startswith(("http://", "https://")):
        raise InvalidField(
            where,
            "image URLs are not currently supported, please use base64 encoded data instead",
        )
    head = _HEAD.match(url)
    if head is None:
        raise InvalidField(
            where, "invalid image input: a data URL of a jpeg, png or webp is needed"
        )
    try:
        return base64_text.decode(url[head.end() :])
    except InvalidRequest:
        raise InvalidField(where, "invalid image input: it is not base64") from None
