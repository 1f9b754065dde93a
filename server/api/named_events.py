"""Server-sent events whose name is also in their data, as Anthropic and OpenAI's Responses
send them."""

import msgspec

STREAM_TYPE = "text/event-stream; charset=utf-8"
# A comment: clients leave it out.
HEARTBEAT = b": still here\n\n"


class NamedEvent(msgspec.Struct, kw_only=True, tag_field="type"):
    """The data of an event; the tag of its class is the event's name."""

    def frame(self) -> bytes:
        """The event as it goes over the wire."""
        name = self.__struct_config__.tag
        return b"event: %s\ndata: %s\n\n" % (str(name).encode(), msgspec.json.encode(self))
