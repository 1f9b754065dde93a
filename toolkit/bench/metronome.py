"""A server that sends chunks on time and says in each when: to measure who measures.

It speaks as much of Ollama's API as a benchmark needs, computes nothing, and stamps each
chunk with the steady clock, which the processes of one machine share.

    python -m toolkit.bench.metronome INTERVAL_S

prints its port and serves on loopback until its standard input ends.
"""

import asyncio
import sys
import time

import msgspec

_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n"
)
BACKLOG = 4096


async def serve(interval_s: float) -> None:
    """Until standard input ends."""
    number = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal number
        number += 1
        # The golden ratio spreads any number of streams evenly over the interval.
        shift = number * 0.6180339887 % 1 * interval_s
        try:
            while tokens := await _tokens_asked(reader):
                await _beat(writer, tokens, interval_s, shift)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=BACKLOG)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    async with server:
        await asyncio.to_thread(sys.stdin.read)


async def _tokens_asked(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    length = head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]
    body = msgspec.json.decode(await reader.readexactly(int(length)))
    return int(body["options"]["num_predict"])


async def _beat(writer: asyncio.StreamWriter, tokens: int, every_s: float, shift: float) -> None:
    writer.write(_HEAD)
    began = time.perf_counter() + shift
    for number in range(tokens):
        await asyncio.sleep(max(0.0, began + number * every_s - time.perf_counter()))
        stamp = f"{time.perf_counter():.7f} "
        _send(writer, {"message": {"role": "assistant", "content": stamp}, "done": False})
    last = {"done": True, "done_reason": "length", "eval_count": tokens, "prompt_eval_count": 1}
    _send(writer, last)
    writer.write(b"0\r\n\r\n")
    await writer.drain()


def _send(writer: asyncio.StreamWriter, line: object) -> None:
    data = msgspec.json.encode(line) + b"\n"
    writer.write(b"%x\r\n%s\r\n" % (len(data), data))


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1])))
