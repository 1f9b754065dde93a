"""The key goes into one header, to one place, and is found nowhere else."""

import logging
import traceback
from collections.abc import Awaitable, Callable

import pytest

from tests.support import ports
from tests.support.console import samples
from tests.support.console.faults import Canned, Fault, lost
from tests.support.console.server import ConsoleServer
from tests.support.console.world import World
from toolkit.deploy.console.client import ConsoleClient
from toolkit.deploy.console.updates import NewDeployment
from toolkit.errors import ConfigError, CredentialsError, ToolkitError

CANARY = "ac.sk.production.canary51c0ffee51c0ffee"


def everything_about(error: BaseException) -> str:
    """The error, its causes, and the local variables of all frames of ours."""
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    return "".join(told.format()) + repr(vars(error))


@pytest.mark.parametrize(
    "url",
    [
        "http://console-api.akash.network",
        "http://10.0.0.3",
        "http://127.0.0.1.example.org",
        "ftp://example.org",
        "example.org",
        "",
        "https://user:word@example.org",
        "https://example.org/?q=1",
        "https://example.org/v1",
        "https://",
        "https://[",
    ],
)
def test_an_address_that_is_not_safe_is_refused(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ConsoleClient(CANARY, url=url)
    assert CANARY not in str(caught.value)
    assert "word" not in str(caught.value)


@pytest.mark.parametrize(
    "key", ["", "short", "two words here", "line\nend-of-line", "schlüssel-lang"]
)
def test_what_cannot_be_a_key_is_refused(key: str) -> None:
    with pytest.raises(CredentialsError) as caught:
        ConsoleClient(key)
    assert not key or key not in str(caught.value)


def test_it_is_not_shown() -> None:
    console = ConsoleClient(CANARY)
    assert CANARY not in repr(console) + repr(vars(console))
    assert "sdl text" not in repr(NewDeployment(sdl="sdl text"))


async def test_it_is_in_the_one_header(world: World) -> None:
    with ConsoleServer(world, key=CANARY) as server:
        async with ConsoleClient(CANARY, url=server.url) as console:
            await console.user()
            await console.create(NewDeployment(sdl=samples.SDL))
            await console.market.gpu_prices()
    for seen in server.seen:
        rest = {name: value for name, value in seen.headers.items() if name != "x-api-key"}
        assert CANARY not in f"{seen.path}{seen.query}{rest}{seen.body!r}"
    assert ["x-api-key" in seen.headers for seen in server.seen] == [True, True, False]


ECHO = f'{{"message": "bad key {CANARY}", "code": "unauthorized"}}'.encode()
FAULTS: list[Callable[[str, str], Fault]] = [
    lambda method, path: lost(method, path, after=True),
    lambda method, path: Fault(method=method, path=path, answer=Canned(401, ECHO)),
    lambda method, path: Fault(method=method, path=path, answer=Canned(400, ECHO)),
    lambda method, path: Fault(method=method, path=path, answer=Canned(402, ECHO)),
    lambda method, path: Fault(method=method, path=path, answer=Canned(500, ECHO)),
    lambda method, path: Fault(method=method, path=path, answer=Canned(200, b"<html>")),
]


@pytest.mark.parametrize("fault", FAULTS)
async def test_no_error_and_no_log_holds_it(
    world: World, fault: Callable[[str, str], Fault], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with ConsoleServer(world, key=CANARY) as server:
        async with ConsoleClient(CANARY, url=server.url) as console:
            asks: list[tuple[str, str, Callable[[], Awaitable[object]]]] = [
                ("GET", "/v1/user/me", console.user),
                ("POST", "/v1/deployments", lambda: console.create(NewDeployment(sdl="x"))),
            ]
            for method, path, ask in asks:
                server.script.add(*[fault(method, path) for _ in range(3)])
                with pytest.raises(ToolkitError) as caught:
                    await ask()
                assert CANARY not in everything_about(caught.value)
                assert caught.value.__context__ is None
    assert server.seen
    assert CANARY not in caplog.text


async def test_no_error_holds_it_where_nobody_answers() -> None:
    url = f"http://127.0.0.1:{ports.free_port()}"
    async with ConsoleClient(CANARY, url=url) as console:
        with pytest.raises(ToolkitError) as caught:
            await console.user()
    assert CANARY not in everything_about(caught.value)
