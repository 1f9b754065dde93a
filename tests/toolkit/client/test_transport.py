"""Where a key may travel, and what is refused before anything is sent."""

from pathlib import Path

import pytest

from tests.support.endpoint import Answer, ScriptedEndpoint
from toolkit.client import Endpoint
from toolkit.errors import ConfigError, CredentialsError, RequestRefused
from toolkit.transport import is_loopback, read_key_file

CANARY = "ak-canary-51c0ffee"


@pytest.mark.parametrize(
    "url",
    ["http://example.org", "http://10.0.0.3:11434", "http://127.0.0.1.example.org", "http://[::2]"],
)
def test_a_key_is_not_taken_over_plain_http_to_another_machine(url: str) -> None:
    with pytest.raises(CredentialsError) as caught:
        Endpoint.open(url=url, key=CANARY)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["https://example.org", "http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1"]
)
def test_a_key_is_taken_over_https_and_on_this_machine(url: str) -> None:
    assert CANARY not in repr(Endpoint.open(url=url, key=CANARY, model="m"))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org",
        "ftp://example.org",
        "http://",
        "http://u:p@h",
        "http://h/?q",
        "http://a b",
    ],
)
def test_what_is_no_url_of_an_endpoint_is_refused(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Endpoint.open(url=url)
    assert caught.value.hint


@pytest.mark.parametrize("key", ["", "a b", "a\nb", "schlüssel"])
def test_a_key_that_cannot_be_a_header_is_refused(key: str) -> None:
    with pytest.raises(CredentialsError):
        Endpoint.open(url="http://127.0.0.1:1", key=key)


def test_a_key_file_is_read_without_its_line_end(tmp_path: Path) -> None:
    path = tmp_path / "api.key"
    path.write_text(f"{CANARY}\n")
    assert read_key_file(path) == CANARY


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe"])
def test_a_key_file_without_a_key_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "api.key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CredentialsError, match=r"api\.key"):
        read_key_file(path)


def test_only_this_machine_is_loopback() -> None:
    assert is_loopback("127.8.8.8") and is_loopback("localhost") and is_loopback("::1")
    assert not is_loopback("0.0.0.0") and not is_loopback("localhost.example.org")


async def test_the_key_is_sent_as_bearer_and_no_proxy_sees_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    async with (
        ScriptedEndpoint(key=CANARY) as server,
        Endpoint.open(url=server.url, key=CANARY) as endpoint,
    ):
        assert await endpoint.version() == "0.13.0"
    assert server.received[0].headers["authorization"] == f"Bearer {CANARY}"


async def test_a_redirect_is_not_followed_with_the_key() -> None:
    async with ScriptedEndpoint() as server:
        target = {"location": f"{server.url}/api/version"}
        server.script = lambda _: Answer(status=307, headers=target)
        async with Endpoint.open(url=server.url, key=CANARY, model="m") as endpoint:
            with pytest.raises(RequestRefused, match="307"):
                async for _ in endpoint.chat("hi"):
                    pass
    assert len(server.received) == 1


async def test_an_endpoint_that_repeats_the_key_in_its_error_does_not_make_us_show_it() -> None:
    echo = Answer(status=400, error=f"bad request with {CANARY}")
    late = Answer([f'{{"error":"boom {CANARY}"}}\n'.encode()], finish=False)
    for answer in (echo, late):
        async with (
            ScriptedEndpoint(lambda _, answer=answer: answer) as server,  # type: ignore[misc]
            Endpoint.open(url=server.url, key=CANARY, model="m") as endpoint,
        ):
            with pytest.raises(RequestRefused) as caught:
                async for _ in endpoint.chat("hi"):
                    pass
        assert CANARY not in str(caught.value)
