"""A turn of a conversation as HTML: what was asked, the reply, and its figures."""

import html

from toolkit.client import ChatStats
from toolkit.safetext import cleaned
from toolkit.widgets.conversation import Turn, TurnState
from toolkit.widgets.markdown import plain, rendered


def question(turn: Turn) -> str:
    """The person's message."""
    return (
        '<div class="akl-user"><div class="akl-who">You</div>'
        f'<div class="akl-body">{plain(turn.prompt)}</div></div>'
    )


def reply(turn: Turn) -> str:
    """The model's message, at whatever stage it is; the same height while it waits."""
    failed = " akl-failed" if turn.state is TurnState.FAILED else ""
    who = html.escape(cleaned(turn.model))
    return (
        f'<div class="akl-reply{failed}"><div class="akl-who">{who}</div>'
        f'<div class="akl-body">{_body(turn)}</div>'
        f'<div class="akl-facts">{_facts(turn)}</div></div>'
    )


def notice(message: str, hint: str) -> str:
    """A failure in one line with the next step."""
    sentence = message if message.endswith((".", "!", "?")) else f"{message}."
    step = f" {html.escape(cleaned(hint))}" if hint else ""
    return (
        f'<span><span class="akl-error">Error:</span> {html.escape(cleaned(sentence))}{step}</span>'
    )


def _body(turn: Turn) -> str:
    if turn.state is TurnState.WAITING:
        return f'<span class="akl-wait">waiting for first token… {turn.waited_s:.1f} s</span>'
    thinking = turn.thinking
    folded = f"<details><summary>Thinking</summary>{plain(thinking)}</details>" if thinking else ""
    failure = notice(turn.error, turn.hint) if turn.state is TurnState.FAILED else ""
    return folded + (rendered(turn.text) if turn.text else "") + failure


def _facts(turn: Turn) -> str:
    match turn.state:
        case TurnState.FAILED:
            return '<span class="akl-mark">not complete</span><span>Retry asks again</span>'
        case TurnState.STOPPED:
            return '<span class="akl-mark">stopped</span><span>what came is kept</span>'
        case TurnState.COMPLETE if turn.stats is not None:
            return "".join(_figures(turn.stats))
    return "&nbsp;"


def _figures(stats: ChatStats) -> list[str]:
    shown = [_figure(stats.output_tokens, "tokens")]
    if stats.ttft_s is not None:
        shown.append(f"<span>first token <b>{stats.ttft_s:.2f}</b> s</span>")
    if stats.tokens_per_s is not None:
        shown.append(f"<span><b>{stats.tokens_per_s:.1f}</b> tok/s</span>")
    shown.append(_context(stats))
    if stats.truncated_tokens:
        shown.append(
            f'<span class="akl-mark">{stats.truncated_tokens:,} prompt tokens were cut</span>'
        )
    reason = html.escape(cleaned(stats.finish_reason)) or "not told"
    mark = ' class="akl-mark"' if stats.finish_reason == "length" else ""
    shown.append(f"<span{mark}>ended: {reason}</span>")
    return shown


def _figure(value: int | None, unit: str) -> str:
    return "" if value is None else f"<span><b>{value:,}</b> {unit}</span>"


def _context(stats: ChatStats) -> str:
    if stats.context_used is None:
        return ""
    if not stats.context:
        return f"<span>context <b>{stats.context_used:,}</b></span>"
    share = 100 * stats.context_used / stats.context
    return (
        f"<span>context <b>{stats.context_used:,}</b> of {stats.context:,} ({share:.0f} %)</span>"
    )
