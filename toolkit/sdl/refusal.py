"""How inputs are refused."""

from toolkit.errors import UsageError


def require(condition: object, message: str, hint: str) -> None:
    """Raise `UsageError` unless it holds: what is wrong, and what to type instead."""
    if not condition:
        raise UsageError(message, hint=hint)
