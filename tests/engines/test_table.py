"""The table of the engines: its Markdown, its place, and what is in the repository."""

import datetime
from pathlib import Path

import pytest

from server.engines import ENGINES as SERVED
from tests.engines import kinds, table
from tests.engines.probes import PROBES
from tests.engines.subject import Outcome, Probe, Subject, require
from tests.engines.table import BEGIN, END, Column

DAY = datetime.date(2026, 1, 2)
YES, IGNORED, UNTRIED = Outcome("yes"), Outcome("ignored"), Outcome("untried")
ONE = Column("A 1", DAY, {"chat": YES, "images": Outcome("no", "no <eyes> | here")})
OTHER = Column("B 2", DAY, {"chat": IGNORED, "images": UNTRIED, "more": YES})
COLUMNS = {"a": ONE, "b": OTHER}
SHOWN = """\
|  | `a` | `b` |
| --- | --- | --- |
| chat | yes | ignored |
| images | no (1) | – |
| more | – | yes |

1. no &lt;eyes> \\| here

Tried with `a`: A 1 (2026-01-02); `b`: B 2 (2026-01-02)."""


def test_the_table() -> None:
    assert table.markdown(COLUMNS) == SHOWN


def test_what_is_said_twice_stands_once() -> None:
    no = Outcome("no", "it cannot")
    shown = table.markdown({"a": Column("A", DAY, {"one": no, "other": no})})
    assert "| one | no (1) |" in shown and "| other | no (1) |" in shown
    assert shown.count("it cannot") == 1


def test_it_is_put_between_its_marks() -> None:
    text = f"before\n{BEGIN}\nold\n{END}\nbehind"
    assert table.placed(text, COLUMNS) == f"before\n{BEGIN}\n{SHOWN}\n{END}\nbehind"
    assert table.placed(table.placed(text, COLUMNS), COLUMNS) == table.placed(text, COLUMNS)


@pytest.mark.parametrize("text", ["", BEGIN, END, f"{END} {BEGIN}"])
def test_a_text_without_the_marks_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="engines"):
        table.placed(text, COLUMNS)


def test_data_come_back_as_they_were_stored(tmp_path: Path) -> None:
    path = tmp_path / "engines.json"
    table.store(COLUMNS, path)
    assert table.load(path) == COLUMNS


def test_only_what_has_changed_gets_a_new_day() -> None:
    today = datetime.date(2026, 3, 4)
    same = Column("A 1", today, ONE.outcomes)
    newer = Column("B 3", today, OTHER.outcomes)
    assert table.merged(COLUMNS, {"a": same, "b": newer}) == {"a": ONE, "b": newer}
    assert table.merged({}, {"a": same}) == {"a": same}


def test_the_readme_shows_what_the_data_say() -> None:
    text = table.README.read_text(encoding="utf-8")
    assert text == table.placed(text, table.load())


def test_the_data_are_of_these_engines_and_probes() -> None:
    columns = table.load()
    assert [*columns] == [engine.name for engine in kinds.ENGINES]
    assert set(columns) <= set(SERVED)
    for column in columns.values():
        assert [*column.outcomes] == [probe.name for probe in PROBES]


def test_an_outcome_is_what_the_server_says() -> None:
    def refuse(_: Subject) -> None:
        require(False, "not\n here")

    subject = Subject("http://127.0.0.1:9", {})
    with subject:
        assert Probe("x", lambda _: None).outcome(subject) == YES
        assert Probe("x", refuse).outcome(subject) == Outcome("no", "not here")
        assert Probe("x", lambda asked: asked.model("sees")).outcome(subject) == UNTRIED
