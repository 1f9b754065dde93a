"""All problems of one file, in one report."""

from toolkit.sdl.parse import read
from toolkit.sdl.problems import Level, Log, Report


def validate(text: str | bytes, file: str = "-") -> Report:
    """Everything that is wrong with `text`; never raises for what stands in it."""
    log = Log()
    read(text, file, log)
    problems = tuple(sorted(log.problems, key=lambda problem: (problem.line, problem.column)))
    ok = all(problem.level is Level.WARNING for problem in problems)
    return Report(file, ok, None, problems)
