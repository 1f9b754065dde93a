"""Parameters of notebooks: read, never executed; checked before anything starts."""

import json
from pathlib import Path

import pytest

from toolkit.automation.params import (
    Parameter,
    check_parameters,
    find_notebook,
    list_notebooks,
    read_parameters,
)
from toolkit.errors import ConfigError, UsageError

DATA = Path(__file__).parents[2] / "notebooks" / "data"
TYPED = DATA / "typed.ipynb"


def written(folder: Path, source: str, *, cells: int = 1) -> Path:
    cell = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": source}
    path = folder / "made.ipynb"
    path.write_text(json.dumps({"cells": [cell] * cells, "nbformat": 4}))
    return path


def test_they_are_listed_with_type_default_and_meaning() -> None:
    found = read_parameters(TYPED)
    assert found[0] == Parameter("text", "str", "'a'", "a text")
    assert found[4] == Parameter("maybe", "int | None", "None", "a number, or nothing")
    assert [p.name for p in found] == ["text", "count", "share", "is_on", "maybe", "words", "plain"]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("text", "4", "4"),
        ("text", "", ""),
        ("count", "4", 4),
        ("share", "4", 4.0),
        ("is_on", "true", True),
        ("is_on", "False", False),
        ("maybe", "null", None),
        ("maybe", "7", 7),
        ("words", "[a, b]", ["a", "b"]),
        ("words", "a,b", ["a", "b"]),
        ("words", "a", ["a"]),
        ("plain", "4", 4),
    ],
)
def test_texts_become_what_is_declared(name: str, text: str, value: object) -> None:
    checked = check_parameters(TYPED, {name: text}, {})
    assert checked == {name: value}
    assert type(checked[name]) is type(value)


@pytest.mark.parametrize(("text", "value"), [("1,4", [1, 4]), ("4", [4]), ("[1, 4]", [1, 4])])
def test_a_list_may_do_without_its_brackets(text: str, value: object) -> None:
    checked = check_parameters(find_notebook("06_benchmark"), {"concurrency": text}, {})
    assert checked == {"concurrency": value}


@pytest.mark.parametrize(
    ("name", "value"),
    [("count", "four"), ("count", 1.5), ("count", True), ("is_on", 3), ("words", [1]), ("text", 4)],
)
@pytest.mark.goal(8)
def test_values_of_another_type_are_refused(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"'{name}' must be "):
        check_parameters(TYPED, {}, {name: value})


def test_a_text_that_is_no_number_is_refused_without_repeating_it() -> None:
    with pytest.raises(UsageError) as caught:
        check_parameters(TYPED, {"count": "canary-value"}, {})
    assert "canary-value" not in str(caught.value)


@pytest.mark.goal(8)
def test_an_unknown_one_is_refused_with_a_suggestion() -> None:
    with pytest.raises(UsageError) as caught:
        check_parameters(TYPED, {"cuont": "1"}, {})
    assert caught.value.hint == "Did you mean 'count'?"


@pytest.mark.parametrize(
    "value",
    [
        "ak-abcdefghijklmnop",
        "hf_abcdefghijkl",
        "sk-abcdefghijkl",
        "Authorization: Bearer abcdefghijklmnopqrs",
        "it is ak-abcdefghijklmnop indeed",
    ],
)
def test_secrets_are_refused_by_their_form(value: str) -> None:
    with pytest.raises(UsageError, match="secret") as caught:
        check_parameters(TYPED, {"text": value}, {})
    assert value not in str(caught.value)
    with pytest.raises(UsageError, match="secret"):
        check_parameters(TYPED, {}, {"words": [value]})


@pytest.mark.parametrize("name", ["key", "api_key", "hf_token", "password", "SECRET"])
def test_secrets_are_refused_by_their_name(tmp_path: Path, name: str) -> None:
    notebook = written(tmp_path, f'{name}: str = ""')
    with pytest.raises(UsageError, match="secret"):
        check_parameters(notebook, {name: "anything"}, {})


@pytest.mark.parametrize("name", ["key_file", "max_tokens", "keep", "monkey"])
def test_names_that_only_sound_like_it_are_not(tmp_path: Path, name: str) -> None:
    notebook = written(tmp_path, f'{name}: str = ""')
    assert check_parameters(notebook, {name: "x"}, {}) == {name: "x"}


def test_choices(tmp_path: Path) -> None:
    notebook = written(tmp_path, 'target: Literal["local", "console"] = "local"')
    assert check_parameters(notebook, {"target": "console"}, {}) == {"target": "console"}
    with pytest.raises(UsageError, match="Literal"):
        check_parameters(notebook, {"target": "moon"}, {})


def test_the_cell_is_never_executed(tmp_path: Path) -> None:
    trace = tmp_path / "executed"
    notebook = written(tmp_path, f'open("{trace}", "w")\nname: str = open("{trace}", "w")')
    assert [p.name for p in read_parameters(notebook)] == ["name"]
    assert not trace.exists()


@pytest.mark.parametrize("source", ["name: str =", "x: os.PathLike = 1"])
def test_a_cell_that_declares_nothing_sensible(tmp_path: Path, source: str) -> None:
    with pytest.raises(ConfigError):
        check_parameters(written(tmp_path, source), {"x": "1"}, {})


def test_two_cells_are_one_too_many(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="2 cells"):
        read_parameters(written(tmp_path, "x: int = 1", cells=2))


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"cells": [1]}', b"\xff"])
def test_a_file_that_is_no_notebook(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.ipynb"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="not a notebook"):
        read_parameters(path)


def test_notebooks_are_found_by_name_and_by_path() -> None:
    ours = {path.stem for path in list_notebooks()}
    assert {"01_start", "04_deploy"} <= ours
    assert find_notebook("04_deploy") == find_notebook("04_deploy.ipynb")
    assert find_notebook(str(TYPED)) == TYPED
    with pytest.raises(UsageError) as caught:
        find_notebook("04_deplo")
    assert "04_deploy" in caught.value.hint
