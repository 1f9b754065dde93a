"""The deploy panel without a browser: what its widgets hold after what a person does."""

import asyncio
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.deploying import MakeKeeper
from tests.support.pairs import install, pair_sdl
from tests.support.panels import all_widgets, buttons, fields, markup, shown, state, until
from toolkit import paths
from toolkit.deploy import keyfile, members, watching
from toolkit.deploy.base import Intent, Limit, Plan, Price, Record, State, Status, Update
from toolkit.deploy.keeper import Keeper
from toolkit.errors import ConfigError, EndpointError
from toolkit.widgets.deploy import DeployPanel
from toolkit.widgets.deploy_page import confirm_text
from toolkit.widgets.deploy_phases import Phases


async def sees(panel: DeployPanel, *texts: str) -> None:
    await until(lambda: all(text in shown(panel) for text in texts), lambda: shown(panel))


async def lacks(panel: DeployPanel, text: str) -> None:
    await until(lambda: text not in shown(panel), lambda: shown(panel))


async def offers(panel: DeployPanel, *names: str) -> None:
    """Until these can be clicked."""
    await until(lambda: set(names) <= set(buttons(panel)), lambda: str(buttons(panel)))


async def click(panel: DeployPanel, name: str) -> None:
    await offers(panel, name)
    buttons(panel)[name].click()


def panel_of(keeper: Keeper, **given: Any) -> DeployPanel:
    wanted: dict[str, Any] = {"name": "mine", "context": 512, "parallel": 2}
    return DeployPanel(keeper=keeper, **(wanted | given))


async def test_a_plan_starts_nothing_and_the_button_names_the_amount(keeper: MakeKeeper) -> None:
    used = keeper()
    panel = panel_of(used)
    await click(panel, "Plan")
    await offers(panel, "Deploy, it costs nothing", "Back")
    await sees(panel, "What you get", "Who can see what", "holds by itself", "$0 per hour")
    assert used.ledger.records() == []
    assert "<th" in markup(panel) and "scope='row'" in markup(panel)
    await click(panel, "Back")
    await offers(panel, "Plan")
    assert used.ledger.records() == []


async def test_from_the_plan_to_ready_and_closed(keeper: MakeKeeper) -> None:
    used = keeper()
    panel = panel_of(used)
    await click(panel, "Plan")
    await click(panel, "Deploy, it costs nothing")
    await sees(panel, "It is ready.", "http://127.0.0.1:", "only power", "until it is closed")
    record = used.ledger.find("mine")
    assert record is not None and record.state is State.READY
    fields(panel)["Events"].value = True
    await sees(panel, "opening", "noted", "ready")
    await click(panel, "Close…")
    await click(panel, "Keep it")
    assert used.ledger.find("mine") is not None
    await click(panel, "Close…")
    await click(panel, "Close it now, it cost nothing so far")
    await sees(panel, "mine is closed; it cost nothing.")
    assert used.ledger.find("mine") is None
    await offers(panel, "Plan")


async def test_phases_have_times_as_text(keeper: MakeKeeper) -> None:
    panel = panel_of(keeper("slow"))
    await click(panel, "Plan")
    await click(panel, "Deploy, it costs nothing")
    await sees(panel, "Phases", "usually", "took", "load", "now")
    (paths.home() / "go").touch()
    await sees(panel, "It is ready.")
    await panel.close()


async def test_stop_closes_what_was_begun_and_says_so(keeper: MakeKeeper) -> None:
    used = keeper("never")
    panel = panel_of(used)
    await click(panel, "Plan")
    await click(panel, "Deploy, it costs nothing")
    await until(lambda: (r := used.ledger.find("mine")) is not None and bool(r.handle))
    await click(panel, "Stop")
    await sees(panel, "Stopped. What was begun is closed; it cost nothing.")
    assert used.ledger.find("mine") is None
    assert [r.error for r in used.ledger.records()] == ["interrupted"]
    await offers(panel, "Plan")


async def test_a_failure_is_one_line_with_the_next_step_and_the_plan_stays(
    keeper: MakeKeeper,
) -> None:
    used = keeper("dies")
    panel = panel_of(used)
    await click(panel, "Plan")
    await click(panel, "Deploy, it costs nothing")
    await sees(panel, "Error:", "failed")
    await offers(panel, "Deploy, it costs nothing", "Back")
    assert used.ledger.find("mine") is None


async def test_what_is_there_is_shown_at_once_and_adopted(keeper: MakeKeeper) -> None:
    used = keeper()
    first = panel_of(used)
    endpoint = await first.deploy()
    await endpoint.aclose()
    second = panel_of(used)
    await sees(second, "ready", str(endpoint.url))
    again = await second.deploy()
    await again.aclose()
    assert len(used.ledger.records()) == 1
    await second.close()


async def test_a_change_shows_its_difference_first(keeper: MakeKeeper) -> None:
    used = keeper()
    panel = panel_of(used)
    await (await panel.deploy()).aclose()
    uid = used.ledger.open_records()[0].uid
    await click(panel, "Change…")
    fields(panel)["Tokens a request"].value = 1024
    assert fields(panel)["Name"].disabled
    await click(panel, "Plan")
    await offers(panel, "Replace, it costs nothing")
    await sees(panel, "context: 512 → 1024", "Changes in its deployment file")
    await click(panel, "Back")
    await sees(panel, "ready")
    assert used.ledger.open_records()[0].uid == uid
    await click(panel, "Change…")
    fields(panel)["Tokens a request"].value = 1024
    await click(panel, "Plan")
    await click(panel, "Replace, it costs nothing")
    await sees(panel, "It is ready.", "2 requests of 1,024 tokens")
    assert [r.intent.context for r in used.ledger.records()] == [512, 1024]
    await panel.close()


async def test_an_opening_that_was_left_is_gone_on_with(keeper: MakeKeeper) -> None:
    used = keeper()
    plan = await used.plan(panel_of(used).form.intent())
    used.ledger.open(plan.intent, sdl=plan.sdl)
    panel = panel_of(used)
    await sees(panel, "begun, and not ready yet")
    await click(panel, "Go on")
    await click(panel, "Deploy, it costs nothing")
    await sees(panel, "It is ready.")
    await panel.close()


async def test_the_log_is_followed_and_is_only_text(keeper: MakeKeeper) -> None:
    used = keeper()
    panel = panel_of(used)
    await (await panel.deploy()).aclose()
    log = Path(used.ledger.open_records()[0].handle["log"])  # type: ignore[arg-type]
    fields(panel)["Log"].value = True
    with log.open("a") as file:
        file.write("<img src=x onerror=alert(1)>\x1b[31m\u202egnp\n")
    await sees(panel, "<img src=x onerror=alert(1)>gnp")
    assert "<img" not in markup(panel)
    await panel.close()


async def test_a_limit_that_needs_a_watcher_is_held(keeper: MakeKeeper) -> None:
    used = keeper()
    panel = panel_of(used, idle_minutes=0.0001)
    await (await panel.deploy()).aclose()
    await sees(panel, "mine is closed: nobody has asked it")
    assert used.ledger.find("mine") is None


async def test_errors_of_the_form_name_the_field_and_a_pasted_secret_does_not_stay(
    keeper: MakeKeeper,
) -> None:
    panel = panel_of(keeper(), target="console")
    fields(panel)["Most $ per hour"].value = "cheap"
    await click(panel, "Plan")
    await sees(panel, "Most $ per hour", "is no number above 0")
    fields(panel)["Most $ per hour"].value = "0.5"
    fields(panel)["Sealed variables"].value = "hf_canary0f0a0token"
    await click(panel, "Plan")
    await sees(panel, "names of variables that are set here")
    assert "canary" not in state(panel.view)


async def test_from_code_it_raises_what_it_shows(keeper: MakeKeeper) -> None:
    panel = panel_of(keeper(), model="unheard-of:1b")
    with pytest.raises(ConfigError):
        await panel.deploy()
    assert "unheard-of:1b" in shown(panel) and "Error:" in shown(panel)


async def test_a_cell_that_is_interrupted_closes_what_it_began(keeper: MakeKeeper) -> None:
    used = keeper("never")
    panel = panel_of(used)
    cell = asyncio.ensure_future(panel.deploy())
    await until(lambda: (r := used.ledger.find("mine")) is not None and bool(r.handle))
    cell.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cell
    assert used.ledger.find("mine") is None


async def test_no_widget_holds_the_key(keeper: MakeKeeper) -> None:
    panel = panel_of(keeper())
    await (await panel.deploy()).aclose()
    key = paths.key_file("mine").read_text().strip()
    fields(panel)["Log"].value = fields(panel)["Events"].value = True
    await sees(panel, "ready")
    assert key not in state(panel.view)
    await panel.close()


async def test_every_control_has_a_name(keeper: MakeKeeper) -> None:
    panel = panel_of(keeper(), target="console")
    named = [w for w in all_widgets(panel.view) if hasattr(w, "description")]
    controls = [w for w in named if type(w).__name__ != "HTML"]
    assert controls and all(w.description for w in controls)


def plan_of(worst: str | None) -> Plan:
    from tests.support.console import renting

    return Plan(
        intent=renting.intent(),
        resources=(),
        price=Price.of_hour(Decimal("0.8")),
        worst_case_usd=None if worst is None else Decimal(worst),
        limits=(Limit("ends", True),),
        privacy=(),
        sdl="",
    )


def test_the_amount_on_the_button() -> None:
    assert confirm_text(plan_of("2.4")) == "Deploy, at most $2.40"
    assert confirm_text(plan_of("0")) == "Deploy, it costs nothing"
    assert confirm_text(plan_of(None)) == "Deploy, without a limit on its cost"


async def test_a_plan_without_a_limit_cannot_be_agreed_to(keeper: MakeKeeper) -> None:
    panel = DeployPanel(plan_of(None), keeper=keeper())
    assert "Deploy, without a limit on its cost" not in buttons(panel)
    panel.confirm()
    assert panel.record is None


def test_phases_tell_what_each_took() -> None:
    now = [0.0]
    phases = Phases(lambda: now[0])
    phases.see(Update("order", "is ordered", 0.0, 5.0))
    phases.see(Update("bids", "asked", 4.0, 30.0))
    now[0] = 7.0
    phases.see(Update("bids", "two will do", 7.0))
    now[0] = 10.0
    first, second = phases.told()
    assert (first.took_s, first.state, second.took_s, second.state) == (4.0, "done", 6.0, "now")
    assert phases.sentence == "bids: two will do (6 s, usually 30 s)"
    phases.end("stopped")
    assert phases.told()[-1].state == "stopped" and not phases.is_done


async def test_what_is_there_no_more_is_not_opened_anew_by_the_same_button(
    keeper: MakeKeeper,
) -> None:
    used = keeper()
    await (await panel_of(used).deploy()).aclose()
    second = panel_of(used)
    await click(second, "Change…")
    await click(second, "Plan")
    await offers(second, "Use what is there")
    await used.close("mine")
    await click(second, "Use what is there")
    await sees(second, "it is not as it was planned")
    await offers(second, "Deploy, it costs nothing")
    assert used.ledger.find("mine") is None and len(used.ledger.records()) == 1


async def test_an_end_that_failed_is_told_and_tried_again(
    keeper: MakeKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = keeper()
    panel = panel_of(used)
    await (await panel.deploy()).aclose()
    real, tried = used.close, list[str]()

    async def close(name: str, **given: Any) -> Record | None:
        tried.append(name)
        if len(tried) == 1:
            record = used.ledger.find(name)
            assert record is not None
            used.ledger.move(record.uid, State.CLOSING)
            raise EndpointError("the account is away")
        return await real(name, **given)

    async def over(record: Record, status: Status) -> str:
        return "it has cost enough"

    monkeypatch.setattr(used, "close", close)
    monkeypatch.setattr(watching, "over", over)
    await sees(panel, "could not be closed: the account is away", "tried again")
    await sees(panel, "mine is closed: its end had begun.")
    assert len(tried) == 2 and used.ledger.find("mine") is None


async def test_stop_does_not_end_the_closing_behind_a_cell_that_was_interrupted(
    keeper: MakeKeeper,
) -> None:
    used = keeper("never")
    panel = panel_of(used)
    cell = asyncio.create_task(panel.deploy())
    await until(lambda: (r := used.ledger.find("mine")) is not None and bool(r.handle))
    cell.cancel()
    await asyncio.sleep(0)
    panel.stop()
    panel.stop()
    with pytest.raises(asyncio.CancelledError):
        await cell
    assert used.ledger.find("mine") is None
    assert [record.state for record in used.ledger.records()] == [State.CLOSED]


async def test_a_fault_of_ours_leaves_a_way_to_go_on(
    keeper: MakeKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = keeper()
    panel = panel_of(used)
    await click(panel, "Plan")

    async def apply(*_: Any, **__: Any) -> Record:
        raise KeyError("ours")

    monkeypatch.setattr(used, "apply", apply)
    await click(panel, "Deploy, it costs nothing")
    await sees(panel, "This panel failed")
    await offers(panel, "Deploy, it costs nothing", "Back")


async def test_the_log_of_one_service_can_be_chosen(
    keeper: MakeKeeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{install(tmp_path / 'bin', 'vllm').parent}:{os.environ['PATH']}")
    used = keeper("gateway")
    keys = keyfile.as_digests(keyfile.ensure(paths.key_file("mine")))
    intent = Intent(name="mine", engine="vllm", model="org/tiny", context=512, parallel=2)
    made = msgspec.structs.replace(plan_of("0"), intent=intent, sdl=pair_sdl("vllm", keys=keys))
    record = await used.apply(made, deadline_s=60)
    for service in ("server", "engine"):
        path = members.log_of(record, service)
        assert path is not None
        with path.open("a") as file:
            file.write(f"a line of the {service}\n")
    panel = panel_of(used)
    assert "Log of" not in fields(panel)
    fields(panel)["Log"].value = True
    await sees(panel, "server | a line of the server", "engine | a line of the engine")
    chosen = fields(panel)["Log of"]
    assert [name for name, _ in chosen.options] == ["all services", "server", "engine"]
    for service, other in (("engine", "server"), ("server", "engine")):
        chosen.value = service
        await sees(panel, f"a line of the {service}")
        await lacks(panel, f"a line of the {other}")
        assert f"{service} | " not in shown(panel)
    fields(panel)["Log"].value = False
    assert "Log of" not in fields(panel)
    fields(panel)["Log"].value = True
    await sees(panel, "a line of the server")
    await panel.close()
