"""`akash-llm` as a person types it, in this process: a hundred cold starts would take minutes."""

import pytest

from toolkit.cli import run


class Commands:
    """Runs commands with nobody at the keyboard, and holds their exit code against `code`."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *argv: str, code: int = 0) -> str:
        """What it says: its output, or where it shall fail its complaint."""
        self._capsys.readouterr()
        ended = run(argv)
        said = self._capsys.readouterr()
        assert ended == code, said.err
        return said.err if code else said.out
