"""`akash-llm market` against a Console that stands in."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import stamina

from tests.support.console import samples
from tests.support.console.faults import answered
from tests.support.console.server import ConsoleServer
from tests.support.console.states import Generation
from tests.support.console.world import World
from toolkit.cli import run

Output = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ConsoleServer]:
    """The Console that the command is told of; of one model nobody bids."""
    world = World(hosts=(*samples.MARKET, samples.LYING))
    world.silent.add(samples.LYING.address)
    with stamina.set_testing(True, attempts=2), ConsoleServer(world) as server:
        monkeypatch.setenv("AKASH_LLM_CONSOLE", server.url)
        yield server


def listed(output: Output, *arguments: str) -> list[dict[str, Any]]:
    assert run(["market", *arguments, "--json"]) == 0
    return [json.loads(line) for line in output.readouterr().out.splitlines()]


def test_the_cheapest_is_first_and_what_has_no_price_last(capsys: Output) -> None:
    found = listed(capsys)
    assert [(card["model"], card["interface"]) for card in found] == [
        ("rtx4090", "pcie"),
        ("a100", "sxm4"),
        ("a100", "pcie"),
        ("t4", "pcie"),
    ]
    first, last = found[0], found[-1]
    assert first == {
        "vendor": "nvidia",
        "model": "rtx4090",
        "ram": "24Gi",
        "interface": "pcie",
        "usd_min": 0.15,
        "usd_median": 0.165,
        "usd_max": 0.18,
        "free": 7,
        "free_on_a_node": 4,
        "providers": 2,
    }
    assert last["usd_median"] is None and last["free"] == 0


def test_no_key_is_needed_or_sent(
    capsys: Output, server: ConsoleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AKASH_API_KEY", server.key)
    assert listed(capsys, "--region", "us-east")
    assert server.seen and not any("x-api-key" in seen.headers for seen in server.seen)


@pytest.mark.parametrize(
    ("names", "number"),
    [
        (["a100"], 2),
        (["A100/80gi/SXM"], 1),
        (["a100/sxm", "rtx4090"], 2),
    ],
)
def test_only_what_is_named(capsys: Output, names: list[str], number: int) -> None:
    options = [word for name in names for word in ("--gpu", name)]
    assert len(listed(capsys, *options)) == number


def test_a_region_has_what_its_providers_have(capsys: Output) -> None:
    (card,) = listed(capsys, "--region", "us-east")
    assert (card["model"], card["interface"], card["providers"]) == ("a100", "pcie", 4)
    assert card["free"] is card["free_on_a_node"] is None  # nobody says it by region


def test_an_older_console_does_not_say_what_a_node_has_free(
    capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(hosts=samples.MARKET, generation=Generation.OLDER)
    with ConsoleServer(world) as older:
        monkeypatch.setenv("AKASH_LLM_CONSOLE", older.url)
        found = listed(capsys)
    assert found and all(card["free"] and card["free_on_a_node"] is None for card in found)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("--gpu", "RTX 4090"), 2, "names no GPU"),
        (("--gpu", "4090"), 2, "did you mean rtx4090?"),
        (("--gpu", "a100", "--gpu", "nothing"), 2, "akash-llm market"),
        (("--gpu", "h100"), 5, "nobody has such a GPU now"),
        (("--gpu", "rtx4090", "--region", "us-east"), 5, "nobody has such a GPU now"),
        (("--region", "mars"), 5, "there are: eu-west, us-east, us-west"),
    ],
)
def test_what_there_is_not(
    capsys: Output, arguments: tuple[str, ...], code: int, told: str
) -> None:
    assert run(["market", *arguments]) == code
    assert told in capsys.readouterr().err


def test_a_table_for_people(capsys: Output) -> None:
    assert run(["market"]) == 0
    head, first, *_, last, blank, note = capsys.readouterr().out.splitlines()
    assert head.startswith("GPU") and head.endswith("PROVIDERS")
    assert first.split() == ["rtx4090", "24Gi", "pcie", "0.165", "0.150", "0.180", "7", "4", "2"]
    assert last.split()[3:6] == ["-", "-", "-"]
    assert blank == "" and "no quotes" in note


def test_a_console_that_is_down(capsys: Output, server: ConsoleServer) -> None:
    server.script.add(*[answered("GET", "/v1/gpu-prices", 503)] * 2)
    assert run(["market"]) == 7
    assert "error: " in capsys.readouterr().err


def test_an_address_that_can_be_no_console(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AKASH_LLM_CONSOLE", "http://console.example.org")
    assert run(["market"]) == 3
