"""The transport for upstreams, before servers that say on the wire what a test wants."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.upstream.answer import MOST_FRAMING_BYTES, Answer
from server.upstream.transport import PlainTransport, base_of, transport_to

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Server:
    """Talks as it is told on every connection; counts them, and knows what it was asked."""

    def __init__(self, talk: Talk) -> None:
        self.num_connections = 0
        self.heads: list[bytes] = []
        self.is_left = asyncio.Event()
        self._talk = talk

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.num_connections += 1
        try:
            await self._talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.is_left.set()
            writer.close()

    async def asked(self, reader: asyncio.StreamReader) -> bytes:
        """A request that says how long its body is, which is told."""
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        length = head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]
        return await reader.readexactly(int(length or 0))


@asynccontextmanager
async def _client(talk: Talk, **more: float) -> AsyncIterator[tuple[httpx2.AsyncClient, Server]]:
    server = Server(talk)
    async with await asyncio.start_server(server.connected, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        transport = PlainTransport(8, more.pop("idle_s", 5))
        timeout = httpx2.Timeout(20, **more)
        url = f"http://127.0.0.1:{port}"
        async with httpx2.AsyncClient(base_url=url, transport=transport, timeout=timeout) as client:
            yield client, server


def _always(*answers: bytes) -> Talk:
    """Gives these answers, one a request."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()

    return talk


def _chunked(*parts: bytes) -> bytes:
    framed = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + framed + b"0\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (OK, b"ok"),
        (_chunked(b"a", b"bc"), b"abc"),
        (b"HTTP/1.1 100 Continue\r\nx: y\r\n\r\n" + OK, b"ok"),
        (b"HTTP/1.1 200 OK\r\n\r\nto the end", b"to the end"),
        (b"HTTP/1.0 200 OK\r\n\r\n", b""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (OK + b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nmore", b"ok"),
    ],
)
async def test_an_answer_is_read_to_its_end(answer: bytes, body: bytes) -> None:
    async with _client(_always(answer)) as (client, _):
        reply = await client.get("/")
        assert (reply.is_success, reply.content, reply.headers.get("x")) == (True, body, None)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 O",
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nok\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"SSH-2.0-x\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + bytes(MOST_FRAMING_BYTES * 2),
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * (MOST_FRAMING_BYTES // 3),
        b"HTTP/1.1 100 Continue\r\n\r\n" * (MOST_FRAMING_BYTES // 10),
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;"
        + b"x" * (MOST_FRAMING_BYTES * 2),
    ],
)
async def test_what_is_no_answer_is_an_error(answer: bytes) -> None:
    async with _client(_always(answer)) as (client, _):
        with pytest.raises(httpx2.RemoteProtocolError):
            await client.get("/")


async def test_a_connection_serves_one_exchange_after_the_other() -> None:
    async with _client(_always(OK, _chunked(b"a"), OK)) as (client, server):
        assert [(await client.get("/")).content for _ in range(3)] == [b"ok", b"a", b"ok"]
        assert server.num_connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nmore",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\n\r\nok",
    ],
)
async def test_a_connection_that_may_not_go_on_is_not_used_again(answer: bytes) -> None:
    async with _client(_always(answer)) as (client, server):
        assert [(await client.get("/")).content for _ in range(2)] == [b"ok", b"ok"]
        assert server.num_connections == 2


async def test_an_idle_connection_is_not_used_for_ever() -> None:
    async with _client(_always(OK, OK), idle_s=0) as (client, server):
        await client.get("/")
        await client.get("/")
        assert server.num_connections == 2


async def test_what_comes_unasked_ends_an_idle_connection() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.asked(reader)
        writer.write(OK)
        await asked_again.wait()
        writer.write(OK)
        await reader.read()

    asked_again = asyncio.Event()
    async with _client(talk) as (client, server):
        await client.get("/")
        asked_again.set()
        await server.is_left.wait()
        assert (await client.get("/")).content == b"ok"
        assert server.num_connections == 2


async def test_a_connection_that_has_just_been_ended_is_not_used_again() -> None:
    ends = threading.Event()

    def serve(listening: socket.socket) -> None:
        for _ in range(2):
            connection, _ = listening.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(OK)
            ends.set()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = threading.Thread(target=serve, args=[listening])
        serving.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        transport = PlainTransport(8, 5)
        async with httpx2.AsyncClient(base_url=url, transport=transport) as client:
            for _ in range(2):
                assert (await client.get("/")).content == b"ok"
                ends.wait(20)  # and the loop, which stands still, sees nothing of it
        serving.join()


async def test_leaving_a_stream_ends_the_request_there() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.asked(reader)
        writer.write(_chunked(b"a")[:-5])
        await reader.read()

    async with _client(talk) as (client, server):
        async with client.stream("GET", "/") as reply:
            assert await anext(reply.aiter_bytes()) == b"a"
        await server.is_left.wait()


async def test_closing_breaks_off_what_is_read() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.asked(reader)
        writer.write(_chunked(b"a")[:-5])
        await reader.read()

    async with _client(talk) as (client, server), client.stream("GET", "/") as reply:
        parts = reply.aiter_bytes()
        assert await anext(parts) == b"a"
        await client.aclose()
        with pytest.raises(httpx2.RemoteProtocolError):
            await anext(parts)


async def test_a_request_that_is_given_up_ends_there() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.asked(reader)
        asked.set()
        await reader.read()

    asked = asyncio.Event()
    async with _client(talk) as (client, server):
        task = asyncio.create_task(client.get("/"))
        await asked.wait()
        task.cancel()
        await server.is_left.wait()
        assert task.cancelled()


@pytest.mark.parametrize("begun", [b"", OK[:-1]])
async def test_silence_has_an_end(begun: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.asked(reader)
        writer.write(begun)
        await reader.read()

    async with _client(talk, read=0.05) as (client, server):
        with pytest.raises(httpx2.ReadTimeout):
            await client.get("/")
        await server.is_left.wait()


async def test_a_body_of_unknown_length_is_sent_in_chunks() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.heads.append(await reader.readuntil(b"0\r\n\r\n"))
        writer.write(OK)

    async def parts() -> AsyncIterator[bytes]:
        for part in (b"a", b"", b"bc"):
            yield part

    async with _client(talk) as (client, server):
        assert (await client.post("/", content=parts())).content == b"ok"
    head, _, body = server.heads[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST / HTTP/1.1\r\n")
    assert body == b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"


async def test_an_answer_to_half_a_request_counts() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 x\r\ncontent-length: 2\r\n\r\nno")
        await reader.read()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1 << 16)

    async with _client(talk) as (client, server):
        reply = await client.post("/", content=endless())
        assert (reply.status_code, reply.content) == (413, b"no")
        await server.is_left.wait()


async def test_who_takes_nothing_is_given_up() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await given_up.wait()

    given_up = asyncio.Event()
    async with _client(talk, write=0.05) as (client, _):
        with pytest.raises(httpx2.WriteTimeout):
            await client.post("/", content=bytes(64 << 20))
        given_up.set()


async def test_a_body_larger_than_what_is_kept_comes_whole() -> None:
    size = 32 << 20

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.asked(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        for _ in range(size >> 20):
            writer.write(bytes(1 << 20))
            await asyncio.wait_for(writer.drain(), 20)

    async with _client(talk) as (client, server), client.stream("GET", "/") as reply:
        assert sum([len(part) async for part in reply.aiter_bytes()]) == size


async def test_a_connection_with_more_than_was_read_is_not_used_again() -> None:
    """What came at once, and was held back, would hide the next answer."""
    body = b"x" * 400_000
    large = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.asked(reader)
        writer.write(large if server.num_connections == 1 else OK)
        await writer.drain()
        await server.asked(reader)
        writer.write(OK)

    async with _client(talk, read=5) as (client, server):
        async with client.stream("GET", "/"):
            await asyncio.sleep(0.2)  # all of it is there, and nobody has read it
        assert (await client.get("/")).content == b"ok"
        assert server.num_connections == 2


async def test_nobody_there_is_an_error_of_its_own(free_port: Callable[[], int]) -> None:
    async with httpx2.AsyncClient(transport=PlainTransport(8, 1)) as client:
        with pytest.raises(httpx2.ConnectError):
            await client.get(f"http://127.0.0.1:{free_port()}/")


async def test_no_socket_is_one_that_cannot_be_reached(socket_path: Path) -> None:
    transport = transport_to(f"unix:{socket_path}")
    async with httpx2.AsyncClient(transport=transport) as client:
        for _ in range(2):
            with pytest.raises(httpx2.ConnectError):
                await client.get(base_of(f"unix:{socket_path}"))
            socket_path.touch()


async def test_over_a_socket_connections_are_kept_as_well(socket_path: Path) -> None:
    server = Server(_always(OK, OK))
    transport = transport_to(f"unix:{socket_path}")
    async with (
        await asyncio.start_unix_server(server.connected, socket_path),
        httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        assert [(await client.get("/")).content for _ in range(2)] == [b"ok"] * 2
        assert server.num_connections == 1


async def test_to_head_there_is_no_body() -> None:
    async with _client(_always(OK[:-2])) as (client, _):
        assert (await client.head("/")).headers["content-length"] == "2"


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.data())
def test_an_answer_is_the_same_wherever_it_was_cut(parts: list[bytes], data: st.DataObject) -> None:
    whole = _chunked(*parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    answer, body = Answer(has_body=True), b""
    for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        answer.feed(whole[start:end])
        body += answer.take()
    assert (body, answer.status) == (b"".join(parts), 200)
    assert answer.is_whole and answer.may_follow


@given(st.binary(max_size=200))
def test_no_bytes_are_more_than_an_error(junk: bytes) -> None:
    answer = Answer(has_body=True)
    try:
        answer.feed(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + junk)
        answer.end()
    except httpx2.RemoteProtocolError:
        assert not answer.is_whole or not answer.may_follow
