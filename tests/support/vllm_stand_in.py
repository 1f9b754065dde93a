"""A small server that speaks vLLM's wire over a vocabulary of bytes, and can misbehave.

It says again what stands between the last `⟦` and `⟧` of a prompt, byte by byte, `step_s` apart,
and without that the letters of the alphabet for ever. As a program
(`python -m tests.support.vllm_stand_in PORT STEP_S MODEL`) it is the upstream of which a
gateway's overhead is measured.
"""

import asyncio
import itertools
import json
import string
import sys
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from typing import Any

from tests.support.upstream_stand_in import Asked, Reply, StandIn, as_json

CONTROL = {256: "<s>", 257: "</s>", 258: "<|im_start|>", 259: "<|im_end|>", 260: "<tool_call>"}
IDS = {text: token for token, text in CONTROL.items()}
CONTEXT = 512
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class VLLMStandIn(StandIn):
    """Each token comes `step_s` after the one before."""

    def __init__(
        self,
        port: int = 0,
        *,
        socket: str = "",
        step_s: float = 0.0,
        model: str = "m",
        context: int = CONTEXT,
    ) -> None:
        super().__init__(port, socket=socket)
        self.model = model
        self.root = "org/model"
        self.template: str | None = TEMPLATE
        self.step_s = step_s
        # From vLLM 0.10.2 on.
        self.tells_tokens = True
        # What a chat says that is not to be written by whoever asks.
        self.chat_says = ""
        self._context = context

    def reply(self, asked: Asked) -> Reply:
        match asked.path:
            case "/health":
                return Reply()
            case "/v1/models":
                card = {"id": self.model, "root": self.root, "max_model_len": self._context}
                return as_json({"data": [card]})
            case "/tokenizer_info" if self.template is not None:
                return as_json(
                    {
                        "chat_template": self.template,
                        "bos_token": "<s>",
                        "eos_token": "</s>",
                        "added_tokens_decoder": {str(k): text for k, text in CONTROL.items()},
                    }
                )
            case "/openapi.json":
                return as_json({"paths": {"/v1/completions": {}}})
            case "/tokenize":
                own = [IDS["<s>"]] if asked.body["add_special_tokens"] else []
                tokens = [*own, *tokens_of(asked.body["prompt"])]
                return as_json(
                    {"tokens": tokens, "count": len(tokens), "max_model_len": self._context}
                )
            case "/detokenize":
                return as_json({"prompt": text_of(asked.body["tokens"])})
            case "/v1/completions":
                return Reply(lines=self._completion(asked.body))
            case "/v1/chat/completions":
                return Reply(lines=self._chat(asked.body))
            case "/v1/embeddings":
                vector = b64encode(b"\x00\x00\x80?" + bytes(12)).decode()
                data = [
                    {"index": at, "embedding": vector} for at in range(len(asked.body["input"]))
                ]
                return as_json({"data": data, "usage": {"prompt_tokens": 7}})
            case "/metrics":
                return Reply(
                    body=b"# HELP vllm:x y\n# TYPE vllm:x gauge\nvllm:x 1.0\npython_info 1.0\n"
                )
        return as_json({"detail": "Not Found"}, status=404)

    async def _chat(self, body: Any) -> AsyncIterator[bytes]:
        parts = body["messages"][-1]["content"]
        text = next(part["text"] for part in parts if part["type"] == "text")
        for token in tokens_of(self.chat_says) if self.chat_says else said_to(text):
            choice = {"delta": {"content": text_of([token])}, "token_ids": [token]}
            yield _event({"choices": [choice]})
        yield _event({"choices": [{"delta": {}, "finish_reason": "stop"}]})
        yield _event({"choices": [], "usage": {"prompt_tokens": 99, "completion_tokens": 2}})

    async def _completion(self, body: Any) -> AsyncIterator[bytes]:
        prompt, told = prompt_of(body), self.tells_tokens and body.get("return_token_ids")
        most = min(body["max_tokens"], self._context - len(prompt))
        said, reason = said_to(text_of(prompt)), "length"
        count = 0
        clock_s = asyncio.get_running_loop().time
        begun_s = clock_s()
        for token in itertools.islice(said, most):
            count += 1
            # By the clock: a step is not longer because sending takes time, too.
            await asyncio.sleep(begun_s + count * self.step_s - clock_s())
            own = {"prompt_token_ids": prompt} if told and count == 1 else {}
            own |= {"token_ids": [token]} if told else {}
            yield self._chunk(text=text_of([token]), **own)
        if count < most:
            reason = "stop"
        own = {"prompt_token_ids": prompt} if told and not count else {}
        yield self._chunk(finish_reason=reason, **own)
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

    def _chunk(self, **said: Any) -> bytes:
        """A chunk of a completion, as long as vLLM's are."""
        choice = {
            "index": 0,
            "text": "",
            "logprobs": None,
            "finish_reason": None,
            "stop_reason": None,
            "token_ids": None,
            "prompt_logprobs": None,
            "prompt_token_ids": None,
        }
        head = {
            "id": "cmpl-8f1e0fca5c2b4b2f9f0c8d3a7e6b5a49",
            "object": "text_completion",
            "created": 1_760_000_000,
            "model": self.model,
        }
        return _event({**head, "choices": [choice | said], "usage": None})


def tokens_of(text: str) -> list[int]:
    """Bytes, and the control tokens wherever they are written."""
    found: list[int] = []
    while text:
        at, own = min(((text.find(own), own) for own in IDS if own in text), default=(-1, ""))
        plain, text = (text, "") if at < 0 else (text[:at], text[at + len(own) :])
        found += plain.encode()
        found += [IDS[own]] if own else []
    return found


def prompt_of(body: Any) -> list[int]:
    """The tokens of the prompt of a completion, which may be text."""
    asked = body["prompt"]
    if not isinstance(asked, str):
        return list(asked)
    return [*([IDS["<s>"]] if body.get("add_special_tokens", True) else []), *tokens_of(asked)]


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


def _event(value: Any) -> bytes:
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"


if __name__ == "__main__":
    _port, _step_s, _model = sys.argv[1:]
    VLLMStandIn(int(_port), step_s=float(_step_s), model=_model, context=1 << 14).run()
