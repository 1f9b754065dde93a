"""The market, as a table and as JSON, from a simulated Console."""

import json
from collections.abc import Iterator

import pytest

from tests.support.console import samples
from tests.support.console.server import ConsoleServer
from tests.support.console.states import Generation
from tests.support.console.world import World
from toolkit.cli import run


@pytest.fixture(params=list(Generation))
def server(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ConsoleServer]:
    world = World(hosts=samples.MARKET, generation=request.param)
    with ConsoleServer(world) as server:
        monkeypatch.setenv("AKASH_LLM_CONSOLE", server.url)
        monkeypatch.delenv("AKASH_API_KEY", raising=False)
        yield server


def test_the_cheapest_first(server: ConsoleServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["market", "--json"]) == 0
    cards = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"a100", "rtx4090"} <= {card["model"] for card in cards}
    medians = [float(card["median_usd"]) for card in cards if card["median_usd"] is not None]
    assert medians and medians == sorted(medians)
    told = [card["free_on_a_node"] is not None for card in cards]
    assert any(told) is server.world.is_newer
    assert not any("x-api-key" in seen.headers for seen in server.seen)


def test_a_table(server: ConsoleServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["market", "--gpu", "a100"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert "MEDIAN" in head and rows and all(row.startswith("a100") for row in rows)


def test_what_nobody_offers(server: ConsoleServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["market", "--gpu", "b300"]) == 2
    assert "nobody offers b300" in capsys.readouterr().err
