"""The market as a picture, a sentence and a table. Pure, but that a figure is drawn."""

from collections.abc import Sequence
from typing import Any

from toolkit import svg
from toolkit.deploy.akash.gpu_market import Card
from toolkit.widgets import board

MOST_BARS = 24
_INCHES = 8.4
_BAR_INCHES = 0.27


def name_of(card: Card) -> str:
    """A card as people call it."""
    return " ".join(filter(None, (card.model, card.ram, card.interface)))


def summary(cards: Sequence[Card]) -> str:
    """What the picture shows, in a sentence or two."""
    if not cards:
        return "No GPU is like that."
    priced = [card for card in cards if card.usd_median is not None]
    count = f"{len(cards)} kind{'' if len(cards) == 1 else 's'} of GPU"
    free = [card.free for card in cards if card.free is not None]
    told = f"{count}; {sum(free)} GPUs are free now" if free else count
    if not priced:
        return f"{told}. Nobody has bid with them lately."
    least, most = priced[0], priced[-1]
    first = f"The cheapest is {name_of(least)} at ${least.usd_median:.2f} an hour"
    if most is least:
        return f"{told}. {first}."
    return f"{told}. {first}, the dearest {name_of(most)} at ${most.usd_median:.2f}."


def chart(cards: Sequence[Card]) -> str:
    """Median prices as bars with the range of bids, and how many are free beside them."""
    shown = [card for card in cards if card.usd_median is not None][:MOST_BARS]
    if not shown:
        return ""

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        places = range(len(shown))
        medians = [card.usd_median or 0.0 for card in shown]
        colors = [svg.BLUE if card.free != 0 else svg.ORANGE for card in shown]
        axes.barh(places, medians, height=0.6, color=colors)
        for at, card in enumerate(shown):
            least, most = card.usd_min or 0.0, card.usd_max or 0.0
            axes.plot([least, most], [at, at], color=svg.TEXT, linewidth=1.2, marker="|")
            axes.annotate(
                f"${card.usd_median:.2f}{_free(card)}",
                (max(most, card.usd_median or 0.0), at),
                textcoords="offset points",
                xytext=(7, 0),
                va="center",
                fontsize=8.5,
            )
        axes.set_yticks(places, [name_of(card) for card in shown])
        axes.invert_yaxis()
        axes.set_xlim(0, 1.45 * max(max(card.usd_max or 0.0, 0.01) for card in shown))
        axes.set_xlabel("US dollars per GPU and hour: the bar is the median, the line all bids")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="x", alpha=0.2)
        axes.set_axisbelow(True)

    return svg.picture((_INCHES, 0.9 + _BAR_INCHES * len(shown)), draw, summary(cards))


def _free(card: Card) -> str:
    if card.free is None:
        return ""
    return f", {card.free} free" if card.free else ", none free"


def table(cards: Sequence[Card]) -> str:
    """All figures of the picture, and what has no price."""
    heads = ("GPU", "memory", "median $/h", "least", "most", "free", "on one machine", "providers")
    rows = [
        (
            " ".join(filter(None, (card.model, card.interface))),
            card.ram or "–",
            *map(_dollars, (card.usd_median, card.usd_min, card.usd_max)),
            *map(_number, (card.free, card.free_on_a_node)),
            str(card.providers),
        )
        for card in cards
    ]
    made = board.table("GPUs, the cheapest first", heads, rows, numbers=range(1, len(heads)))
    return f'<div class="akl-sheet">{made}</div>'


def _dollars(amount: float | None) -> str:
    return "–" if amount is None else f"{amount:.3f}"


def _number(count: int | None) -> str:
    return "–" if count is None else str(count)
