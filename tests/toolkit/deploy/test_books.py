"""The books as text and as HTML: a head for each column, and nothing but text in the cells."""

from datetime import UTC, datetime
from decimal import Decimal

from toolkit.deploy.base import Health, Intent, Record, Spend, State
from toolkit.deploy.books import Diagnoses, Endpoints, Entry, History
from toolkit.deploy.doctor import Diagnosis
from toolkit.deploy.keeper import EndpointStatus
from toolkit.deploy.ledger import Event

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HOSTILE = "<img src=x>\x1b[2J"


def record(name: str, error: str | None = None) -> Record:
    return Record(
        uid=name,
        intent=Intent(name=name),
        state=State.CLOSED,
        sdl="",
        opened_at=AT,
        updated_at=AT,
        closed_at=AT,
        error=error,
    )


def test_a_history_adds_up_and_lists_its_events_in_order() -> None:
    spend = Spend(usd_per_hour=Decimal("0.5"), spent_usd=Decimal("1.25"))
    late = Event(AT.replace(hour=5), "a", "closed", HOSTILE)
    early = Event(AT, "b", "opening", "")
    entries = (record("a", HOSTILE), spend, (late,)), (record("b"), None, (early,))
    history = History(Entry(*each) for each in entries)
    text, html = str(history), history._repr_html_()
    assert text.splitlines()[0].split()[:3] == ["NAME", "TARGET", "MODEL"]
    assert text.splitlines()[-1] == "in all $1.25; now $0.50 an hour"
    assert "\x1b" not in text + html and "<img" not in html and "&lt;img" in html
    assert html.count("scope='col'") == 8 and html.count("scope='row'") == 2
    assert [name for name, _ in history.events()] == ["b", "a"]
    assert "03:04:05" in str(history.events())


def test_what_is_open_says_how_it_is_and_what_it_costs() -> None:
    ends = Spend(usd_per_hour=Decimal("0.5"), spent_usd=Decimal(0), ends_at=AT)
    one = EndpointStatus(
        uid="0",
        name="a",
        target="console",
        engine="vllm",
        model="m",
        state=State.READY,
        health=Health.NOT_READY,
        detail=HOSTILE,
        url=None,
        key_file="k",
        context=1,
        parallel=1,
        opened_at=AT,
        run_id=None,
        spend=ends,
    )
    text, html = str(Endpoints([one])), Endpoints([one])._repr_html_()
    assert "not ready: <img src=x>" in text and "$0 at $0.50/h, ends 01-02 03:04" in text
    assert "<img" not in html and "\x1b" not in html


def test_nothing_is_a_sentence() -> None:
    assert "nothing is open" in str(Endpoints()) and "nothing is open" in Endpoints()._repr_html_()
    assert str(Diagnoses()) == "ledger and reality agree"
    found = Diagnoses([Diagnosis(target="local", uid="u", what="it is gone", remedy="close it")])
    assert str(found).splitlines()[1].split() == ["u", "local", "it", "is", "gone", "close", "it"]
