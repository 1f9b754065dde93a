"""The books of a download: whatever happens, every byte is counted once."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from server.models.parts import Notes, Part, completed, covers, plan

SIZES = st.integers(0, 50_000_000_000)


@given(SIZES)
def test_plan_covers_a_blob_in_parts_within_limits(size: int) -> None:
    parts = plan(size)
    assert covers(parts, size)
    assert all(part.size <= 1_000_000_000 for part in parts)
    assert all(part.size >= 100_000_000 for part in parts[:-1])
    assert completed(parts) == 0


@given(SIZES, st.integers(1, 1 << 40), st.integers(1, 1 << 40))
def test_plan_covers_a_blob_with_any_limits(size: int, least: int, most: int) -> None:
    smallest = size // 1000 + 1
    parts = plan(size, least_bytes=max(least, smallest), most_bytes=max(most, smallest))
    assert covers(parts, size)


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [Part(0, 0, 5)],
        [Part(0, 0, 5), Part(1, 6, 4)],
        [Part(0, 0, 6), Part(1, 5, 5)],
        [Part(1, 0, 10)],
        [Part(0, 0, 10, 11)],
        [Part(0, 0, 10, -1)],
        [Part(0, 0, 10), Part(1, 10, 0)],
        [Part(0, 0, 20), Part(1, 20, -10)],
    ],
)
def test_parts_with_gaps_are_no_blob(parts: list[Part]) -> None:
    assert not covers(parts, 10)


class Books(RuleBasedStateMachine):
    """A download that is written, stopped and begun again, against a plain array of bytes."""

    @initialize(size=st.integers(1, 400), least=st.integers(1, 90))
    def begin(self, size: int, least: int) -> None:
        self.size = size
        self.parts = plan(size, least_bytes=least, most_bytes=90)
        self.there = [0] * size

    @rule(which=st.integers(0), count=st.integers(0, 50))
    def arrive(self, which: int, count: int) -> None:
        number = which % len(self.parts)
        part = self.parts[number]
        if count > part.missing:
            with pytest.raises(ValueError, match="lacks"):
                part.advanced(count)
            return
        for position in range(part.position, part.position + count):
            self.there[position] += 1
        self.parts[number] = part.advanced(count)

    @rule()
    def stop_and_go_on(self) -> None:
        self.parts = again(self.parts, self.size)

    @invariant()
    def every_byte_is_counted_once(self) -> None:
        if not hasattr(self, "size"):
            return
        assert covers(self.parts, self.size)
        assert completed(self.parts) == sum(self.there)
        assert max(self.there) <= 1


def again(parts: list[Part], size: int) -> list[Part]:
    """What is read of the notes about these parts."""

    with tempfile.TemporaryDirectory() as folder:
        notes = Notes(Path(folder) / "sha256-x-partial")
        for part in parts:
            notes.write(part)
        return notes.read(size)


TestBooks = Books.TestCase
TestBooks.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)


@given(st.binary(max_size=200))
def test_note_that_is_none_begins_anew(data: bytes) -> None:

    with tempfile.TemporaryDirectory() as folder:
        partial = Path(folder) / "sha256-x-partial"
        notes = Notes(partial)
        for part in plan(300, least_bytes=100, most_bytes=100):
            notes.write(part)
        Path(f"{partial}-1").write_bytes(data)
        found = notes.read(300)
        assert found == [] or covers(found, 300)
        notes.remove()
        assert list(Path(folder).iterdir()) == []


def test_notes_are_ollamas(tmp_path: Path) -> None:
    Notes(tmp_path / "b-partial").write(Part(2, 10, 20, 5))
    text = (tmp_path / "b-partial-2").read_text()
    assert text == '{"N":2,"Offset":10,"Size":20,"Completed":5}'
