"""A small server that speaks vLLM's wire over a vocabulary of bytes, and can misbehave.

It says again what stands between the last `⟦` and `⟧` of a prompt, byte by byte, `step_s` apart,
and without that the letters of the alphabet for ever. As a program
(`python -m tests.support.vllm_stand_in PORT STEP_S`) it is the upstream of which a gateway's
overhead is measured.
"""

import asyncio
import itertools
import json
import string
import sys
import threading
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from tests.support.started import Started

CONTROL = {256: "<s>", 257: "</s>", 258: "<|im_start|>", 259: "<|im_end|>", 260: "<tool_call>"}
IDS = {text: token for token, text in CONTROL.items()}
CONTEXT = 512
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class Asked(NamedTuple):
    """A request that came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


class Reply(NamedTuple):
    """What it gets: a whole body, or lines one after the other. `cut`: the connection ends in
    the middle of it."""

    status: int = 200
    body: bytes = b""
    lines: AsyncIterator[bytes] | None = None
    cut: bool = False


Script = Callable[[Asked], "Reply | None"]


class VLLMStandIn(Started):
    """Use as a context manager; `url` answers once it is entered. `script` sees every request
    first and answers those that it wants to; `asked` has all of them, `num_open` counts the
    replies that are being sent."""

    def __init__(self, port: int = 0, *, step_s: float = 0.0, model: str = "m") -> None:
        self.script: Script = lambda asked: None
        self.asked: list[Asked] = []
        self.num_open = 0
        self.model = model
        self.template: str | None = TEMPLATE
        self._port = port
        self._step_s = step_s
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        self._ready.clear()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()

    def wait_until_ready(self) -> None:
        assert self._ready.wait(20)

    def end(self) -> None:
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(20)
            self._thread = None

    def bodies(self, path: str) -> list[Any]:
        """The bodies of all requests for a path."""
        return [asked.body for asked in self.asked if asked.path == path]

    def run(self) -> None:
        """Serve until the process ends."""
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        server = await asyncio.start_server(self._connected, "127.0.0.1", self._port)
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stopping.wait()
        server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._talk(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                asked = await _read(reader)
                self.asked.append(asked)
                reply = self.script(asked) or self._reply(asked)
                self.num_open += 1
                sending = asyncio.ensure_future(self._send(writer, reply))
                try:
                    await _while_there(reader, sending)
                finally:
                    sending.cancel()
                    await asyncio.gather(sending, return_exceptions=True)
                    self.num_open -= 1
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _send(self, writer: asyncio.StreamWriter, reply: Reply) -> None:
        if reply.lines is None:
            head = f"HTTP/1.1 {reply.status} x\r\ncontent-length: {len(reply.body)}\r\n\r\n"
            writer.write(head.encode() + (reply.body[:-1] if reply.cut else reply.body))
            await writer.drain()
        else:
            writer.write(b"HTTP/1.1 200 x\r\ntransfer-encoding: chunked\r\n\r\n")
            async for line in reply.lines:
                writer.write(b"%x\r\n%s\r\n" % (len(line), line))
                await writer.drain()
            writer.write(b"" if reply.cut else b"0\r\n\r\n")
            await writer.drain()
        if reply.cut:
            raise ConnectionError

    def _reply(self, asked: Asked) -> Reply:
        match asked.path:
            case "/health":
                return Reply()
            case "/v1/models":
                card = {"id": self.model, "root": "org/model", "max_model_len": CONTEXT}
                return _json({"data": [card]})
            case "/tokenizer_info" if self.template is not None:
                return _json(
                    {
                        "chat_template": self.template,
                        "bos_token": "<s>",
                        "eos_token": "</s>",
                        "added_tokens_decoder": {str(k): text for k, text in CONTROL.items()},
                    }
                )
            case "/openapi.json":
                return _json({"paths": {"/v1/completions": {}}})
            case "/tokenize":
                own = [IDS["<s>"]] if asked.body["add_special_tokens"] else []
                tokens = [*own, *tokens_of(asked.body["prompt"])]
                return _json({"tokens": tokens, "count": len(tokens), "max_model_len": CONTEXT})
            case "/detokenize":
                return _json({"prompt": text_of(asked.body["tokens"])})
            case "/v1/completions":
                return Reply(lines=self._completion(asked.body))
            case "/v1/embeddings":
                vector = b64encode(b"\x00\x00\x80?" + bytes(12)).decode()
                data = [
                    {"index": at, "embedding": vector} for at in range(len(asked.body["input"]))
                ]
                return _json({"data": data, "usage": {"prompt_tokens": 7}})
            case "/metrics":
                return Reply(
                    body=b"# HELP vllm:x y\n# TYPE vllm:x gauge\nvllm:x 1.0\npython_info 1.0\n"
                )
        return _json({"detail": "Not Found"}, status=404)

    async def _completion(self, body: Any) -> AsyncIterator[bytes]:
        prompt = body["prompt"]
        said, reason = said_to(text_of(prompt)), "length"
        count = 0
        for token in itertools.islice(said, body["max_tokens"]):
            await asyncio.sleep(self._step_s)
            count += 1
            yield _event(
                {"choices": [{"index": 0, "text": text_of([token]), "token_ids": [token]}]}
            )
        if count < body["max_tokens"]:
            reason = "stop"
        yield _event({"choices": [{"index": 0, "text": "", "finish_reason": reason}]})
        usage = {
            "prompt_tokens": len(prompt),
            "completion_tokens": count,
            "prompt_tokens_details": {"cached_tokens": 3},
        }
        timing = {
            "queue_time_ms": 1.5,
            "time_to_first_token_ms": 4.0,
            "generation_time_ms": 9.0,
        }
        yield _event({"choices": [], "usage": usage, "metrics": timing})
        yield b"data: [DONE]\n\n"


def tokens_of(text: str) -> list[int]:
    """Bytes, and the control tokens wherever they are written."""
    found: list[int] = []
    while text:
        at, own = min(((text.find(own), own) for own in IDS if own in text), default=(-1, ""))
        plain, text = (text, "") if at < 0 else (text[:at], text[at + len(own) :])
        found += plain.encode()
        found += [IDS[own]] if own else []
    return found


def text_of(tokens: list[int]) -> str:
    """The text of tokens, control tokens written out; half a character is one that replaces."""
    parts = [CONTROL[t].encode() if t in CONTROL else bytes([t]) for t in tokens]
    return b"".join(parts).decode(errors="replace")


def said_to(prompt: str) -> Iterator[int]:
    """The tokens of the reply to a prompt."""
    _, mark, rest = prompt.rpartition("⟦")
    if mark:
        return iter(tokens_of(rest.partition("⟧")[0]))
    return itertools.cycle(string.ascii_lowercase.encode())


async def _while_there(reader: asyncio.StreamReader, sending: asyncio.Future[None]) -> None:
    """Wait for what is sent; who has gone away is noticed, as by vLLM."""
    while not sending.done():
        await asyncio.wait([sending], timeout=0.02)
        if reader.at_eof():
            raise ConnectionError
    sending.result()


async def _read(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").splitlines()
    method, path, _ = head[0].split(" ")
    pairs = (line.partition(":") for line in head[1:] if line)
    headers = {key.lower(): value.strip() for key, _, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Asked(method, path, headers, json.loads(body) if body else None)


def _json(value: Any, *, status: int = 200) -> Reply:
    return Reply(status, json.dumps(value).encode())


def _event(value: Any) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


if __name__ == "__main__":
    VLLMStandIn(int(sys.argv[1]), step_s=float(sys.argv[2])).run()
