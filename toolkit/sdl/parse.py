"""Text to a typed document that knows where every value stands."""

from toolkit.errors import SDLError
from toolkit.sdl import decode, nodes
from toolkit.sdl.cursor import Cursor
from toolkit.sdl.model import SDL
from toolkit.sdl.problems import Level, Log, Position, Problem


class Document:
    """An SDL as read: the typed model, and the positions of its values."""

    def __init__(self, file: str, sdl: SDL, root: nodes.Node) -> None:
        self.file = file
        self.sdl = sdl
        self._root = root

    def position(self, path: str) -> Position:
        """Where the value at a JSON pointer stands; its nearest ancestor if it is absent."""
        return nodes.find(self._root, path)[0]


def parse(text: str | bytes, file: str = "-") -> Document:
    """Read one SDL. SDLError, with all problems of structure, if it is not one.

    Rules beyond the structure are `validate`'s.
    """
    log = Log()
    document = read(text, file, log)
    problems = [problem for problem in log.problems if problem.level is Level.INVALID]
    if document is None or problems:
        raise sdl_error(file, problems)
    return document


def read(text: str | bytes, file: str, log: Log) -> Document | None:
    """Read as much as there is, with placeholders for what `log` says is wrong.

    `None` when the text is not even YAML.
    """
    try:
        root = nodes.load(text)
    except nodes.MalformedYAML as error:
        log.add("", error.position, error.message, error.hint, spoils="")
        return None
    return Document(file, decode.sdl(Cursor(root, "", root.position, log)), root)


def sdl_error(file: str, problems: list[Problem]) -> SDLError:
    """The error for a file with at least one problem."""
    first, *others = problems
    more = f" (and {len(others)} more)" if others else ""
    return SDLError(
        f"{file}:{first.line}:{first.column}: {first.message}{more}",
        hint=first.hint,
        problems=tuple(problems),
    )
