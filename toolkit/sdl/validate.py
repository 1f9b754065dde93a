"""All problems of one file, in one report."""

from typing import Final

from toolkit.sdl import advice, provider, semantics
from toolkit.sdl.findings import Findings, Rule
from toolkit.sdl.manifest import manifest_hash
from toolkit.sdl.parse import Document, read
from toolkit.sdl.problems import Level, Log, Problem, Report

_RULES: Final[dict[Level, tuple[Rule, ...]]] = {
    Level.INVALID: semantics.RULES,
    Level.REJECTED: provider.RULES,
    Level.WARNING: advice.RULES,
}
_ORDER: Final = list(_RULES)


def validate(text: str | bytes, file: str = "-") -> Report:
    """Everything that is wrong with `text`; never raises for what stands in it.

    The problems are sorted by level, the worst first, then by their place in the file.
    """
    log = Log()
    document = read(text, file, log)
    if document is not None:
        for level, rules in _RULES.items():
            for rule in rules:
                rule(Findings(document, log, level))
    problems = tuple(sorted(dict.fromkeys(log.problems), key=_order))
    worst = _ORDER.index(problems[0].level) if problems else len(_ORDER)
    is_invalid = worst == _ORDER.index(Level.INVALID)
    return Report(
        file=file,
        ok=worst >= _ORDER.index(Level.WARNING),
        hash=None if is_invalid else _hash(document),
        problems=problems,
    )


def _order(problem: Problem) -> tuple[int, int, int]:
    return _ORDER.index(problem.level), problem.line, problem.column


def _hash(document: Document | None) -> str | None:
    return None if document is None else manifest_hash(document.sdl)
