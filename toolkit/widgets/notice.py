"""A failure as HTML: one line with the next step, and what else is known folded below it."""

import html

from toolkit.safetext import cleaned


def notice(message: str, hint: str, details: str = "") -> str:
    """A failure in one line with the next step; `details` for who wants to know more."""
    sentence = message if message.endswith((".", "!", "?")) else f"{message}."
    step = f" {html.escape(cleaned(hint))}" if hint else ""
    line = (
        f'<span><span class="akl-error">Error:</span> {html.escape(cleaned(sentence))}{step}</span>'
    )
    if not details:
        return line
    return (
        f"{line}<details><summary>Details</summary>"
        f'<div class="akl-plain">{html.escape(cleaned(details))}</div></details>'
    )
