"""What a model can do, and the refusal of what it cannot."""

from server import limits
from server.api.requests import ChatRequest
from server.api.turn import manner_of
from server.engine.types import ModelInfo
from server.errors import Unsupported
from server.models.model import Model


def capabilities(model: Model) -> tuple[str, ...]:
    """What a model can do here, in Ollama's words; nothing if it cannot be served."""
    of_file = model.capabilities
    if "completion" not in of_file:
        return of_file
    manner = manner_of(model.manner_template)
    can = {"tools": manner.has_tools, "thinking": manner.has_thinking}
    return (*of_file, *(name for name, has in can.items() if has))


def require(model: Model, asked_name: str, verb: str, *wanted: str) -> None:
    """Raise `Unsupported` unless the model can generate and has every capability `wanted`.

    `verb` is what was asked for, as in `"m" does not support chat`.
    """
    model.check()
    found = capabilities(model)
    if "completion" not in found:
        raise Unsupported(f'"{asked_name}" does not support {verb}')
    missing = [name for name in wanted if name not in found]
    if missing:
        raise Unsupported(f"{model.name.full()} does not support " + "\n".join(missing))


def check_images(request: ChatRequest, info: ModelInfo) -> None:
    """Raise `Unsupported` for images that the loaded model does not see, and what
    `limits.check_images` raises."""
    if request.images:
        limits.check_images(request.images)
        if not info.has_vision:
            raise Unsupported(f"{request.model.name.display()} does not support images")
