"""A turn of a conversation as HTML: what was asked, the reply, and its figures."""

import html

from toolkit.safetext import cleaned
from toolkit.widgets.chat.conversation import Turn, TurnState
from toolkit.widgets.chat.figures import FORMULA, figures, usd_text
from toolkit.widgets.chat.pictures import Picture, preview
from toolkit.widgets.markdown import plain, rendered
from toolkit.widgets.notice import notice

WARNINGS = ("cut from the prompt",)


def head(name: str, url: str, usd_per_hour: float | None, state: str) -> str:
    """The line above a conversation: with whom, at which price, and what goes on."""
    price = f"<span>{usd_text(usd_per_hour)} an hour</span>" if usd_per_hour is not None else ""
    return (
        f'<div class="akl-head"><b>{html.escape(cleaned(name))}</b>'
        f"<span>{html.escape(cleaned(url))}</span>{price}"
        f'<span class="akl-state">{state}</span></div>'
    )


def question(turn: Turn) -> str:
    """The person's message, with small copies of its pictures."""
    shown = "".join(_picture(picture) for picture in turn.pictures)
    return (
        '<div class="akl-user"><div class="akl-who">You</div>'
        f'<div class="akl-body">{plain(turn.prompt)}{shown}</div></div>'
    )


def speaker(turn: Turn) -> str:
    """Who replies."""
    return f'<div class="akl-who">{html.escape(cleaned(turn.model))}</div>'


def thinking(turn: Turn) -> str:
    """What the model thought before it wrote."""
    return f'<div class="akl-thinking">{plain(turn.thinking)}</div>'


def reply(turn: Turn) -> str:
    """The model's message, at whatever stage it is; the same height while it waits."""
    failed = " akl-failed" if turn.state is TurnState.FAILED else ""
    done = " akl-done" if turn.state is TurnState.COMPLETE else ""
    return (
        f'<div class="akl-reply{failed}"><div class="akl-body">{_body(turn)}</div>'
        f'<div class="akl-facts{done}">{_facts(turn)}</div></div>'
    )


def _picture(picture: Picture) -> str:
    label = html.escape(picture.label, quote=True)
    source = preview(picture)
    image = f'<img src="{source}" alt="{label}">' if source else ""
    return f'<div class="akl-picture">{image}<span>{label}</span></div>'


def _body(turn: Turn) -> str:
    if turn.state is TurnState.WAITING:
        return f'<span class="akl-wait">waiting for first token… {turn.waited_s:.1f} s</span>'
    if turn.state is TurnState.STREAMING and not turn.text:
        return f'<span class="akl-wait">thinking… {turn.waited_s:.1f} s</span>'
    is_failed = turn.state is TurnState.FAILED
    failure = notice(turn.error, turn.hint, turn.details) if is_failed else ""
    return (rendered(turn.text) if turn.text else "") + failure


def _facts(turn: Turn) -> str:
    match turn.state:
        case TurnState.FAILED:
            known = ['<span class="akl-mark">not complete</span><span>Retry asks again</span>']
        case TurnState.STOPPED:
            known = ['<span class="akl-mark">stopped</span><span>what came is kept</span>']
        case TurnState.COMPLETE:
            known = []
        case _:
            return "&nbsp;"
    return "".join([*known, *(_figure(name, value) for name, value in figures(turn))])


def _figure(name: str, value: str) -> str:
    first, _, rest = html.escape(value).partition(" ")
    strong = f"<b>{first}</b>" if first[:1].isdigit() or first.startswith("$") else first
    is_cut = name == "ended:" and value == "length"
    mark = ' class="akl-mark"' if is_cut or name in WARNINGS else ""
    if name == "at most":
        mark = f' title="{html.escape(FORMULA, quote=True)}"'
    return f"<span{mark}>{' '.join(filter(None, (name, strong, rest)))}</span>"
