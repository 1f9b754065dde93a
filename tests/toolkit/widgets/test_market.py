"""The market panel against a Console that stands in: picture, table, filters, no network."""

from collections.abc import Iterator

import pytest
import stamina

from tests.support.console import samples
from tests.support.console.faults import answered
from tests.support.console.server import ConsoleServer
from tests.support.console.world import World
from tests.support.panels import buttons, fields, markup, shown, state, until
from toolkit.errors import EndpointError
from toolkit.widgets.market import MarketPanel

KEY = "ac.sk.production.canary"


@pytest.fixture(autouse=True)
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ConsoleServer]:
    world = World(hosts=(*samples.MARKET, samples.LYING))
    world.silent.add(samples.LYING.address)
    with stamina.set_testing(True, attempts=1), ConsoleServer(world) as server:
        monkeypatch.setenv("AKASH_LLM_CONSOLE", server.url)
        monkeypatch.setenv("AKASH_API_KEY", KEY)
        yield server


async def test_it_asks_and_shows_a_picture_a_sentence_and_a_table(server: ConsoleServer) -> None:
    panel = MarketPanel()
    found = await panel.refresh()
    assert [card.model for card in found] == ["rtx4090", "a100", "a100", "t4"]
    text, html = shown(panel), markup(panel)
    assert "The cheapest is rtx4090 24Gi pcie at $0.17 an hour" in text and "no quotes" in text
    assert 'role="img" aria-label="4 kinds of GPU' in html and "currentColor" in html
    assert '<th scope="row">rtx4090 pcie</th>' in html and "http" not in html.replace(
        "http://www.w3.org", ""
    )
    assert not any("x-api-key" in seen.headers for seen in server.seen)
    assert KEY not in state(panel.view)


async def test_filters_work_without_asking_again(server: ConsoleServer) -> None:
    panel = MarketPanel()
    await panel.refresh()
    asked = len(server.seen)
    assert "us-east" in dict(fields(panel)["Region"].options)
    fields(panel)["Memory"].value = 80
    await until(lambda: {card.model for card in panel.cards} == {"a100"})
    fields(panel)["Region"].value = "us-east"
    await until(lambda: len(panel.cards) == 1)
    fields(panel)["Region"].value = ""
    fields(panel)["Memory"].value = 0
    fields(panel)["GPU"].value = "4090"
    await until(lambda: "did you mean rtx4090?" in shown(panel))
    fields(panel)["GPU"].value = "rtx4090"
    await until(lambda: [card.model for card in panel.cards] == ["rtx4090"])
    assert len(server.seen) == asked


async def test_a_filter_can_be_given(server: ConsoleServer) -> None:
    panel = MarketPanel(gpu="a100", region="us-east", min_ram_gib=80)
    (card,) = await panel.refresh()
    assert (card.interface, card.free) == ("pcie", None)


async def test_without_the_network_it_says_so_and_refresh_asks_again(
    server: ConsoleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AKASH_LLM_CONSOLE", "http://127.0.0.1:9")
    panel = MarketPanel()
    with pytest.raises(EndpointError, match="cannot be seen now"):
        await panel.refresh()
    assert "It needs the network, and no key" in shown(panel) and "not seen" in shown(panel)
    monkeypatch.setenv("AKASH_LLM_CONSOLE", server.url)
    await until(lambda: "Refresh" in buttons(panel))
    buttons(panel)["Refresh"].click()
    await until(lambda: "rtx4090" in shown(panel))
    assert "Error" not in shown(panel)


async def test_a_console_that_fails_keeps_what_was_seen(server: ConsoleServer) -> None:
    panel = MarketPanel()
    await panel.refresh()
    server.script.add(*[answered("GET", "/v1/gpu-prices", 503)] * 4)
    with pytest.raises(EndpointError):
        await panel.refresh()
    assert len(panel.cards) == 4 and "rtx4090" in shown(panel)
