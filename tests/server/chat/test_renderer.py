"""Templates that loop, grow or kill their process harm only the request that they belong to."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress

import psutil
import pytest

from server.chat.messages import Conversation, Message
from server.chat.render_messages import Define, Render, encode
from server.chat.render_process import MAX_TEMPLATES
from server.chat.renderer import Renderer
from server.chat.template import ChatTemplate
from server.engine.types import Segment
from server.errors import InvalidRequest, ModelUnusable, Overloaded
from tests.support.supervising import until

GOOD = ChatTemplate("{{ messages[0].content }}!")
LOOP = (
    "{% for a in range(100000) %}{% for b in range(100000) %}{% for c in range(100000) %}"
    "{% endfor %}{% endfor %}{% endfor %}"
)
HANGS = ChatTemplate(LOOP)
HANGS_IF_ASKED = ChatTemplate(
    "{% if 'loop' in messages[0].content %}" + LOOP + "{% endif %}{{ messages[0].content }}"
)
# What is ended is ended soon; what is not has the time that a busy machine takes.
SHORT_S = 0.5
LONG_S = 60.0


def said(text: str = "hi") -> Conversation:
    return Conversation(messages=(Message(role="user", content=text),))


@pytest.fixture
async def renderer() -> AsyncIterator[Renderer]:
    made = Renderer(deadline_s=LONG_S)
    yield made
    await made.close()


@pytest.fixture
async def hasty() -> AsyncIterator[Renderer]:
    made = Renderer(deadline_s=SHORT_S)
    yield made
    await made.close()


async def test_it_starts_when_it_is_needed_and_keeps_its_process(renderer: Renderer) -> None:
    assert renderer.pids == []
    assert await renderer.render(GOOD, said()) == [Segment("hi!")]
    [pid] = renderer.pids
    assert await renderer.render(GOOD, said("ho")) == [Segment("ho!")]
    assert renderer.pids == [pid]


async def test_it_can_be_started_before(renderer: Renderer) -> None:
    await renderer.open()
    [pid] = renderer.pids
    await renderer.open()
    await renderer.render(GOOD, said())
    assert renderer.pids == [pid]


async def test_its_process_is_small_and_knows_neither_web_nor_engine(renderer: Renderer) -> None:
    await renderer.open()
    [pid] = renderer.pids
    mapped = {region.path for region in psutil.Process(pid).memory_maps()}
    assert not [path for path in mapped if "llama" in path or "uvloop" in path]
    program = "import sys, server.chat.render_worker; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert {"asyncio", "litestar", "llama_cpp", "numpy"}.isdisjoint(loaded)


@pytest.mark.parametrize(
    "source",
    [
        LOOP,
        "{% for a in range(100000) %}{{ (bos_token * 1000000 ~ a) | upper | length }}{% endfor %}",
        "{{ 99999999 ** 99999999 }}",
        "{% set ns = namespace(x='aa') %}{% for i in range(99999) %}{% for j in range(99999) %}"
        "{% set ns.x = ns.x[1:] ~ 'a' %}{% endfor %}{% endfor %}",
    ],
)
async def test_what_takes_too_long_is_ended(hasty: Renderer, source: str) -> None:
    with pytest.raises(InvalidRequest, match=r"longer than 0\.5 s") as caught:
        await hasty.render(ChatTemplate(source, bos="<s>"), said())
    assert caught.value.hint


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'x' * 10000000000 }}",
        "{{ ('x' * 100000) * 100000 }}",
        "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(60) %}"
        "{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{{ [0] * 10000000000 }}",
    ],
)
async def test_what_takes_too_much_memory_is_ended(renderer: Renderer, source: str) -> None:
    with pytest.raises(InvalidRequest, match="memory") as caught:
        await renderer.render(ChatTemplate(source), said())
    assert caught.value.hint
    assert await renderer.render(GOOD, said()) == [Segment("hi!")]


@pytest.mark.parametrize(
    "source",
    [
        "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "{{ " + "+".join(["1"] * 20000) + " }}",
        "{% for x in range(1000000000) %}{% endfor %}",
        "{{ 'x' * 40000000 }}",
        "{{ messages[0].__class__.__mro__ }}",
    ],
)
async def test_other_mischief_fails_and_the_next_one_passes(
    renderer: Renderer, source: str
) -> None:
    with pytest.raises(InvalidRequest):
        await renderer.render(ChatTemplate(source), said())
    assert await renderer.render(GOOD, said()) == [Segment("hi!")]


async def test_a_broken_template_is_told_from_a_refusal(renderer: Renderer) -> None:
    with pytest.raises(ModelUnusable, match="broken") as caught:
        await renderer.render(ChatTemplate("{% if %}"), said())
    assert caught.value.hint
    with pytest.raises(ModelUnusable, match="broken"):
        await renderer.describe(ChatTemplate("{% if %}"))
    with pytest.raises(InvalidRequest, match="refused: no"):
        await renderer.render(ChatTemplate("{{ raise_exception('no') }}"), said())


async def test_others_do_not_wait_for_one_that_hangs(renderer: Renderer) -> None:
    await renderer.render(GOOD, said())
    hanging = asyncio.create_task(renderer.render(HANGS, said()))
    done = await asyncio.gather(*(renderer.render(GOOD, said(str(n))) for n in range(20)))
    assert done == [[Segment(f"{n}!")] for n in range(20)]
    assert not hanging.done()
    assert len(renderer.pids) == 2
    hanging.cancel()


async def test_a_template_that_hung_takes_one_process_at_most(renderer: Renderer) -> None:
    def loop() -> asyncio.Task[list[Segment]]:
        return asyncio.create_task(renderer.render(HANGS_IF_ASKED, said("loop")))

    await renderer.open()
    await _kill_twice(renderer, loop())
    hanging = [loop() for _ in range(3)]
    # It still renders, in its turn behind those; others have their turn at once.
    patient = asyncio.create_task(renderer.render(HANGS_IF_ASKED, said()))
    assert await renderer.render(GOOD, said()) == [Segment("hi!")]
    assert await renderer.render(GOOD, said("ho")) == [Segment("ho!")]
    assert not any(task.done() for task in (*hanging, patient))
    for task in hanging:
        task.cancel()
    for pid in renderer.pids:
        os.kill(pid, signal.SIGKILL)
    assert await patient == [Segment("hi")]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
async def test_a_request_survives_the_end_of_its_process(
    renderer: Renderer, number: signal.Signals
) -> None:
    await renderer.open()
    [pid] = renderer.pids
    os.kill(pid, signal.SIGSTOP)
    waiting = [asyncio.create_task(renderer.render(GOOD, said(str(n)))) for n in range(3)]
    await asyncio.sleep(0)
    os.kill(pid, number)
    os.kill(pid, signal.SIGCONT)
    assert await asyncio.gather(*waiting) == [[Segment(f"{n}!")] for n in range(3)]
    assert pid not in renderer.pids


async def test_one_that_ends_every_process_is_given_up(renderer: Renderer) -> None:
    await renderer.open()
    await _kill_twice(renderer, asyncio.create_task(renderer.render(HANGS, said())))
    assert await renderer.render(GOOD, said()) == [Segment("hi!")]


async def _kill_twice(renderer: Renderer, hanging: asyncio.Task[list[Segment]]) -> None:
    """End every process that it hangs in, until it is given up."""

    def kill() -> bool:
        for pid in renderer.pids:
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                if process.status() == psutil.STATUS_RUNNING:
                    process.kill()
        return hanging.done()

    await until(kill)
    with pytest.raises(InvalidRequest, match="ended the process that it ran in, twice"):
        await hanging


async def test_a_cancelled_request_is_forgotten(renderer: Renderer) -> None:
    await renderer.open()
    tasks = [asyncio.create_task(renderer.render(GOOD, said(str(n)))) for n in range(4)]
    await asyncio.sleep(0)
    tasks[0].cancel()  # in the process already
    tasks[2].cancel()  # waits for it
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(each, asyncio.CancelledError) for each in done] == [True, False, True, False]
    assert done[1] == [Segment("1!")] and done[3] == [Segment("3!")]
    assert len(renderer.pids) == 1


async def test_it_knows_templates_that_its_process_has_forgotten(renderer: Renderer) -> None:
    for n in (*range(MAX_TEMPLATES + 3), 0, 1, MAX_TEMPLATES):
        assert await renderer.render(ChatTemplate(f"{n}"), said()) == [Segment(str(n))]
    assert len(renderer.pids) == 1


async def test_closing_twice_ends_everything() -> None:
    renderer = Renderer()
    await renderer.render(GOOD, said())
    [pid] = renderer.pids
    hanging = asyncio.create_task(renderer.render(HANGS, said()))
    waiting = asyncio.create_task(renderer.render(GOOD, said()))
    await asyncio.sleep(0)
    await renderer.close()
    await renderer.close()
    for task in (hanging, waiting):
        with pytest.raises(Overloaded, match="shutting down"):
            await task
    with pytest.raises(Overloaded, match="shutting down"):
        await renderer.render(GOOD, said())
    assert not psutil.pid_exists(pid)


async def test_closing_while_it_starts_leaves_nothing() -> None:
    before = set(psutil.Process().children())
    renderer = Renderer()
    waiting = asyncio.create_task(renderer.render(GOOD, said()))
    await until(lambda: set(psutil.Process().children()) > before)
    await renderer.close()
    with pytest.raises(Overloaded, match="shutting down"):
        await waiting
    assert set(psutil.Process().children()) <= before


async def test_no_process_to_be_had_is_told(
    renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(Overloaded, match="could be started"):
        await renderer.render(GOOD, said())
    monkeypatch.undo()
    assert await renderer.render(GOOD, said()) == [Segment("hi!")]


@pytest.mark.parametrize("frames", [[], [Define(1, HANGS), Render(1, said())]])
def test_a_process_whose_parent_is_gone_ends(frames: list[Define | Render]) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        child = subprocess.Popen(
            [sys.executable, "-m", "server.chat.render_worker", str(theirs.fileno()), "0.3"],
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        assert ours.recv(100)
        ours.sendall(b"".join(map(encode, frames)))
    # Either it reads the end of the stream, or the signal of its own clock ends it.
    assert child.wait(60) == (-signal.SIGALRM if frames else 0)


def _nested(depth: int) -> dict[str, object]:
    value: dict[str, object] = {}
    for _ in range(depth):
        value = {"x": value}
    return value


@pytest.mark.parametrize(
    "tool",
    [{"x": 1 << 80}, {"x": "\ud800"}, {"x": object()}, {1: "x"}, _nested(100_000)],
    ids=["large", "surrogate", "object", "key", "deep"],
)
async def test_values_that_cannot_be_are_the_clients(renderer: Renderer, tool: object) -> None:
    await renderer.open()
    pids = renderer.pids
    asked = Conversation(messages=said().messages, tools=(tool,))  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest, match="written down"):
        await renderer.render(GOOD, asked)
    assert renderer.pids == pids


@pytest.mark.parametrize("depth", range(700, 1100, 50))
async def test_no_depth_of_a_tool_ends_the_process(renderer: Renderer, depth: int) -> None:
    await renderer.open()
    pids = renderer.pids
    asked = Conversation(messages=said().messages, tools=(_nested(depth),))
    with suppress(InvalidRequest):
        await renderer.render(ChatTemplate("{{ tools | tojson }}"), asked)
    assert renderer.pids == pids


async def test_images_stay_here(renderer: Renderer) -> None:
    image = bytes(1000)
    asked = Conversation(messages=(Message(role="user", content="x", images=(image, image)),))
    assert [len(m.images[0]) for m in asked.without_images().messages] == [0]
    found = await renderer.render(GOOD, asked)
    assert [segment.text for segment in found] == ["<__media__>", "<__media__>", "x!"]


async def test_what_it_can_do_is_asked_once(renderer: Renderer) -> None:
    template = ChatTemplate("{{ tools }}{% if enable_thinking %}<think>{% endif %}")
    facts = await renderer.describe(template)
    assert facts.has_tools and facts.has_thinking and facts.can_disable_thinking
    for pid in renderer.pids:
        os.kill(pid, signal.SIGKILL)
    await until(lambda: not renderer.pids)
    assert await renderer.describe(template) is facts
    assert renderer.pids == []


async def test_a_template_that_hangs_cannot_be_described(hasty: Renderer) -> None:
    with pytest.raises(InvalidRequest, match="longer"):
        await hasty.describe(HANGS)
