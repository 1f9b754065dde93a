"""Conversations on disk: whole, private, and with two notebooks at one file."""

import json
import os
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import pytest

from tests.support.canaries import HOSTILE
from toolkit.client import ChatStats
from toolkit.errors import ConfigError
from toolkit.widgets.chat.conversation import Conversation, TurnState
from toolkit.widgets.chat.folder import ConversationFolder, Place
from toolkit.widgets.chat.keeping import Keeping
from toolkit.widgets.chat.pictures import Picture

PNG = Picture("sky.png", b"\x89PNG\r\n\x1a\n and more")


def said(*prompts: str) -> Conversation:
    conversation = Conversation()
    for prompt in prompts:
        turn = conversation.begin(prompt, "m")
        turn.add(f"reply to {prompt}")
        turn.state = TurnState.COMPLETE
    return conversation


@pytest.fixture
def folder(tmp_path: Path) -> ConversationFolder:
    return ConversationFolder(tmp_path / "conversations")


def test_what_is_read_is_what_was_written(folder: ConversationFolder) -> None:
    conversation = said("hello", HOSTILE)
    turn = conversation.begin("look", "m", [PNG])
    turn.add("half", "let me see")
    turn.stats = ChatStats(first_byte_s=0.1, total_s=0.2, output_tokens=3)
    turn.state, turn.usd, turn.waited_s = TurnState.STOPPED, 0.25, 1.5
    failed = conversation.begin("again", "m")
    failed.fail("busy", "wait", "HTTP status: 503")
    place = folder.write(conversation, None)
    back, again = folder.read(place.name)
    assert again == place
    assert back.turns == [
        *conversation.turns[:2],
        *back.turns[2:],
    ]
    assert back.turns[2].pictures == (PNG,) and back.turns[2].text == "half"
    assert (back.turns[2].thinking, back.turns[2].stats) == ("let me see", turn.stats)
    assert (back.turns[2].usd, back.turns[2].waited_s) == (0.25, 1.5)
    assert (back.turns[3].error, back.turns[3].details) == ("busy", "HTTP status: 503")
    assert back.created_at == conversation.created_at


def test_a_picture_is_kept_once_under_its_digest(folder: ConversationFolder) -> None:
    conversation = said("a")
    conversation.begin("b", "m", [PNG, PNG])
    name = folder.write(conversation, None).name
    stored = json.loads((folder.path / name).read_text())
    assert list(stored["pictures"]) == [PNG.digest]
    assert stored["turns"][1]["pictures"] == [PNG.digest] * 2


def test_a_picture_that_was_exchanged_is_refused(folder: ConversationFolder) -> None:
    conversation = Conversation()
    conversation.begin("b", "m", [PNG])
    path = folder.path / folder.write(conversation, None).name
    stored = json.loads(path.read_text())
    stored["pictures"][PNG.digest]["data"] = "aGVsbG8="
    path.write_text(json.dumps(stored))
    with pytest.raises(ConfigError, match="picture"):
        folder.read(path.name)


def test_only_the_owner_may_read(folder: ConversationFolder) -> None:
    path = folder.path / folder.write(said("secret"), None).name
    assert path.stat().st_mode & 0o777 == 0o600
    assert folder.path.stat().st_mode & 0o777 == 0o700
    assert folder.put_text("a.md", "text").stat().st_mode & 0o777 == 0o600


def test_a_reply_under_way_was_stopped_by_what_ended_its_notebook(
    folder: ConversationFolder,
) -> None:
    conversation = Conversation()
    conversation.begin("q", "m").add("so far")
    back, _ = folder.read(folder.write(conversation, None).name)
    assert (back.turns[0].state, back.turns[0].text) == (TurnState.STOPPED, "so far")


def test_the_latest_is_listed_first_and_a_title_is_one_line(folder: ConversationFolder) -> None:
    folder.write(said("first\nof \u202etwo " + "x" * 100), None)
    folder.write(said("second"), None)
    titles = [entry.title for entry in folder.entries()]
    assert titles[0] == "second"
    assert "\n" not in titles[1] and "\u202e" not in titles[1] and len(titles[1]) == 60


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b'{"cells": []}',
        b'{"format": "akash-llm conversation", "schema": 2}',
        b"[" * 100_000,
    ],
    ids=["empty", "bytes", "list", "notebook", "newer", "deep"],
)
def test_what_is_no_conversation_is_one_line_and_stays(
    folder: ConversationFolder, content: bytes
) -> None:
    folder.write(said("mine"), None)
    alien = folder.path / "alien.json"
    alien.write_bytes(content)
    *_, entry = folder.entries()
    assert entry.is_broken and entry.title == "alien.json (cannot be opened)"
    with pytest.raises(ConfigError) as refused:
        folder.read("alien.json")
    assert "\n" not in refused.value.message and "left as it is" in refused.value.hint
    assert alien.read_bytes() == content


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Tokyo"])
@pytest.mark.parametrize(
    ("date", "is_broken"),
    [
        ("2026-01-02T03:04:05", False),
        ("2026-01-02T03:04:05-14:00", False),
        ("0001-01-01T00:00:00+14:00", True),
        ("9999-12-31T23:59:59-14:00", True),
        ("0001-01-01T00:00:00", None),
        ("9999-12-31T23:59:59Z", None),
    ],
)
def test_no_date_of_one_file_hides_the_others(
    folder: ConversationFolder,
    monkeypatch: pytest.MonkeyPatch,
    zone: str,
    date: str,
    is_broken: bool | None,
) -> None:
    path = folder.path / folder.write(said("odd"), None).name
    folder.write(said("mine"), None)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"updated_at": date}))
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        choices = Keeping(folder.path).choices()
        entry = {entry.name: entry for entry in folder.entries()}[path.name]
        if entry.is_broken:
            with pytest.raises(ConfigError, match="no conversation"):
                folder.read(path.name)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert len(choices) == 3 and any(title.startswith("mine · ") for title, _ in choices)
    if is_broken is not None:  # where the zone decides, either is right
        assert entry.is_broken == is_broken


def test_a_file_cut_short_is_not_destroyed(folder: ConversationFolder) -> None:
    place = folder.write(said("one"), None)
    path = folder.path / place.name
    path.write_bytes(path.read_bytes()[:-40])
    cut = path.read_bytes()
    after = folder.write(said("one", "two"), place)
    assert after.name != place.name and path.read_bytes() == cut


def test_two_notebooks_lose_no_turn_and_the_second_is_told(tmp_path: Path) -> None:
    first, second = Keeping(tmp_path), Keeping(tmp_path)
    first.conversation, first.is_on = said("shared"), True
    assert first.save() == "" and first.place is not None
    second.open(first.place.name)
    first.conversation.begin("from the first", "m").add("a")
    assert first.save() == ""
    second.conversation.begin("from the second", "m").add("b")
    assert "Another notebook changed" in second.save()
    assert second.save() == ""  # from now on they are apart
    last = {c.turns[-1].prompt for c, _ in map(first.folder.read, _names(tmp_path))}
    assert last == {"from the first", "from the second"}


def _names(path: Path) -> list[str]:
    return [file.name for file in path.glob("*.json")]


def _write_many(path: Path, name: str, digest: str, number: int) -> None:
    folder, place = ConversationFolder(path), Place(name, digest)
    for count in range(10):
        place = folder.write(said("shared", f"{number}-{count}"), place)


def test_processes_that_write_at_once_lose_no_turn(folder: ConversationFolder) -> None:
    place = folder.write(said("shared"), None)
    context = get_context("spawn")
    work = [
        context.Process(target=_write_many, args=(folder.path, place.name, place.digest, number))
        for number in range(3)
    ]
    for process in work:
        process.start()
    for process in work:
        process.join()
    assert [process.exitcode for process in work] == [0, 0, 0]
    last = [folder.read(name)[0].turns[-1].prompt for name in _names(folder.path)]
    assert sorted(last) == ["0-9", "1-9", "2-9"]


def test_deleting_what_was_changed_elsewhere_is_refused(folder: ConversationFolder) -> None:
    place = folder.write(said("one"), None)
    newer = folder.write(said("one", "two"), place)
    with pytest.raises(ConfigError, match="changed by another"):
        folder.delete(place)
    folder.delete(newer)
    folder.delete(newer)
    assert folder.entries() == []


@pytest.fixture(params=["file", "read-only"])
def impossible(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A place where no folder can be."""
    if request.param == "file":
        (tmp_path / "file").write_text("in the way")
        return tmp_path / "file" / "conversations"
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    (tmp_path / "shut").mkdir(mode=0o500)
    return tmp_path / "shut" / "conversations"


def test_a_disk_that_refuses_is_one_clear_error(impossible: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        ConversationFolder(impossible).write(said("one"), None)
    assert "folder=" in refused.value.hint and "\n" not in refused.value.message


def test_half_a_character_is_written_as_the_sign_for_none(folder: ConversationFolder) -> None:
    conversation = said("one")
    conversation.turns[0].add("half \ud83d")
    again, _ = folder.read(folder.write(conversation, None).name)
    assert again.turns[0].text.endswith("half \ufffd")
    assert folder.put_text("a.md", "half \ud83d").read_text() == "half \ufffd"


def test_nothing_is_made_before_there_is_something_to_keep(tmp_path: Path) -> None:
    keeping = Keeping(tmp_path / "conversations")
    keeping.is_on = True
    assert keeping.save() == "" and keeping.choices() and keeping.where()
    keeping.conversation = said("asked by code")
    keeping.is_on = False
    assert keeping.save() == ""
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_kept_can_be_gone_back_to(tmp_path: Path) -> None:
    keeping = Keeping(tmp_path)
    kept = keeping.folder.write(said("kept"), None)
    keeping.conversation = said("asked by code")
    keeping.open(kept.name)
    titles = [title for title, _ in keeping.choices()]
    assert titles[:2] == ["kept", "asked by code (not kept)"]
    keeping.choose(keeping.choices()[1][1])
    assert keeping.conversation.title == "asked by code" and not keeping.is_on


@pytest.mark.parametrize("had_a_file", [False, True])
def test_what_could_not_be_saved_can_be_gone_back_to(tmp_path: Path, had_a_file: bool) -> None:
    path = tmp_path / "conversations"
    keeping = Keeping(path)
    other = keeping.folder.write(said("other"), None)
    keeping.conversation, keeping.is_on = said("mine"), True
    if had_a_file:
        assert keeping.save() == ""
    keeping.conversation.begin("unsaved", "m")
    (path / ".lock").unlink(missing_ok=True)
    (path / ".lock").mkdir()  # whoever holds it
    with pytest.raises(ConfigError):
        keeping.save()
    keeping.choose(other.name)
    keeping.begin()
    keeping.conversation = said("by code")
    keeping.begin()
    drafts = {title: name for title, name in keeping.choices() if title.endswith("(not kept)")}
    assert list(drafts) == ["by code (not kept)", "mine (not kept)"]
    (path / ".lock").rmdir()
    assert keeping.choose(drafts["mine (not kept)"]) == ""
    assert keeping.place is not None and list(keeping.drafts) == [drafts["by code (not kept)"]]
    stored = [t.prompt for t in keeping.folder.read(keeping.place.name)[0].turns]
    assert stored == ["mine", "unsaved"] and len(_names(path)) == 2


@pytest.mark.parametrize("act", [Keeping.clear, lambda k: k.rename("new"), Keeping.save])
def test_what_was_renamed_or_cleared_is_found_by_its_title(
    tmp_path: Path, act: Callable[[Keeping], str]
) -> None:
    keeping = Keeping(tmp_path)
    keeping.open_titled("A plan")
    keeping.conversation.begin("hello", "m")
    assert keeping.save() == "" and act(keeping) == ""
    again = Keeping(tmp_path)
    again.open_titled(keeping.conversation.title)
    assert again.place == keeping.place


def test_a_file_that_is_asked_for_and_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no gone\.json"):
        Keeping(tmp_path).open_titled("gone.json")
