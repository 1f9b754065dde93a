"""The chat notebook in real JupyterLab, driven like a person drives it."""

import asyncio
import json
import re
import time
from pathlib import Path

import pytest
from PIL import Image
from playwright.async_api import Locator, expect

from tests.browser.axe import Axe
from tests.browser.golden import assert_tree
from tests.browser.lab import Lab
from tests.browser.panel import Opened
from tests.goals import Measure
from tests.support.canaries import ARABIC, HOSTILE, LONG_LINE, SPLIT, SPLIT_TOGETHER
from tests.support.endpoint import (
    MODEL,
    Answer,
    Gate,
    Hold,
    Pause,
    Received,
    ScriptedEndpoint,
    Step,
    Think,
    words,
)

NOTEBOOK = "05_chat.ipynb"

EXPLANATION = """You pay while a model is *loaded*, so three numbers decide:

1. **Memory** says which model fits.
2. **Bandwidth** says how fast it writes.
3. The **lease price** says what a million tokens cost.

```python
endpoint = await connect("local")
```
"""
HAIKU = "Quiet fans at night,\nan hour of borrowed silicon –\nwords arrive like rain."


def script(received: Received) -> Answer:
    prompt = received.body["messages"][-1]["content"]
    if "haiku" in prompt:
        return words(HAIKU, first_s=0.2, gap_s=0.02)
    if "hold" in prompt:
        return Answer(["This part came", " before the stop.", Hold()])
    if "busy" in prompt:
        return Answer(status=503, error="server busy", headers={"retry-after": "3"})
    if "broken" in prompt:
        return Answer(status=500, error=HOSTILE)
    if "hostile" in prompt:
        return Answer([Think(HOSTILE), HOSTILE, "x" * 4_000, " the end"])
    if "megabyte" in prompt:
        return Answer([LONG_LINE])
    if "split" in prompt:
        return Answer([*SPLIT, "\n\n", ARABIC])
    return words(EXPLANATION, first_s=0.1, gap_s=0.005)


@pytest.fixture
def picture_file(tmp_path: Path) -> Path:
    """A small picture."""
    path = tmp_path / "sky.png"
    Image.new("RGB", (320, 200), (90, 140, 220)).save(path)
    return path


@pytest.mark.goal(3, 10)
async def test_a_conversation(opened: Opened, axe: Axe) -> None:
    gate = asyncio.Event()

    def gated(received: Received) -> Answer:
        if len(server.generations()) < 3:
            return script(received)
        return Answer([Gate(gate), *script(received).steps])

    server = ScriptedEndpoint(gated)
    async with server:
        await opened.open(
            NOTEBOOK,
            url=server.url,
            model=MODEL,
            first_message="Write a haiku about renting.",
            usd_per_hour=0.36,
            conversations="talk",
        )
        await opened.wait_for_figures(1)
        await opened.say("What decides what my own endpoint costs?")
        await opened.wait_for_figures(2)
        reply = opened.replies.nth(1)
        await expect(reply.locator("strong")).to_have_count(3)
        await expect(reply.locator("pre")).to_have_text('endpoint = await connect("local")\n')
        await expect(reply.locator(".akl-facts")).to_contain_text("tok/s")
        await expect(reply.locator(".akl-facts")).to_contain_text("at most $0.0000")
        await expect(opened.line).to_have_value("")
        assert await _is_at_its_end(opened)
        await opened.pictures("chat")
        await assert_tree(opened.panel, "chat")
        await axe.check(opened)

        await opened.button("Retry").click()
        # Held back until the browser shows that the second reply is being made again.
        await opened.wait_for_figures(1)
        gate.set()
        await opened.wait_for_figures(2)
        assert len(server.generations()) == 3
        assert server.generations()[2].body == server.generations()[1].body

        await opened.button("Copy, export").click()
        text = opened.field("Text to copy")
        await opened.field("Copy").select_option("code block 1 (python)")
        await expect(text).to_have_value('endpoint = await connect("local")\n')
        await opened.field("Copy").select_option("this request as code: openai")
        await expect(text).to_have_value(re.compile("import openai"))
        await opened.picture("chat-takeaway")
        await assert_tree(opened.page.locator(".akl-settings").first, "chat-takeaway")
        await opened.button("Export to Markdown").click()
        await expect(opened.status).to_contain_text("Written to")
        written = Path((await opened.status.inner_text()).removeprefix("Written to "))
        assert "three numbers decide" in written.read_text(encoding="utf-8")
        await opened.button("Copy, export").click()

        await opened.button("Edit last").click()
        await expect(opened.line).to_have_value("What decides what my own endpoint costs?")
        await expect(opened.replies).to_have_count(1)

        await opened.button("Clear").click()
        await opened.button("Keep").click()
        await expect(opened.replies).to_have_count(1)
        await opened.button("Clear").click()
        await opened.button("Clear all").click()
        await expect(opened.replies).to_have_count(0)
        await expect(opened.page.get_by_text("Ask your model something")).to_be_visible()
        await opened.pictures("chat-empty")
        await axe.check(opened)


@pytest.mark.goal(2)
@pytest.mark.alone
async def test_text_is_seen_while_it_streams_and_stop_frees_the_slot(
    opened: Opened, measured: Measure, axe: Axe
) -> None:
    gate = asyncio.Event()

    def gated(received: Received) -> Answer:
        is_slow = received.body["messages"][-1]["content"] == "a slow one"
        return Answer([Gate(gate), "late"]) if is_slow else script(received)

    async with ScriptedEndpoint(gated) as server:
        await opened.open(NOTEBOOK, url=server.url, model=MODEL)
        await opened.wait_for_figures(1)
        await opened.say("please hold the line")
        await expect(opened.replies.nth(1)).to_contain_text("This part came before the stop.")
        assert server.active == 1
        clicked = time.monotonic()
        await opened.button("Stop").click()
        await server.until(lambda s: s.active == 0 and s.cancelled == 1)
        measured(
            2, "JupyterLab: Stop clicked to slot free", 1e3 * (server.gone_at - clicked), "ms", 300
        )
        await expect(opened.replies.nth(1)).to_contain_text("stopped")
        await expect(opened.replies.nth(1)).to_contain_text("This part came before the stop.")
        await opened.say("a slow one")
        await expect(opened.replies.nth(2)).to_contain_text("waiting for first token… 0.")
        gate.set()
        await opened.wait_for_figures(2)
        await opened.say("busy?")
        await expect(opened.replies.nth(3)).to_contain_text("Error: server busy.")
        await expect(opened.replies.nth(3)).to_contain_text("try again in 3 s")
        await expect(opened.page.get_by_text("HTTP status: 503")).to_be_hidden()
        await opened.page.get_by_text("Details").click()
        await expect(opened.page.get_by_text("HTTP status: 503")).to_be_visible()
        await opened.button("Settings").click()
        await opened.button("Copy, export").click()
        await opened.pictures("chat-states")
        await axe.check(opened)
        await assert_tree(opened.page.locator(".akl-settings").nth(1), "chat-settings")


@pytest.mark.alone
async def test_nothing_jumps_while_a_reply_streams(opened: Opened, measured: Measure) -> None:
    first, rest = asyncio.Event(), asyncio.Event()
    thought: list[Step] = [Think("Let me see. "), Think("Nearly. ")]
    lines: list[Step] = [step for n in range(40) for step in (f"- line {n}\n", Pause(0.02))]

    def gated(received: Received) -> Answer:
        if received.body["messages"][-1]["content"] != "long":
            return words("a short reply\n\n" * 30)
        return Answer([*thought, Gate(first), "canary\n\n", Gate(rest), *lines])

    async with ScriptedEndpoint(gated) as server:
        await opened.open(NOTEBOOK, url=server.url, model=MODEL)
        await opened.wait_for_figures(1)
        await opened.say("long")
        await opened.button("Show thinking").click()
        thinking = opened.page.locator(".akl-thinking")
        await expect(thinking).to_have_text("Let me see. Nearly. ")
        await opened.evaluate(SEEN)
        emitted = time.time()
        first.set()
        await expect(opened.replies.nth(1)).to_contain_text("canary")
        seen = await opened.evaluate("window.seenAt") / 1e3
        measured(2, "JupyterLab: first token emitted to seen", 1e3 * (seen - emitted), "ms", 150)
        assert await _is_at_its_end(opened)
        await opened.evaluate("document.querySelector('.akl-log').scrollTop = -300")
        height = "document.querySelector('.akl').getBoundingClientRect().height"
        top = "document.querySelectorAll('.akl-reply p')[20].getBoundingClientRect().top"
        before = await opened.evaluate(top), await opened.evaluate(height)
        rest.set()
        await expect(opened.replies.nth(1)).to_contain_text("line 20")
        during = await opened.evaluate(top), await opened.evaluate(height)
        await opened.wait_for_figures(2)
        assert before == during == (await opened.evaluate(top), await opened.evaluate(height))
        await expect(thinking).to_be_visible()
        await expect(opened.button("Hide thinking")).to_be_visible()


@pytest.mark.goal(4)
async def test_hostile_text_runs_and_loads_nothing(opened: Opened, axe: Axe) -> None:
    async with ScriptedEndpoint(script) as server:
        await opened.open(NOTEBOOK, url=server.url, model=MODEL, first_message="be hostile")
        await opened.wait_for_figures(1)
        await opened.button("Show thinking").click()
        await assert_harmless(opened)
        await opened.say("split")
        await opened.wait_for_figures(2)
        await expect(opened.replies.nth(1)).to_contain_text(SPLIT_TOGETHER)
        await expect(opened.replies.nth(1)).to_contain_text(ARABIC)
        await opened.button("Several lines").click()
        await opened.page.get_by_placeholder("Message of several lines").fill(f"megabyte {HOSTILE}")
        await opened.button("Send").click()  # which must not overtake the text
        await opened.wait_for_figures(3)
        await expect(opened.replies.nth(2)).to_contain_text("characters before this are not shown")
        await opened.button("Copy, export").click()
        await opened.button("Several lines").click()
        await say_broken(opened)
        await opened.pictures("chat-hostile")
        await axe.check(opened)
        await assert_harmless(opened)


@pytest.mark.goal(10)
async def test_a_conversation_survives_its_kernel_and_the_keyboard_is_enough(
    opened: Opened, lab: Lab
) -> None:
    folder = lab.folder / "kept"
    async with ScriptedEndpoint(script) as server:
        await opened.open(NOTEBOOK, url=server.url, model=MODEL, conversations="kept")
        await opened.wait_for_figures(1)
        assert not folder.exists()  # only code has asked
        await opened.line.focus()
        await _press(opened, "Write a haiku.", "Enter")
        await opened.wait_for_figures(2)
        await opened.line.focus()
        names = [await _tab(opened) for _ in range(7)]
        assert names == [
            *("Send", "Retry", "Edit last", "Clear", "Several lines", "Copy, export", "Settings")
        ]
        await opened.page.keyboard.press("Enter")
        await expect(opened.field("System prompt")).to_be_visible()
        for label in ("Model", "System prompt", "Temperature", "Max tokens", "Seed"):
            await expect(opened.field(label)).to_be_visible()
        await opened.page.keyboard.press("Enter")

        await opened.field("Conversation").focus()
        assert [await _tab(opened) for _ in range(3)] == ["New", "Rename", "Delete"]
        await opened.page.keyboard.press("Shift+Tab")
        await opened.page.keyboard.press("Enter")
        await expect(opened.field("New title")).to_be_focused()
        await opened.page.keyboard.press("Control+a")
        await _press(opened, "About rain", "Tab")
        await opened.page.keyboard.press("Enter")  # on Save, which must not overtake the text
        chosen = opened.field("Conversation").locator("option:checked")
        await expect(chosen).to_have_text("About rain")

        await opened.restart_and_run()
        await opened.wait_for_figures(1)
        await opened.choose("Conversation", "About rain · ")
        await opened.wait_for_figures(2)
        await expect(opened.replies.nth(1)).to_contain_text("borrowed silicon")
        await opened.say("and now?")
        await opened.wait_for_figures(3)
        sent = server.generations()[-1].body["messages"]
        assert [message["role"] for message in sent] == ["user", "assistant"] * 2 + ["user"]
        (kept,) = folder.glob("*.json")
        assert kept.stat().st_mode & 0o777 == 0o600
        assert len(json.loads(kept.read_text())["turns"]) == 3

        await opened.button("Delete").click()
        await expect(opened.button("Cancel")).to_be_focused()
        await opened.page.keyboard.press("Shift+Tab")
        await opened.page.keyboard.press("Enter")
        await expect(opened.replies).to_have_count(0)
        assert list(folder.glob("*.json")) == []


async def test_a_model_that_sees_is_shown_a_picture(
    opened: Opened, picture_file: Path, axe: Axe
) -> None:
    async with ScriptedEndpoint(script) as server:
        server.capabilities = ["completion", "vision"]
        await opened.open(NOTEBOOK, url=server.url, model=MODEL)
        await opened.wait_for_figures(1)
        async with opened.page.expect_file_chooser() as chooser:
            await opened.page.get_by_role("button", name="Attach picture").click()
        await (await chooser.value).set_files(picture_file)
        await expect(opened.page.get_by_text("Attached: sky.png")).to_be_visible()
        await opened.say("What is it?")
        await opened.wait_for_figures(2)
        await expect(opened.page.get_by_role("img", name="sky.png")).to_be_visible()
        assert len(server.generations()[-1].body["messages"][-1]["images"]) == 1
        await opened.pictures("chat-picture")
        await axe.check(opened)


async def say_broken(opened: Opened) -> None:
    """A message whose reply is an error with a hostile text, shown with all that is known."""
    await opened.say("broken")
    await expect(opened.replies.last).to_contain_text("Error: <script>window.hacked = 1</script>")
    await opened.page.get_by_text("Details").click()
    await expect(opened.replies.last).to_contain_text("HTTP status: 500")


SEEN = """(() => {
  const log = document.querySelector('.akl-log');
  new MutationObserver((_, observer) => {
    if (log.textContent.includes('canary')) { window.seenAt = Date.now(); observer.disconnect(); }
  }).observe(log, {subtree: true, childList: true, characterData: true});
})()"""
MADE_BY_TEXT = "document.querySelectorAll('.akl-msg :is(script,img,iframe,a,object,embed)').length"


async def assert_harmless(opened: Opened) -> None:
    """Nothing of the first reply, which is hostile, ran or loaded or is wider than the panel."""
    reply = opened.replies.first
    await expect(reply).to_contain_text("the end")
    await expect(reply).to_contain_text("<script>window.hacked = 1</script>")
    thinking: Locator = opened.page.locator(".akl-thinking")
    await expect(thinking).to_contain_text("<script>window.hacked = 1</script>")
    assert await opened.evaluate("window.hacked") is None
    assert await opened.evaluate(MADE_BY_TEXT) == 0
    text = await opened.page.locator(".akl").inner_text()
    assert "\x1b" not in text and "\u202e" not in text
    wide = "document.querySelector('.akl-reply').scrollWidth"
    assert await opened.evaluate(f"{wide} <= document.querySelector('.akl').clientWidth")


async def _press(opened: Opened, text: str, key: str) -> None:
    """Type where the focus is, then a key."""
    await opened.page.keyboard.type(text)
    await opened.page.keyboard.press(key)


async def _tab(opened: Opened) -> str:
    """The text of what Tab goes to."""
    await opened.page.keyboard.press("Tab")
    return str(await opened.evaluate("document.activeElement.textContent.trim()"))


async def _is_at_its_end(opened: Opened) -> bool:
    """Whether the newest text is in sight: a box laid out from below starts at 0."""
    return bool(await opened.evaluate("document.querySelector('.akl-log').scrollTop === 0"))
