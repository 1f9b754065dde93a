"""The parameters of a notebook: read from its `parameters` cell, checked before it runs.

Each is one annotated assignment with a comment: `name: str = "local"  # what it means`.
The cell is read, never executed.
"""

import ast
import difflib
import io
import tokenize
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_origin

import msgspec
import yaml

from toolkit import jsontext, paths
from toolkit.automation.secrets import is_secret_name, is_secret_value
from toolkit.errors import ConfigError, UsageError

TAG = "parameters"

_NAMES: dict[str, Any] = {"str": str, "int": int, "float": float, "bool": bool, "Any": Any}
_GENERICS: dict[str, Any] = {"list": list, "dict": dict, "tuple": tuple}
_SCALARS = (str, int, float, bool)
_UNKNOWN = ast.Name("Any")


class Parameter(msgspec.Struct, frozen=True):
    """One parameter. `type` and `default` are Python, as written in the cell."""

    name: str
    type: str
    default: str
    help: str


def find_notebook(name: str) -> Path:
    """A notebook by its path, or one of ours by its name; else `UsageError`."""
    path = Path(name)
    if path.suffix == ".ipynb" and path.is_file():
        return path
    ours = {p.stem: p for p in list_notebooks()}
    if name.removesuffix(".ipynb") in ours:
        return ours[name.removesuffix(".ipynb")]
    raise UsageError(f"there is no notebook {name!r}", hint=suggestion(name, list(ours)))


def list_notebooks() -> list[Path]:
    """The notebooks that come with the toolkit."""
    return sorted(paths.notebooks().glob("*.ipynb"))


def read_cells(notebook: Path) -> list[dict[str, Any]]:
    """The cells of a notebook; `ConfigError` if the file is none."""
    try:
        document = jsontext.decoded(notebook.read_bytes())
        cells: list[dict[str, Any]] = document["cells"]
        return [{**cell, "source": _text(cell.get("source", ""))} for cell in cells]
    except (OSError, msgspec.MsgspecError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{notebook} is not a notebook: {error}", hint="It must be nbformat 4 JSON."
        ) from None


def title_of(cells: list[dict[str, Any]]) -> str:
    """The first heading of a notebook."""
    texts = (cell["source"] for cell in cells if cell.get("cell_type") == "markdown")
    lines = (line for text in texts for line in text.splitlines())
    return next((line.lstrip("# ").strip() for line in lines if line.startswith("#")), "")


def read_parameters(notebook: Path) -> list[Parameter]:
    """The parameters in the order of the cell; none if there is no such cell."""
    source = _parameters_cell(notebook)
    comments = _comments(source)
    return [
        Parameter(name, ast.unparse(kind), ast.unparse(value), comments.get(line, ""))
        for name, kind, value, line in _assignments(notebook, source)
    ]


def check_parameters(
    notebook: Path, texts: Mapping[str, str], values: Mapping[str, object]
) -> dict[str, object]:
    """What is given, as the notebook declares it: `texts` are converted, `values` checked.

    `UsageError` for an unknown name, a wrong type, or what looks like a secret. The
    message never repeats a value.
    """
    declared = {
        name: kind for name, kind, _, _ in _assignments(notebook, _parameters_cell(notebook))
    }
    given: dict[str, object] = {**values, **texts}
    for name, value in given.items():
        if name not in declared:
            raise UsageError(
                f"{notebook.name} has no parameter {name!r}", hint=suggestion(name, list(declared))
            )
        _refuse_secret(name, value)
    return {
        name: _converted(name, value, declared[name], is_text=name in texts)
        for name, value in given.items()
    }


def _refuse_secret(name: str, value: object) -> None:
    if is_secret_name(name) or is_secret_value(value):
        raise UsageError(
            f"{name!r} looks like a secret: a parameter is stored in the executed notebook",
            hint="Put it into an environment variable, or give the file that holds it.",
        )


def _converted(name: str, value: object, kind: ast.expr, *, is_text: bool) -> object:
    wanted = _type_of(kind)
    try:
        if is_text and isinstance(value, str) and _is_structured(kind):
            value = _structure(value, wanted)
        return msgspec.convert(value, wanted, strict=not is_text)
    except (msgspec.ValidationError, yaml.YAMLError):
        raise UsageError(
            f"{name!r} must be {ast.unparse(kind)}",
            hint="`akash-llm notebook params` shows every parameter with its type.",
        ) from None


def _structure(text: str, wanted: object) -> object:
    """The value that a text is in YAML; a list may do without its brackets: `1,4`."""
    value = yaml.safe_load(text)
    is_list = (get_origin(wanted) or wanted) in (list, tuple)
    return yaml.safe_load(f"[{text}]") if is_list and isinstance(value, _SCALARS) else value


def _is_structured(kind: ast.expr) -> bool:
    names = {node.id for node in ast.walk(kind) if isinstance(node, ast.Name)}
    return bool(names & set(_GENERICS))


def _type_of(kind: ast.expr) -> Any:
    """The type that an annotation means; `ConfigError` for what a parameter cannot be."""
    match kind:
        case ast.Name(id=name) if name in _NAMES or name in _GENERICS:
            return _NAMES.get(name) or _GENERICS[name]
        case ast.Constant(value=None):
            return None
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return Union[_type_of(left), _type_of(right)]  # noqa: UP007 - built at run time
        case ast.Subscript(value=ast.Name(id="Literal"), slice=choices):
            return Literal[ast.literal_eval(choices)]
        case ast.Subscript(value=ast.Name(id=name), slice=inner) if name in _GENERICS:
            parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            return _GENERICS[name][tuple(_type_of(part) for part in parts)]
    raise ConfigError(
        f"a parameter cannot be annotated with {ast.unparse(kind)}",
        hint="Use str, int, float, bool, list[…], dict[…], Literal[…], or one of these or None.",
    )


def _assignments(notebook: Path, source: str) -> list[tuple[str, ast.expr, ast.expr, int]]:
    """(name, type, default, last line) of each assignment to one name."""
    try:
        statements = ast.parse(source).body
    except SyntaxError as error:
        raise ConfigError(f"the parameters cell of {notebook} is no Python: {error}") from None
    found = []
    for statement in statements:
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=kind, value=value) if value:
                found.append((name, kind, value, statement.end_lineno or 0))
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                found.append((name, _inferred(value), value, statement.end_lineno or 0))
    return found


def _inferred(value: ast.expr) -> ast.expr:
    """The type of a default that nobody annotated."""
    if isinstance(value, ast.Constant) and type(value.value).__name__ in _NAMES:
        return ast.Name(type(value.value).__name__)
    return _UNKNOWN


def _comments(source: str) -> dict[int, str]:
    """Line number → the comment on it."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}


def _parameters_cell(notebook: Path) -> str:
    tagged = [
        cell["source"]
        for cell in read_cells(notebook)
        if cell.get("cell_type") == "code" and TAG in cell.get("metadata", {}).get("tags", ())
    ]
    if len(tagged) > 1:
        raise ConfigError(f"{notebook} has {len(tagged)} cells tagged {TAG!r}, not one")
    return str(tagged[0]) if tagged else ""


def _text(source: str | list[str]) -> str:
    return source if isinstance(source, str) else "".join(source)


def suggestion(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f"Did you mean {close[0]!r}?"
    return f"There are: {', '.join(known)}" if known else "There are none."
