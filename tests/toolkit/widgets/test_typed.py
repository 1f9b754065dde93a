"""A click or an Enter that comes before the text that it acts on, in every form."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.benching import asked
from tests.support.deploying import MakeKeeper
from tests.support.endpoint import MODEL, Answer, Received, ScriptedEndpoint
from tests.support.panels import buttons, fields, shown, until
from toolkit.client import Endpoint
from toolkit.widgets.bench import BenchPanel
from toolkit.widgets.chat.panel import ChatPanel
from toolkit.widgets.deploy import DeployPanel
from toolkit.widgets.models import ModelsPanel

Act = Callable[[Any, str, str], None]
LATE_S = 0.03


def enters(panel: Any, field: str, _button: str) -> None:
    """Enter as it arrives: the event, and later its text."""
    fields(panel)[field]._handle_custom_msg({"event": "submit"}, [])


def clicks(panel: Any, _field: str, button: str) -> None:
    buttons(panel)[button].click()


async def type_late(panel: Any, label: str, text: str) -> None:
    """The text arrives, after what was done with it."""
    field = fields(panel)[label]
    await asyncio.sleep(LATE_S)
    field.value = text


def tokens(received: Received) -> Answer:
    return Answer(["w "] * asked(received))


both = pytest.mark.parametrize("act", [enters, clicks])


@both
async def test_a_plan_is_of_what_was_typed(keeper: MakeKeeper, act: Act) -> None:
    panel = DeployPanel(keeper=keeper(), context=512)
    await until(lambda: "Plan" in buttons(panel))
    act(panel, "Name", "Plan")
    await type_late(panel, "Name", "typed")
    await until(lambda: "typed" in shown(panel) and "Back" in buttons(panel), lambda: shown(panel))


@both
async def test_a_pull_is_of_what_was_typed(akash_home: Path, act: Act) -> None:
    panel = ModelsPanel(wanted="before:1b")
    await until(lambda: "Pull" in buttons(panel))
    act(panel, "Pull a model", "Pull")
    await type_late(panel, "Pull a model", "no name/at//all")
    await until(lambda: "Error:" in shown(panel), lambda: shown(panel))
    assert "invalid model name" in shown(panel)


async def test_a_benchmark_and_its_file_are_what_was_typed(tmp_path: Path) -> None:
    async with ScriptedEndpoint(tokens) as server:
        panel = BenchPanel(Endpoint.open(url=server.url, model=MODEL, name="test"))
        fields(panel)["Requests each"].value = 2
        clicks(panel, "", "Run")
        await type_late(panel, "Open requests", "3")
        await until(lambda: "Save" in buttons(panel), lambda: shown(panel))
        assert panel.result is not None
        assert [str(level.load) for level in panel.result.levels] == ["3 open"]
        clicks(panel, "", "Save")
        await type_late(panel, "Save as", str(tmp_path / "typed.json"))
        await until(lambda: "Saved as" in shown(panel), lambda: shown(panel))
    assert (tmp_path / "typed.json").is_file()


async def test_a_retry_has_the_options_that_were_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with ScriptedEndpoint() as server:
        panel = ChatPanel(Endpoint.open(url=server.url, model=MODEL, name="test"))
        await panel.ask("hi")
        panel.composer.settings.value = True
        clicks(panel, "", "Retry")
        await type_late(panel, "Seed", "7")
        await server.until(lambda s: len(s.generations()) == 2)
        await panel._task.wait()
    assert server.generations()[1].body["options"]["seed"] == 7


async def test_what_was_typed_is_not_sent_letter_by_letter(keeper: MakeKeeper) -> None:
    """Or a click overtakes the letters that wait."""
    async with ScriptedEndpoint() as server:
        endpoint = Endpoint.open(url=server.url, model=MODEL, name="test")
        panels = [DeployPanel(keeper=keeper()), ModelsPanel(), BenchPanel(endpoint)]
        lines = [field for panel in panels for field in fields(panel).values()]
    texts = [line for line in lines if hasattr(line, "continuous_update")]
    assert len(texts) > 10
    assert not [line.description for line in texts if line.continuous_update]
