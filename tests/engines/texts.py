"""Probes of texts: what a reply goes on from, and how it ends."""

import json

from tests.engines.subject import Probe, Subject, require

_NUMBERS = "1 2 3 4 5 6 7"
_LONG = "A word and another. " * 40


def _chat(subject: Subject) -> None:
    require(subject.chat("Say hello.")["message"]["content"], "an empty reply")


def _streams(subject: Subject) -> None:
    whole = subject.chat("Say hello.")["message"]["content"]
    lines = subject.post(
        "/api/chat", stream=True, messages=[{"role": "user", "content": "Say hello."}],
        options={"temperature": 0, "num_predict": 16},
    ).text.splitlines()  # fmt: skip
    pieces = [json.loads(line)["message"]["content"] for line in lines]
    require(len(pieces) > 2 and "".join(pieces) == whole, "another text")


def _raw(subject: Subject) -> None:
    said = subject.generate(_NUMBERS, raw=True)["response"]
    require(said.startswith(" 8"), f"goes on with {said[:9]!r}")


def _suffix(subject: Subject) -> None:
    model = subject.model("fills")
    tokens = subject.generate("def f(", suffix="return x", model=model)["prompt_eval_count"]
    require(tokens == len("def f(return x") + 3, "the gap is not in the prompt")


def _context(subject: Subject) -> None:
    context = subject.generate("The capital of France is").get("context", [])
    again = subject.generate("And of Spain?", context=context)
    require(context and again["prompt_eval_count"] > len(context), "it is not gone on from")


def _begun(subject: Subject) -> None:
    reply = subject.chat("Count to nine.", {"role": "assistant", "content": "1, 2, 3,"})
    require(reply["message"]["content"].startswith(" 4"), "the reply begins anew")


def _choices(subject: Subject) -> None:
    reply = subject.post("/v1/completions", prompt="Once", n=2, max_tokens=8, seed=5).json()
    texts = {choice["text"] for choice in reply["choices"]}
    require(len(texts) == 2, "one text")


def _stop(subject: Subject) -> None:
    messages = [{"role": "user", "content": "Count."}, {"role": "assistant", "content": "1, 2,"}]
    reply = subject.post(
        "/v1/messages", messages=messages, max_tokens=40, stop_sequences=["6"], temperature=0
    ).json()
    require(reply["stop_sequence"] == "6", f"says {reply['stop_reason']}")


def _cut(subject: Subject) -> None:
    messages = [{"role": "user", "content": text} for text in (_LONG, _LONG, "Say hello.")]
    reply = subject.post(
        "/api/chat", messages=messages, options={"num_ctx": 256, "num_predict": 4}
    ).json()
    require(reply.get("truncated", 0) > 0, "nothing is said of it")


def _shift(subject: Subject) -> None:
    options = {"num_ctx": 64, "num_predict": 80, "ignore_eos": True}
    reply = subject.generate("Tell a story.", options=options)
    require(reply.get("shifted", 0) > 0, f"ends there with done_reason {reply['done_reason']}")


def _goes_on(subject: Subject) -> None:
    said = {"role": "assistant", "content": "Hello! How can I help you today?"}
    options = {"num_predict": 24, "ignore_eos": True}
    count = subject.chat("Say hello.", said, options=options)["eval_count"]
    require(count == 24, "the reply ends all the same")


PROBES = (
    Probe("chat", _chat),
    Probe("streams, of the same text", _streams),
    Probe("completion of a bare text (`raw`)", _raw),
    Probe("filling a gap (`suffix`)", _suffix),
    Probe("going on from `context`", _context),
    Probe("a reply that is begun already", _begun),
    Probe("several choices (`n`)", _choices),
    Probe("the stop string that ended a reply is told", _stop),
    Probe("a prompt that is too long is cut, and the reply says so", _cut),
    Probe("a reply goes on when its window is full (`shift`)", _shift),
    Probe("`ignore_eos`", _goes_on),
)
