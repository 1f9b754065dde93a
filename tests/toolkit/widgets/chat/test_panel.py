"""The chat panel without a browser: what its widgets hold after what a person does."""

import asyncio
import json
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import pytest

from tests.support.canaries import ARABIC, HOSTILE, SPLIT, SPLIT_TOGETHER
from tests.support.endpoint import (
    MODEL,
    Answer,
    Hold,
    Received,
    ScriptedEndpoint,
    Think,
    words,
)
from toolkit.client import Endpoint
from toolkit.errors import EndpointError, UsageError
from toolkit.widgets.chat.conversation import Conversation, TurnState
from toolkit.widgets.chat.files import encode
from toolkit.widgets.chat.folder import ConversationFolder
from toolkit.widgets.chat.panel import ChatPanel
from toolkit.widgets.chat.snippet import Client
from toolkit.widgets.chat.transcript import MANY, STARTERS
from toolkit.widgets.typed import TEXT_GRACE_S

KEY = "ak-canary-5eed"


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a notebook would lie."""
    monkeypatch.chdir(tmp_path)


def panel_of(server: ScriptedEndpoint, **given: Any) -> ChatPanel:
    endpoint = Endpoint.open(url=server.url, model=MODEL, name="test", key=KEY)
    return ChatPanel(endpoint, **given)


def all_widgets(root: widgets.Widget) -> list[widgets.Widget]:
    return [root, *(w for child in getattr(root, "children", ()) for w in all_widgets(child))]


def shown(panel: ChatPanel) -> str:
    return "\n".join(w.value for w in all_widgets(panel.view) if isinstance(w, widgets.HTML))


def enter(panel: ChatPanel, text: str) -> None:
    """What a front end sends for Enter: the event, then the text."""
    line = panel.composer.line
    line._handle_custom_msg({"event": "submit"}, [])
    line.value = text


def by_prompt(answers: dict[str, Answer]) -> Any:
    def script(received: Received) -> Answer:
        return answers[received.body["messages"][-1]["content"]]

    return script


async def click(button: widgets.Button) -> None:
    """A click on a button that waits for a text."""
    button.click()
    await asyncio.sleep(2 * TEXT_GRACE_S)


async def idle(panel: ChatPanel) -> None:
    await panel._task.wait()
    await panel._looking.wait()


async def test_enter_sends_and_the_reply_shows_its_figures() -> None:
    async with ScriptedEndpoint(lambda _: words("one two three")) as server:
        panel = panel_of(server)
        enter(panel, "hi")
        await idle(panel)
        html = shown(panel)
    assert "hi" in html and "one two three" in html
    for figure in ("<b>3</b> tokens", "tok/s", "first token", "of 2,048", "ended: stop"):
        assert figure in html
    assert panel.composer.draft == ""


async def test_leaving_the_line_keeps_a_draft_and_enter_sends_it_later() -> None:
    async with ScriptedEndpoint() as server:
        panel = panel_of(server)
        panel.composer.line.value = "a draft"
        await asyncio.sleep(0)
        assert panel.conversation.turns == []
        panel.composer.line._handle_custom_msg({"event": "submit"}, [])
        await server.until(lambda s: len(s.generations()) == 1)
        assert server.generations()[0].body["messages"][-1]["content"] == "a draft"
        await idle(panel)


@pytest.mark.parametrize("late_s", [0.02, 0.3])
async def test_a_click_that_overtakes_the_text_sends_the_text(late_s: float) -> None:
    async with ScriptedEndpoint() as server:
        panel = panel_of(server)
        panel.composer.lines.value = True
        panel.composer.send.click()
        await asyncio.sleep(late_s)
        panel.composer.box.value = "two\nlines"
        await server.until(lambda s: len(s.generations()) == 1)
        await idle(panel)
    assert server.generations()[0].body["messages"][-1]["content"] == "two\nlines"
    assert panel.composer.draft == ""


async def test_a_starter_sends_itself() -> None:
    async with ScriptedEndpoint() as server:
        panel = panel_of(server)
        buttons = {w.description: w for w in all_widgets(panel.view) if hasattr(w, "click")}
        buttons[STARTERS[1]].click()
        await idle(panel)
    assert server.generations()[0].body["messages"][0]["content"] == STARTERS[1]


async def test_stop_frees_the_slot_and_keeps_the_text() -> None:
    async with ScriptedEndpoint(lambda _: Answer(["partial", " text", Hold()])) as server:
        panel = panel_of(server)
        enter(panel, "hi")
        await server.until(lambda s: s.active == 1)
        assert not panel.composer.stop.disabled and panel.composer.send.disabled
        async with asyncio.timeout(10):
            while "partial text" not in shown(panel):
                await asyncio.sleep(0.01)
        panel.composer.stop.click()
        await server.until(lambda s: s.active == 0 and s.cancelled == 1)
        await idle(panel)
        assert "partial text" in shown(panel) and "stopped" in shown(panel)
        assert panel.composer.stop.disabled and not panel.composer.send.disabled


async def test_stopping_at_once_ends_the_turn() -> None:
    async with ScriptedEndpoint(lambda _: Answer([Hold()])) as server:
        panel = panel_of(server)
        enter(panel, "hi")
        panel.stop()
        await idle(panel)
        assert panel.conversation.turns[0].state is TurnState.STOPPED


async def test_the_conversation_is_sent_with_what_was_stopped_and_without_what_failed() -> None:
    answers = {
        "a": words("reply a"),
        "b": Answer(status=503, error="busy"),
        "c": words("reply c"),
    }
    async with ScriptedEndpoint(by_prompt(answers)) as server:
        panel = panel_of(server)
        for prompt in answers:
            enter(panel, prompt)
            await idle(panel)
        sent = server.generations()[-1].body["messages"]
    assert [(m["role"], m["content"]) for m in sent] == [
        ("user", "a"),
        ("assistant", "reply a"),
        ("user", "c"),
    ]
    assert "busy" in shown(panel) and "try again" in shown(panel)


async def test_retry_asks_again_and_edit_takes_back() -> None:
    async with ScriptedEndpoint() as server:
        panel = panel_of(server)
        enter(panel, "hi")
        await idle(panel)
        await click(panel.composer.retry)
        await idle(panel)
        assert len(panel.conversation.turns) == 1 and len(server.generations()) == 2
        panel.composer.edit.click()
        assert panel.conversation.turns and panel.composer.draft == "hi"
        assert "You</div>" not in shown(panel)


@pytest.mark.parametrize("ending", [Answer(status=503, error="busy"), Answer([Hold()])])
async def test_a_retry_without_a_reply_keeps_the_one_before(tmp_path: Path, ending: Answer) -> None:
    async with ScriptedEndpoint(lambda _: words("a good reply")) as server:
        panel = panel_of(server)
        enter(panel, "hi")
        await idle(panel)
        server.script = lambda _: ending
        panel.composer.retry.click()
        await server.until(lambda s: len(s.generations()) == 2)
        assert kept(tmp_path)[0]["turns"][0]["text"] == "a good reply"
        if ending.status == 200:
            await server.until(lambda s: s.active == 1)
            panel.stop()
        await idle(panel)
        assert panel.reply == "a good reply" and "a good reply" in shown(panel)
        assert "Nothing is lost" in shown(panel)
        assert kept(tmp_path)[0]["turns"][0]["text"] == "a good reply"
        server.script = lambda _: words("a better one")
        await click(panel.composer.retry)
        await idle(panel)
    (turn,) = kept(tmp_path)[0]["turns"]
    assert turn["text"] == panel.reply == "a better one"


async def test_an_edit_takes_the_turn_back_when_it_is_answered(tmp_path: Path) -> None:
    async with ScriptedEndpoint(lambda _: words("a reply")) as server:
        panel = panel_of(server)
        for prompt in ("one", "two"):
            enter(panel, prompt)
            await idle(panel)
        panel.composer.edit.click()
        assert panel.composer.draft == "two"
        panel.picker.rename.click()
        panel.picker.title.value = "Renamed"
        await click(panel.picker.save)
        assert [t["prompt"] for t in kept(tmp_path)[0]["turns"]] == ["one", "two"]
        panel.composer.edit.click()
        server.script = lambda _: Answer(status=503, error="busy")
        enter(panel, "three")
        await idle(panel)
        assert [t["prompt"] for t in kept(tmp_path)[0]["turns"]] == ["one", "two"]
        assert panel.composer.draft == "three" and "busy" in shown(panel)
        server.script = lambda _: words("a reply")
        enter(panel, "four")
        await idle(panel)
        sent = server.generations()[-1].body["messages"]
    assert [m["content"] for m in sent if m["role"] == "user"] == ["one", "four"]
    assert [t["prompt"] for t in kept(tmp_path)[0]["turns"]] == ["one", "four"]


async def test_clear_asks_before_it_removes() -> None:
    async with ScriptedEndpoint() as server:
        panel = panel_of(server)
        enter(panel, "hi")
        await idle(panel)
        composer = panel.composer
        composer.clear.click()
        assert panel.conversation.turns and composer.confirm.layout.display is None
        composer.keep.click()
        assert panel.conversation.turns and composer.confirm.layout.display == "none"
        composer.clear.click()
        composer.confirm.click()
        assert panel.conversation.turns == []
        assert "Ask your model something" in shown(panel)


async def test_settings_travel_with_the_request() -> None:
    async with ScriptedEndpoint() as server:
        panel = panel_of(server)
        fields = {w.description: w for w in all_widgets(panel.settings.view) if hasattr(w, "value")}
        fields["System prompt"].value = "be brief"
        fields["Temperature"].value = 0.3
        fields["Max tokens"].value = 7
        fields["Seed"].value = "42"
        enter(panel, "hi")
        await idle(panel)
        body = server.generations()[0].body
    assert body["options"] == {"temperature": 0.3, "num_predict": 7, "seed": 42}
    assert body["messages"][0] == {"role": "system", "content": "be brief"}


async def test_the_models_of_the_endpoint_are_offered() -> None:
    async with ScriptedEndpoint() as server:
        panel = ChatPanel(Endpoint.open(url=server.url, model="other:latest"))
        await panel._looking.wait()
        menu = next(w for w in all_widgets(panel.settings.view) if isinstance(w, widgets.Dropdown))
        assert menu.options == ("other:latest", MODEL) and menu.value == "other:latest"


async def test_a_message_during_a_reply_stays_a_draft() -> None:
    async with ScriptedEndpoint(lambda _: Answer(["a", Hold()])) as server:
        panel = panel_of(server)
        enter(panel, "first")
        await server.until(lambda s: s.active == 1)
        enter(panel, "second")
        assert panel.composer.draft == "second" and len(panel.conversation.turns) == 1
        with pytest.raises(UsageError):
            await panel.ask("third")
        panel.stop()
        await idle(panel)


async def test_ask_returns_the_figures_or_raises_what_is_shown() -> None:
    async with ScriptedEndpoint(lambda _: words("a b")) as server:
        panel = panel_of(server)
        assert (await panel.ask("hi")).output_tokens == 2
        server.script = lambda _: Answer(status=500, error="boom")
        with pytest.raises(EndpointError, match="boom"):
            await panel.ask("hi")


@pytest.mark.goal(4)
async def test_hostile_text_is_harmless_in_every_widget() -> None:
    text = (
        "<script>alert(1)</script><img src=x onerror=alert(1)> \x1b[31m ![x](http://evil.example)"
    )
    async with ScriptedEndpoint(lambda _: Answer([text])) as server:
        panel = panel_of(server)
        enter(panel, text)
        await idle(panel)
        html = shown(panel)
    assert "<script" not in html and "<img" not in html and "\x1b" not in html


async def test_a_million_characters_survive() -> None:
    async with ScriptedEndpoint(lambda _: Answer(["x" * 250_000] * 4)) as server:
        panel = panel_of(server)
        await panel.ask("hi")
        assert len(shown(panel)) < 200_000
        assert len(panel.conversation.turns[0].text) == 1_000_000


@pytest.mark.goal(3)
async def test_no_widget_holds_the_key() -> None:
    async with ScriptedEndpoint(lambda _: Answer(status=400, error=f"bad key {KEY}")) as server:
        panel = panel_of(server)
        enter(panel, "hi")
        await idle(panel)
        states = [w.get_state() for w in all_widgets(panel.view)]
    assert KEY not in json.dumps(states, default=repr)


@pytest.mark.goal(10)
async def test_every_control_is_named_in_text() -> None:
    async with ScriptedEndpoint() as server:
        panel = panel_of(server)
        controls = [w for w in all_widgets(panel.view) if hasattr(w, "description")]
        unnamed = [w for w in controls if not isinstance(w, widgets.HTML) and not w.description]
        await panel._looking.wait()
    assert unnamed == []


def controls(panel: ChatPanel) -> dict[str, Any]:
    return {w.description: w for w in all_widgets(panel.view) if hasattr(w, "description")}


def kept(folder: Path) -> list[dict[str, Any]]:
    """The conversations on disk."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("conversations/*.json"))]


async def test_what_code_asks_leaves_nothing_on_disk(tmp_path: Path) -> None:
    async with ScriptedEndpoint() as server:
        panel = panel_of(server)
        await panel.ask("hi")
        await idle(panel)
        assert list(tmp_path.iterdir()) == []
        enter(panel, "and now?")
        await idle(panel)
    (stored,) = kept(tmp_path)
    assert [turn["prompt"] for turn in stored["turns"]] == ["hi", "and now?"]
    assert KEY not in json.dumps(stored)


async def test_a_named_conversation_is_kept_and_gone_on_with(tmp_path: Path) -> None:
    async with ScriptedEndpoint() as server:
        first = panel_of(server, conversation="My plan")
        await first.ask("hi")
        again = panel_of(server, conversation="My plan")
        await again.ask("and now?")
        await idle(first)
        await idle(again)
        sent = server.generations()[-1].body["messages"]
    assert [m["content"] for m in sent if m["role"] == "user"] == ["hi", "and now?"]
    (stored,) = kept(tmp_path)
    assert stored["title"] == "My plan" and len(stored["turns"]) == 2


async def test_a_conversation_goes_on_with_its_own_system_prompt() -> None:
    async with ScriptedEndpoint() as server:
        first = panel_of(server, conversation="Pirates", system="Talk like a pirate.")
        await first.ask("hi")
        again = panel_of(server, conversation="Pirates")
        await again.ask("and now?")
        await idle(first)
        await idle(again)
        assert server.generations()[-1].body["messages"][0]["content"] == "Talk like a pirate."


async def test_clear_leaves_no_empty_file(tmp_path: Path) -> None:
    async with ScriptedEndpoint() as server:
        panel = panel_of(server)
        enter(panel, "hi")
        await idle(panel)
        panel.composer.clear.click()
        panel.composer.confirm.click()
    assert kept(tmp_path) == [] and panel.conversation.turns == []


async def test_a_reply_under_way_is_on_disk_before_it_ends(tmp_path: Path) -> None:
    async with ScriptedEndpoint(lambda _: Answer(["so far", Hold()])) as server:
        panel = panel_of(server)
        enter(panel, "hi")
        await server.until(lambda s: s.active == 1)
        async with asyncio.timeout(10):
            while "text" not in kept(tmp_path)[0]["turns"][0]:
                await asyncio.sleep(0.05)
        panel.stop()
        await idle(panel)
    assert kept(tmp_path)[0]["turns"][0]["text"] == "so far"


async def test_new_open_rename_and_delete(tmp_path: Path) -> None:
    async with ScriptedEndpoint() as server:
        panel = panel_of(server)
        enter(panel, "first")
        await idle(panel)
        picker = panel.picker
        picker.new.click()
        assert panel.conversation.turns == [] and "Ask your model" in shown(panel)
        enter(panel, "second")
        await idle(panel)
        picker.menu.value = next(v for t, v in picker.menu.options if t.startswith("first"))
        assert panel.conversation.turns[0].prompt == "first" and "first" in shown(panel)
        picker.rename.click()
        picker.title.value = "Renamed"
        await click(picker.save)
        assert picker.menu.label == "Renamed"
        picker.delete.click()
        picker.keep.click()
        assert len(kept(tmp_path)) == 2
        picker.delete.click()
        picker.confirm.click()
    (left,) = kept(tmp_path)
    assert left["title"] == "second" and panel.conversation.turns == []


async def test_a_file_that_cannot_be_opened_is_said_and_the_conversation_stays(
    tmp_path: Path,
) -> None:
    (tmp_path / "conversations").mkdir()
    (tmp_path / "conversations" / "alien.json").write_text("{}")
    async with ScriptedEndpoint() as server:
        panel = panel_of(server)
        await panel.ask("hi")
        await idle(panel)
        panel.picker.menu.value = "alien.json"
        assert "alien.json is no conversation" in shown(panel) and "left as it is" in shown(panel)
        assert panel.picker.menu.value == "" and panel.conversation.turns[0].prompt == "hi"
        enter(panel, "go on")  # nothing of it hinders
        await idle(panel)
        assert len(panel.conversation.turns) == 2


async def test_a_disk_that_refuses_is_said_and_the_chat_goes_on(tmp_path: Path) -> None:
    (tmp_path / "conversations").write_text("in the way")
    async with ScriptedEndpoint(lambda _: words("an answer")) as server:
        panel = panel_of(server)
        enter(panel, "hi")
        await idle(panel)
        assert "an answer" in shown(panel) and "names another" in shown(panel)


async def test_half_a_character_loses_nothing(tmp_path: Path) -> None:
    half, whole = "hi \ud83d there", "hi \ufffd there"
    async with ScriptedEndpoint(lambda _: words("an answer")) as server:
        panel = panel_of(server, system=half)
        enter(panel, half)
        await idle(panel)
        panel.picker.rename.click()
        panel.picker.title.value = half
        await click(panel.picker.save)
        await panel.ask(half + " \ud83d\ude00")
        await idle(panel)
        again = panel_of(server, conversation=half)
        await idle(again)
    (stored,) = kept(tmp_path)
    assert stored["given_title"] == stored["system"] == whole
    assert [turn["prompt"] for turn in stored["turns"]] == [whole, whole + " \U0001f600"]
    assert again.conversation.turns[1].text == "an answer" in shown(panel)


async def test_two_panels_at_one_conversation_lose_nothing(tmp_path: Path) -> None:
    async with ScriptedEndpoint() as server:
        first, second = (panel_of(server, conversation="Shared") for _ in range(2))
        await first.ask("one")
        await second.ask("two")
        await idle(first)
        await idle(second)
    assert sorted(c["turns"][0]["prompt"] for c in kept(tmp_path)) == ["one", "two"]


async def test_the_price_is_said_with_its_formula_or_not_at_all() -> None:
    async with ScriptedEndpoint(lambda _: words("a b")) as server:
        free, paid = panel_of(server), panel_of(server, usd_per_hour=3600.0)
        for panel in (free, paid):
            await panel.ask("hi")
            await idle(panel)
        turn = paid.conversation.turns[0]
    assert "$" not in shown(free)
    assert turn.usd == pytest.approx(turn.waited_s)
    assert "at most <b>$" in shown(paid) and "divided by 3,600" in shown(paid)
    assert "$3600.00 an hour" in shown(paid)


async def test_a_reply_its_code_and_the_call_can_be_taken(tmp_path: Path) -> None:
    text = "See:\n\n```python\nprint(1)\n```\n"
    async with ScriptedEndpoint(lambda _: Answer([text])) as server:
        panel = panel_of(server)
        await panel.ask("hi")
        await idle(panel)
        panel.composer.takeaway.value = True
        taken = panel.takeaway
        assert taken.text.value == text
        by_label = dict(taken.form.options)
        taken.form.value = by_label["code block 1 (python)"]
        assert taken.text.value == "print(1)\n"
        for client in Client:
            taken.form.value = client
            assert "'hi'" in taken.text.value and KEY not in taken.text.value
        controls(panel)["Seed"].value = "x"
        taken.form.value = Client.OLLAMA
        taken.form.value = Client.OPENAI
        assert "no whole number" in taken.text.value
        taken.export.click()
        (written,) = (tmp_path / "conversations").glob("*.md")
        assert f"Written to {written}" in shown(panel)
        assert written.stat().st_mode & 0o777 == 0o600 and KEY not in written.read_text()


async def test_a_wrong_seed_is_an_error_and_not_ignored() -> None:
    async with ScriptedEndpoint() as server:
        panel = panel_of(server)
        controls(panel)["Seed"].value = "seven"
        with pytest.raises(EndpointError, match="no whole number"):
            await panel.ask("hi")
        await idle(panel)
        assert server.generations() == []


async def test_pictures_go_to_models_that_see_and_come_back_with_edit(tmp_path: Path) -> None:
    (tmp_path / "sky.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    async with ScriptedEndpoint() as server:
        blind = panel_of(server)
        await idle(blind)
        assert blind.attaching.view.layout.display == "none"
        server.capabilities = ["completion", "vision"]
        panel = panel_of(server)
        await idle(panel)
        assert panel.attaching.view.layout.display is None
        panel.attaching.path.value = "sky.png"
        await click(panel.attaching.add)
        enter(panel, "what is it?")
        await idle(panel)
        enter(panel, "and now?")
        await idle(panel)
        sent = server.generations()[-1].body["messages"]
        assert [len(m.get("images", ())) for m in sent] == [1, 0, 0]
        panel.composer.edit.click()
        panel.composer.edit.click()
        assert [p.name for p in panel.attaching.take()] == ["sky.png"]
        panel.attaching.path.value = "none.png"
        await click(panel.attaching.add)
        assert "cannot be read" in shown(panel)


async def test_of_many_turns_the_last_are_shown_until_more_are_asked_for(tmp_path: Path) -> None:
    long = Conversation(title="Long")
    for number in range(MANY + 10):
        long.begin(f"question {number}!", "m").add("reply")
    ConversationFolder(tmp_path / "conversations").write(long, None)
    async with ScriptedEndpoint() as server:
        panel = panel_of(server, conversation="Long")
        await panel.ask("the last!")
        await idle(panel)
        assert "question 11!" in shown(panel) and "question 10!" not in shown(panel)
        controls(panel)["Show earlier messages"].click()
        assert "question 0!" in shown(panel) and "Show earlier messages" not in controls(panel)


async def test_a_stream_is_painted_at_most_ten_times_a_second() -> None:
    async with ScriptedEndpoint(lambda _: words("word " * 200, gap_s=0.005)) as server:
        panel = panel_of(server)
        painted: list[float] = []
        began = asyncio.get_running_loop().time()
        asking = asyncio.create_task(panel.ask("hi"))
        await server.until(lambda s: s.active == 1)
        for widget in all_widgets(panel.view):
            if isinstance(widget, widgets.HTML):
                widget.observe(lambda _: painted.append(0.0), "value")
        await asking
        took_s = asyncio.get_running_loop().time() - began
        await idle(panel)
    # The reply, and what stands around it when it begins and ends.
    assert 3 < len(painted) <= 10 * took_s + 8


async def test_thinking_is_folded_until_it_is_asked_for() -> None:
    async with ScriptedEndpoint(lambda _: Answer([Think("let me see"), "done"])) as server:
        panel = panel_of(server)
        await panel.ask("hi")
        await idle(panel)
        assert "let me see" not in shown(panel)
        controls(panel)["Show thinking"].click()
        assert "let me see" in shown(panel)
        controls(panel)["Hide thinking"].click()
        assert "let me see" not in shown(panel)


async def test_details_of_an_error_are_folded_and_hold_no_key() -> None:
    refusal = Answer(status=503, error=f"bad {KEY} <b>")
    async with ScriptedEndpoint(lambda _: refusal) as server:
        panel = panel_of(server)
        enter(panel, "hi")
        await idle(panel)
        html = shown(panel)
    assert "<details><summary>Details</summary>" in html and "HTTP status: 503" in html
    assert KEY not in html and "&lt;b&gt;" in html


async def test_text_that_is_cut_anywhere_is_whole_in_the_end(tmp_path: Path) -> None:
    async with ScriptedEndpoint(lambda _: Answer([*SPLIT, ARABIC])) as server:
        panel = panel_of(server)
        await panel.ask(HOSTILE)
        await idle(panel)
        assert SPLIT_TOGETHER in shown(panel) and ARABIC in shown(panel)
        panel.keeping.is_on = True
        assert panel.keeping.save() == ""
        again = panel_of(server, conversation=panel.conversation.title)
        await idle(again)
        assert again.reply == panel.reply == SPLIT_TOGETHER + ARABIC


def test_a_conversation_counts_only_what_was_said() -> None:
    conversation = Conversation()
    conversation.begin("a", "m").fail("broken", "")
    conversation.begin("b", "m").add("half")
    conversation.begin("c", "m")
    assert [m.content for m in conversation.messages()] == ["b", "half", "c"]


async def test_a_reply_with_half_a_character_is_kept_and_exported(tmp_path: Path) -> None:
    async with ScriptedEndpoint(lambda _: Answer([Think("h\udc00m"), "a\ud800b"])) as server:
        panel = panel_of(server)
        panel.keeping.is_on = True
        await panel.ask("hi \ud800")
        exported = panel.export().read_text()
    (turn,) = kept(tmp_path)[0]["turns"]
    assert (turn["prompt"], turn["text"]) == ("hi \ufffd", "a\ufffdb")
    assert turn["thinking"] == "h\ufffdm" and "a\ufffdb" in exported
    panel.conversation.turns[0].add("\ud800")  # whatever brings it there, the file is written
    assert "a\ufffdb\ufffd" in encode(panel.conversation).decode()
