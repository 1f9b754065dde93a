"""Slow, dead, greedy and broken clients on raw sockets: one clear end for each, and nothing
is held by them afterwards."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import httpx2
import psutil
import pytest

from server.connection import MAX_HEAD_BYTES, MAX_PIPELINED, NUM_SPARE
from server.models.store import Store
from tests.support import ports
from tests.support.serving import Serving, write_gguf

NUM_CONNECTIONS = 320
BODY = b'{"model":"m","prompt":"\xe2\x9f\xa6ok\xe2\x9f\xa7","raw":true,"stream":false}'
ENDLESS = b'{"model":"m","prompt":"\xe2\x9f\xa6abc\xe2\x9f\xa7","options":{"ignore_eos":true}}'
HEAD = b"POST /api/generate HTTP/1.1\r\nhost: localhost\r\n"
GET = b"GET /api/version HTTP/1.1\r\nhost: localhost\r\n"


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server without patience."""
    folder = tmp_path_factory.mktemp("serving")
    Store(folder / "models").add_file("m", write_gguf(folder / "m.gguf"))
    limits = {
        "--models": str(folder / "models"),
        "--preload": "m",
        "--parallel": "2",
        "--header-timeout": "1",
        "--body-timeout": "1",
        "--write-timeout": "1",
        "--idle-timeout": "2",
        "--max-connections": str(NUM_CONNECTIONS),
        "--max-body-bytes": str(1 << 20),
        "--body-memory": str(3 << 20),
    }
    args = [part for pair in limits.items() for part in pair]
    with Serving(folder, ports.free_port(), args=args) as server:
        yield server


@pytest.fixture(autouse=True)
def nothing_is_held(serving: Serving) -> Iterator[None]:
    """After each test: no slot, no body, no connection but the one that asks."""
    yield
    with serving.client() as client:
        until(lambda: held(metrics(client)) == (0, 0, 1))
        answer = client.post("/api/generate", content=BODY)
        assert (answer.status_code, answer.json()["response"]) == (200, "ok")


def until(is_so: Callable[[], object]) -> None:
    """Ask again and again; fails after a while."""
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline


def held(told: dict[str, float]) -> tuple[float, ...]:
    names = ("requests_running", "body_bytes", "open_connections")
    return tuple(told[f"akash_llm_{name}"] for name in names)


def metrics(client: httpx2.Client) -> dict[str, float]:
    """Every sample by its name and labels."""
    lines = client.get("/metrics").text.splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name.replace('{model="m:latest"}', ""): float(value) for name, value in pairs}


def refused(serving: Serving, reason: str) -> float:
    with serving.client() as client:
        return metrics(client).get(f'akash_llm_refused_total{{reason="{reason}"}}', 0)


def connect(serving: Serving, *, receive_bytes: int = 0) -> socket.socket:
    connection = socket.socket()
    if receive_bytes:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    connection.settimeout(30)
    connection.connect(("127.0.0.1", httpx2.URL(serving.url).port))
    return connection


def rest(connection: socket.socket) -> bytes:
    """All that comes until the server closes."""
    parts = []
    try:
        while part := connection.recv(1 << 16):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def said(serving: Serving, *parts: bytes) -> bytes:
    """What the server answers to these bytes until it closes."""
    with closing(connect(serving)) as connection:
        for part in parts:
            connection.sendall(part)
        return rest(connection)


def statuses(answer: bytes) -> list[int]:
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]


def error(answer: bytes) -> str:
    text: str = json.loads(answer.rpartition(b"\r\n\r\n")[2])["error"]
    return text


def sized(body: bytes) -> bytes:
    return b"content-length: %d\r\n\r\n" % len(body) + body


def test_a_head_byte_by_byte(serving: Serving) -> None:
    with closing(connect(serving)) as connection:
        connection.settimeout(0.05)
        answer = b""
        for byte in GET + b"x-more: " + b"x" * 1000:
            connection.sendall(bytes([byte]))
            try:
                answer = connection.recv(1 << 16)
                break
            except TimeoutError:
                continue
    assert statuses(answer) == [408]
    assert error(answer) == "the head of the request did not arrive within 1 s"


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"GET / HT"])
def test_a_head_that_never_comes(serving: Serving, sent: bytes) -> None:
    answer = said(serving, sent)
    assert statuses(answer) == ([408] if b"GET" in sent else [])


def test_a_head_that_never_comes_after_a_reply(serving: Serving) -> None:
    assert statuses(said(serving, GET + b"\r\n" + GET)) == [200, 408]
    assert statuses(said(serving, GET + b"\r\n")) == [200]


def test_a_body_that_never_comes(serving: Serving) -> None:
    answer = said(serving, HEAD + b"content-length: 100\r\n\r\n{")
    assert statuses(answer) == [400]
    assert error(answer) == "the body did not arrive within 1 s"


def test_a_body_byte_by_byte(serving: Serving) -> None:
    with closing(connect(serving)) as connection:
        connection.sendall(HEAD + b"transfer-encoding: chunked\r\n\r\n")
        connection.settimeout(0.05)
        while True:
            connection.sendall(b"1\r\n \r\n")
            try:
                answer = connection.recv(1 << 16)
                break
            except TimeoutError:
                continue
    assert statuses(answer) == [400]


def test_a_reader_that_does_not_read_is_cut_off(serving: Serving) -> None:
    before = refused(serving, "write_deadline")
    server = psutil.Process(serving.process.pid)
    size = server.memory_info().rss
    with closing(connect(serving, receive_bytes=4096)) as connection:
        connection.sendall(HEAD + sized(ENDLESS))
        until(lambda: refused(serving, "write_deadline") > before)
        assert server.memory_info().rss - size < 32 << 20
        assert b'"done":true' not in rest(connection)


def test_a_client_that_closes_its_half_has_left(serving: Serving) -> None:
    with closing(connect(serving)) as connection:
        connection.sendall(HEAD + sized(ENDLESS))
        assert connection.recv(10)
        connection.shutdown(socket.SHUT_WR)
        rest(connection)


def test_idle_connections_are_closed_and_more_are_told(serving: Serving) -> None:
    with ExitStack() as stack:
        idle = [stack.enter_context(closing(connect(serving))) for _ in range(NUM_CONNECTIONS)]
        with serving.client() as client:
            assert client.get("/health/live").status_code == 200
            busy = client.get("/api/version")
            assert busy.status_code == 503 and int(busy.headers["retry-after"]) > 0
            assert busy.json() == {"error": "server busy: too many connections"}
            assert busy.headers["connection"] == "close"
        spare = [stack.enter_context(closing(connect(serving))) for _ in range(NUM_SPARE)]
        beyond = rest(stack.enter_context(closing(connect(serving))))
        assert statuses(beyond) == [503] and b"retry-after: 1" in beyond
        assert [rest(connection) for connection in (*idle, *spare)] == [b""] * (
            NUM_CONNECTIONS + NUM_SPARE
        )


def test_pipelined_requests_are_answered_in_order(serving: Serving) -> None:
    requests = [HEAD + sized(BODY), GET + b"\r\n", GET + b"connection: close\r\n\r\n"]
    answer = said(serving, b"".join(requests))
    assert statuses(answer) == [200, 200, 200]
    assert answer.index(b'"response":"ok"') < answer.index(b'"version"')


def test_a_pipeline_that_is_too_long(serving: Serving) -> None:
    answer = said(serving, (GET + b"\r\n") * (MAX_PIPELINED + 10))
    assert statuses(answer) == [200] * (MAX_PIPELINED + 1)
    assert b"connection: close" in answer


def test_nonsense_behind_a_request_does_not_break_into_its_reply(serving: Serving) -> None:
    answer = said(serving, HEAD + sized(BODY) + b"\x00\x01nonsense\r\n\r\n")
    assert statuses(answer) == [200]
    assert answer.endswith(b"}") and b'"response":"ok"' in answer


def test_a_client_that_pipelines_and_leaves_is_noticed(serving: Serving) -> None:
    body = ENDLESS.replace(b"}}", b'},"stream":false}')
    with closing(connect(serving)) as connection:
        connection.sendall(HEAD + sized(body) + GET + b"\r\n")
        with serving.client() as client:
            until(lambda: metrics(client)["akash_llm_requests_running"])


@pytest.mark.parametrize(
    "head",
    [
        b"x-large: " + b"x" * (MAX_HEAD_BYTES + 1) + b"\r\n\r\n",
        b"x-large: " + b"x" * 10 * MAX_HEAD_BYTES,
        b"".join(b"x-%d: x\r\n" % n for n in range(20_000)) + b"\r\n",
    ],
    ids=["one", "endless", "many"],
)
def test_an_enormous_head(serving: Serving, head: bytes) -> None:
    answer = said(serving, GET + head)
    assert statuses(answer) == [431]
    assert error(answer) == f"the head of the request is larger than {MAX_HEAD_BYTES} bytes"


@pytest.mark.parametrize(
    "request_bytes",
    [
        HEAD + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
        HEAD + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        HEAD + b"content-length: 99999999999999999999999\r\n\r\n",
        HEAD + b"content-length: -1\r\n\r\n",
        HEAD + b"content-length: +5\r\n\r\nhello",
        HEAD + b"content-length: 0x5\r\n\r\nhello",
        HEAD + b"content-length : 5\r\n\r\nhello",
        HEAD + b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\nfffffffffffffffffff\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\nxyz\r\n",
        b"POST /api/generate HTTP/1.1\nhost: localhost\n\x00\n",
        b"GET /api/ver sion HTTP/1.1\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=lambda value: repr(value[-40:]),
)
def test_what_is_no_request_or_two_at_once(serving: Serving, request_bytes: bytes) -> None:
    answer = said(serving, request_bytes)
    assert statuses(answer) == [400]
    assert b"connection: close" in answer and error(answer)


def test_a_body_announced_as_too_large_is_refused_before_it_comes(serving: Serving) -> None:
    answer = said(serving, HEAD + b"content-length: %d\r\n\r\n" % 10**15)
    assert statuses(answer) == [413]


@pytest.mark.parametrize("size", [100, 2 << 20], ids=["small", "too large"])
def test_expect_100_continue(serving: Serving, size: int) -> None:
    body = BODY + b" " * (size - len(BODY))
    with closing(connect(serving)) as connection:
        head = b"expect: 100-continue\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % size
        connection.sendall(HEAD + head)
        first = connection.recv(1 << 16)
        if size == 100:
            assert first == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.sendall(body)
            assert statuses(rest(connection)) == [200]
        else:
            assert statuses(first + rest(connection)) == [413]


def test_a_body_that_was_not_asked_for_is_not_the_next_request(serving: Serving) -> None:
    """Refused before its body: what comes next may be the body, so the connection ends."""
    head = b"expect: 100-continue\r\ncontent-length: %d\r\n\r\n" % (2 << 20)
    assert statuses(said(serving, HEAD + head, GET + b"\r\n")) == [413]


def test_chunks(serving: Serving) -> None:
    chunks = b"".join(b"%x\r\n%s\r\n" % (1, BODY[i : i + 1]) for i in range(len(BODY)))
    head = HEAD + b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    answer = said(serving, head, chunks + b"0\r\n\r\n")
    assert statuses(answer) == [200] and b'"response":"ok"' in answer


def test_endless_chunks_are_refused_and_not_kept(serving: Serving) -> None:
    chunk = b"10000\r\n" + b" " * (1 << 16) + b"\r\n"
    with closing(connect(serving)) as connection:
        connection.sendall(HEAD + b"transfer-encoding: chunked\r\n\r\n")
        try:
            for _ in range(1000):
                connection.sendall(chunk)
        except OSError:
            pass
        else:
            pytest.fail("64 MB were taken")


def test_http_1_0(serving: Serving) -> None:
    answer = said(serving, b"GET /api/version HTTP/1.0\r\n\r\n")
    assert statuses(answer) == [200] and b'"version"' in answer


def test_a_stream_to_http_1_0_ends_with_its_connection(serving: Serving) -> None:
    """It knows no chunks. Its end is that of the connection, also if it asked to keep it."""
    body = BODY.replace(b'"stream":false', b'"stream":true')
    head = HEAD.replace(b"1.1", b"1.0") + b"connection: keep-alive\r\n"
    answer = said(serving, head + b"content-length: %d\r\n\r\n" % len(body) + body)
    headers, _, frames = answer.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in headers and b"connection: close" in headers
    parts = [json.loads(line) for line in frames.splitlines()]
    assert "".join(part["response"] for part in parts) == "ok" and parts[-1]["done"]


def test_an_upgrade_is_not_taken(serving: Serving) -> None:
    answer = said(serving, GET + b"connection: upgrade\r\nupgrade: websocket\r\n\r\n")
    assert statuses(answer)[:1] == [200]


def test_bodies_together_have_a_limit(serving: Serving) -> None:
    """Four clients of a megabyte each, where three fit; each stops one byte before its end."""
    body: Any = BODY + b" " * ((1 << 20) - len(BODY))
    with ExitStack() as stack:
        waiting = [stack.enter_context(closing(connect(serving))) for _ in range(4)]
        for connection in waiting:
            connection.sendall(HEAD + b"content-length: %d\r\n\r\n" % len(body))
            connection.sendall(body[:-1])
        with serving.client() as client:
            until(lambda: metrics(client)['akash_llm_refused_total{reason="body_memory"}'])
        for connection in waiting:
            connection.sendall(body[-1:])
        answers = [rest(connection) for connection in waiting]
    assert sorted(status for answer in answers for status in statuses(answer)) == [200] * 3 + [503]
    (busy,) = (answer for answer in answers if statuses(answer) == [503])
    assert b"retry-after: 2" in busy
