"""How much a model is to think, in the words of OpenAI's clients."""

from server.api.openai_errors import InvalidField
from server.api.requests import Think

# "ultra" is Ollama's, the others are OpenAI's.
_EFFORTS: dict[str, Think] = {
    "none": False,
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "max",
    "max": "max",
    "ultra": "max",
}


def think(param: str, effort: str | None) -> Think:
    """What an effort means here; nothing leaves it to the model. `param` is its field. Raises
    `InvalidField`."""
    if not effort:
        return None
    if effort not in _EFFORTS:
        known = ", ".join(_EFFORTS)
        raise InvalidField(
            param, f"invalid reasoning value: {effort[:64]!r} (must be one of {known})"
        )
    return _EFFORTS[effort]
