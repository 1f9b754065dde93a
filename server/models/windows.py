"""Which layers of a model look back over a window only, as llama.cpp decides it.

Each architecture has a rule of its own (`load_arch_hparams`), so one that has none here has no
windows, whatever its file says.
"""

from typing import NamedTuple

from server.models.gguf import GGUFHeader


class _Rule(NamedTuple):
    """Which layers of an architecture have a window: all but one of `period`, the last or
    (`is_first`) the first; `window` where the file says none, `forced` whatever it says."""

    period: int
    is_first: bool = False
    window: int = 0
    forced: int = 0


# Where the file lists the layers (`sliding_window_pattern`), the list is what counts.
_RULES = {
    "afmoe": _Rule(4),
    "cohere2": _Rule(4),
    "cohere2moe": _Rule(4, is_first=True),
    "exaone-moe": _Rule(4, window=128),
    "gemma2": _Rule(2, window=4096),
    "gemma3": _Rule(6),
    "gemma3n": _Rule(5),
    "gemma4": _Rule(0),
    "gpt-oss": _Rule(2),
    "granite_swa": _Rule(0),
    "laguna": _Rule(4, is_first=True),
    "lfm2": _Rule(0),
    "lfm2moe": _Rule(0),
    "llama4": _Rule(4, forced=8192),
    "maple": _Rule(0),
    "mellum": _Rule(4),
    "mimo2": _Rule(0),
    "muse-glimmer": _Rule(4),
    "olmo2": _Rule(4),
    "plamo3": _Rule(8),
    "smallthinker": _Rule(4, is_first=True, forced=4096),
    "spark2_5": _Rule(0),
    "step35": _Rule(0),
}
_EXAONE4_LAYERS = 64  # so many has the one with windows

_EXAONE4_RULE = _Rule(4, window=4096)
_WITHOUT_STATE = frozenset({"lfm2", "lfm2moe"})  # all layers that are not recurrent


def window_of(header: GGUFHeader) -> int:
    """Tokens that a layer with a window looks back; 0 if there are no windows."""
    rule = _rule(header)
    if rule is None:
        return 0
    said = header.of_architecture("attention.sliding_window")
    is_off = said == 0
    return 0 if is_off else (rule.forced or max(0, said or 0) or rule.window)


def windowed_layers(header: GGUFHeader, count: int) -> list[bool]:
    """Of each of `count` layers, whether it has a window."""
    rule = _rule(header)
    if rule is None or not window_of(header):
        return [False] * count
    if header.architecture in _WITHOUT_STATE:
        return [True] * count
    key = f"{header.architecture}.attention.sliding_window_pattern"
    said = header.metadata.get(key)
    if isinstance(said, list):
        return [*map(bool, said), *[False] * count][:count]
    period = max(0, header.number(key) or 0) or rule.period
    if not period:
        return [False] * count
    full = 0 if rule.is_first else period - 1
    return [index % period != full for index in range(count)]


def _rule(header: GGUFHeader) -> _Rule | None:
    if header.architecture == "exaone4":
        layers = header.of_architecture("block_count")
        return _EXAONE4_RULE if layers == _EXAONE4_LAYERS else None
    return _RULES.get(header.architecture)
