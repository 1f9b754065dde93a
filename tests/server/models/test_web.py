"""Reading from servers that send elsewhere, want tokens, or lie in the wrong network."""

import asyncio
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from server.errors import Forbidden, InvalidRequest, NotFound, PullFailed
from server.models.addresses import Guard, goes_through_proxy, is_private
from server.models.manifest import digest_of
from server.models.patience import Interrupted, Patience
from server.models.pull import Puller
from server.models.sources import Registries
from server.models.store import Store
from server.models.web import Web
from tests.server.models.conftest import SWIFT
from tests.support.image_registry import ImageRegistry
from tests.support.rough_proxy import Answer, Request, RoughProxy

WANTS_TOKEN = 'Bearer realm="{}/token",service="x",scope="repository:library/m:pull"'


async def read(proxy: RoughProxy, path: str, **options: object) -> bytes:
    async with Web(proxy.url, patience=SWIFT, **options) as web:  # type: ignore[arg-type]
        return await web.read(f"{proxy.url}{path}", 1000)


def redirects(to: str, status: int = 307) -> Callable[[Request, Answer], Answer]:
    def script(request: Request, answer: Answer) -> Answer:
        if request.path == "/from":
            return Answer(status, {"location": to}, b"")
        return Answer(200, {}, request.headers.get("authorization", "none").encode())

    return script


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed(proxy: RoughProxy, status: int) -> None:
    proxy.script = redirects("/to", status)
    assert await read(proxy, "/from") == b"none"
    assert [request.path for request in proxy.seen] == ["/from", "/to"]


@pytest.mark.parametrize("to", ["http://127.0.0.2:{port}/x", "http://rebind.test:{port}/x"])
async def test_redirect_into_a_private_network_is_refused(proxy: RoughProxy, to: str) -> None:
    """A public registry must not make this machine talk to its neighbours."""
    port = proxy.host.partition(":")[2]
    proxy.script = redirects(to.format(port=port))

    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.2"] if host == "rebind.test" else [host]

    guard = Guard(resolve=resolve, is_private=lambda address: address == "127.0.0.2")
    with pytest.raises(PullFailed, match="is in a private network"):
        await read(proxy, "/from", guard=guard)
    assert [request.path for request in proxy.seen] == ["/from"]


async def test_name_is_resolved_once_and_that_address_is_used(proxy: RoughProxy) -> None:
    port = proxy.host.partition(":")[2]
    proxy.script = redirects(f"http://cdn.test:{port}/to")
    asked = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    guard = Guard(resolve=resolve, is_private=lambda address: False)
    await read(proxy, "/from", guard=guard)
    assert asked == ["cdn.test"]
    assert proxy.seen[-1].headers["host"] == f"cdn.test:{port}"


async def test_registry_in_a_private_network_may_send_within_it(proxy: RoughProxy) -> None:
    port = proxy.host.partition(":")[2]
    proxy.script = redirects(f"http://localhost:{port}/to")
    assert await read(proxy, "/from") == b"none"


@pytest.mark.parametrize("to", ["", "file:///etc/passwd", "ftp://x/y", "http://", "/from"])
async def test_redirect_to_nowhere_is_refused(proxy: RoughProxy, to: str) -> None:
    proxy.script = redirects(to)
    with pytest.raises(PullFailed):
        await read(proxy, "/from")


async def test_credentials_stay_with_their_server(proxy: RoughProxy) -> None:
    port = proxy.host.partition(":")[2]
    headers = {"authorization": "Bearer secret"}
    proxy.script = redirects("/to")
    assert await read(proxy, "/from", headers=headers) == b"Bearer secret"
    proxy.script = redirects(f"http://localhost:{port}/to")
    assert await read(proxy, "/from", headers=headers) == b"none"


@pytest.mark.parametrize(
    ("address", "private"),
    [
        ("127.0.0.1", True),
        ("10.1.2.3", True),
        ("192.168.1.1", True),
        ("169.254.169.254", True),
        ("100.64.0.1", True),
        ("0.0.0.0", True),
        ("224.0.0.1", True),
        ("::1", True),
        ("fe80::1%eth0", True),
        ("fd00::1", True),
        ("::ffff:10.0.0.1", True),
        ("1.1.1.1", False),
        ("2606:4700::1111", False),
    ],
)
def test_private_addresses(address: str, private: bool) -> None:
    assert is_private(address) is private


async def test_proxy_of_the_environment_resolves_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.test:3128")
    monkeypatch.setenv("no_proxy", "inside.test")
    assert goes_through_proxy("https", "hf.co")
    assert not goes_through_proxy("http", "hf.co")
    assert not goes_through_proxy("https", "inside.test")

    async def resolve(host: str, port: int) -> list[str]:
        raise AssertionError(f"{host} was resolved here")

    guard = Guard(resolve=resolve)
    assert await guard.address("https", "hf.co", 443) is None
    with pytest.raises(PullFailed):
        await guard.address("https", "127.0.0.1", 443)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for cdn.test with its key, made by openssl."""
    path = tmp_path / "cdn.pem"
    subject = ("-subj", "/CN=cdn.test", "-addext", "subjectAltName=DNS:cdn.test")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", *subject, "-keyout", path, "-out", tmp_path / "cert.pem"),
        ],
        check=True,
        capture_output=True,
    )
    path.write_bytes(path.read_bytes() + (tmp_path / "cert.pem").read_bytes())
    return path


async def test_certificate_is_held_against_the_name_not_the_address(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 x\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
        await writer.drain()
        writer.close()

    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    guard = Guard(resolve=resolve, is_private=lambda address: False)
    async with server:
        url = f"https://cdn.test:{port}"
        async with Web(url, patience=SWIFT, guard=guard) as web:
            assert await web.read(f"{url}/x", 10) == b"ok"
        url = f"https://other.test:{port}"
        async with Web(url, patience=SWIFT, guard=guard) as web:
            with pytest.raises(Interrupted, match="certificate"):
                await web.read(f"{url}/x", 10)


# -- tokens


def with_token(proxy: RoughProxy, realm: str) -> None:
    def script(request: Request, answer: Answer) -> Answer:
        if request.path.startswith("/token"):
            return Answer(200, {}, b'{"token":"abc"}')
        if request.headers.get("authorization") == "Bearer abc":
            return answer
        return Answer(401, {"www-authenticate": WANTS_TOKEN.format(realm)}, b"")

    proxy.script = script


async def test_anonymous_token_is_fetched(
    puller: Puller, proxy: RoughProxy, store: Store, registry: ImageRegistry
) -> None:
    registry.push("library/m:x", [("system", b"s")])
    with_token(proxy, proxy.url)
    async for _ in puller.pull(f"{proxy.host}/library/m:x"):
        pass
    assert len(store.list()) == 1
    tokens = [request.path for request in proxy.seen if request.path.startswith("/token")]
    assert tokens[0] == "/token?service=x&scope=repository%3Alibrary%2Fm%3Apull"


async def test_parts_that_are_refused_at_once_share_a_token(
    puller: Puller, proxy: RoughProxy, store: Store, registry: ImageRegistry
) -> None:
    data = bytes(range(256)) * 1000
    registry.push("library/m:y", [("license", data), ("license", b"")])
    with_token(proxy, proxy.url)
    async for _ in puller.pull(f"{proxy.host}/library/m:y"):
        pass
    assert store.blobs.path(digest_of(data)).read_bytes() == data
    refused = [request for request in proxy.blobs if "authorization" not in request.headers]
    assert len(refused) > 3
    tokens = [request for request in proxy.seen if request.path.startswith("/token")]
    assert len(tokens) == 3  # for the manifest and for each blob that has bytes
    assert all("authorization" not in request.headers for request in tokens)


@pytest.mark.parametrize("realm", ["https://evil.test", "http://localhost:1", "file://x", ""])
async def test_token_of_another_host_is_not_fetched(
    puller: Puller, proxy: RoughProxy, realm: str
) -> None:
    with_token(proxy, realm)
    with pytest.raises(PullFailed, match="not one of the registries"):
        async for _ in puller.pull(f"{proxy.host}/library/m:x"):
            pass


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"{}", b'{"token":1}', b'{"token":"a\\nb"}', b" " * 70_000]
)
async def test_token_that_is_none_is_told(puller: Puller, proxy: RoughProxy, body: bytes) -> None:
    def script(request: Request, answer: Answer) -> Answer:
        if request.path.startswith("/token"):
            return Answer(200, {}, body)
        return Answer(401, {"www-authenticate": WANTS_TOKEN.format(proxy.url)}, b"")

    proxy.script = script
    with pytest.raises(PullFailed):
        async for _ in puller.pull(f"{proxy.host}/library/m:x"):
            pass


@pytest.mark.parametrize(
    ("status", "kind"),
    [(404, NotFound), (401, PullFailed), (403, PullFailed), (400, PullFailed), (503, Interrupted)],
)
async def test_status_decides_what_an_answer_is(
    proxy: RoughProxy, status: int, kind: type[Exception]
) -> None:
    proxy.script = lambda request, answer: Answer(status, {}, b"")
    with pytest.raises(kind):
        await read(proxy, "/x")


async def test_server_that_is_not_there_is_told() -> None:
    async with Web("http://127.0.0.1:1", patience=SWIFT) as web:
        with pytest.raises(Interrupted, match=r"127\.0\.0\.1 cannot be read from"):
            await web.read("http://127.0.0.1:1/x", 10)


def test_pauses_grow_and_have_an_end() -> None:
    patience = Patience(first_wait_s=1, longest_wait_s=5)
    assert [patience.wait_s(number, 0) for number in range(1, 5)] == [1, 2, 4, 5]
    assert patience.wait_s(1, 30) == 30


# -- the list of registries


@pytest.mark.parametrize(
    ("entries", "host", "insecure", "url"),
    [
        (["hf.co"], "hf.co", False, "https://hf.co"),
        (["HF.co/"], "hf.CO", False, "https://hf.co"),
        (["http://10.0.0.1:5000"], "10.0.0.1:5000", False, "http://10.0.0.1:5000"),
        (["localhost:5000"], "localhost:5000", True, "http://localhost:5000"),
        (["localhost:5000"], "localhost:5000", False, "https://localhost:5000"),
        (["https://r.test:443"], "r.test:443", False, "https://r.test:443"),
    ],
)
def test_registries_of_the_list(entries: list[str], host: str, insecure: bool, url: str) -> None:
    assert Registries.parse(entries).url(host, insecure=insecure) == url


def test_other_registries_are_refused() -> None:
    registries = Registries.parse()
    assert registries.url("registry.ollama.ai") == "https://registry.ollama.ai"
    for host in ("evil.test", "hf.co:444", "127.0.0.1"):
        with pytest.raises(Forbidden) as caught:
            registries.url(host)
        assert "hf.co" in caught.value.hint
    with pytest.raises(InvalidRequest, match="not used over http"):
        registries.url("hf.co", insecure=True)


@pytest.mark.parametrize("entry", ["", "ftp://x", "a b", "hf.co/path", "user@host", "http://"])
def test_entry_that_is_no_registry_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="expected a host"):
        Registries.parse([entry])
