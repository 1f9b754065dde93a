"""From a request for a reply to the conversation that a chat template renders."""

from server.api.requests import ChatRequest, Think
from server.chat.messages import Conversation, Effort, Message, assemble


def conversation_of(request: ChatRequest) -> Conversation:
    stored = request.model
    examples = () if request.before is not None else stored.messages
    return Conversation(
        messages=assemble(
            request.messages,
            system=stored.system or "",
            examples=[Message(role=m.role, content=m.content) for m in examples],
        ),
        tools=tuple(tool.for_template() for tool in request.tool_use.shown),
        thinking=None if request.think is None else bool(request.think),
        effort=_effort(request.think),
        prefill=True,
    )


def _effort(think: Think) -> Effort | None:
    """How much to think, in the words of templates, which know no "max"."""
    match think:
        case "low" | "medium" | "high":
            return think
        case "max":
            return "high"
        case _:
            return None
