"""The chat: a panel, and the conversations behind it as files."""

from toolkit.widgets.chat.panel import ChatPanel

__all__ = ["ChatPanel"]
