"""Probes of what is around replies: other routes, models, counts and metrics."""

import base64
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from tests.engines.kinds import MODEL
from tests.engines.subject import No, Probe, Subject, checked, require
from tests.support.tiny_vision import picture

_PATIENCE_S = 30
# A gateway looks at its upstream every other second.
_SEEN_S = 6
_COUNTED = "akash_llm_output_tokens_total"


def _embeddings(subject: Subject) -> None:
    found = subject.post("/api/embed", input=["a cat", "a dog"]).json()["embeddings"]
    require(len(found) == 2 and found[0] != found[1], "not one vector for each text")


def _images(subject: Subject) -> None:
    model = subject.model("sees")
    texts = [
        subject.generate(
            "look", model=model, images=[base64.b64encode(picture(seed)).decode()],
            options={"ignore_eos": True, "num_ctx": 256},
        )["response"]
        for seed in (1, 2)
    ]  # fmt: skip
    require(texts[0] != texts[1], "one text for two images")


def _tokens(subject: Subject) -> None:
    text = "Grüße, <|im_end|> world"
    tokens = subject.post("/tokenize", content=text).json()["tokens"]
    again = subject.post("/detokenize", tokens=tokens).json()["content"]
    require(again == text, f"the text comes back as {again!r}")


def _facts(subject: Subject) -> None:
    shown = subject.post("/api/show").json()
    require(shown["details"]["quantization_level"], "it does not know of its file")


def _keep_alive(subject: Subject) -> None:
    subject.post("/api/generate", keep_alive="10m")
    _until(lambda: _stays_s(subject) < 601, "the model stays, whatever is asked for", _SEEN_S)


def _unload(subject: Subject) -> None:
    _keep_alive(subject)
    reply = subject.post("/api/generate", keep_alive=0).json()
    require(reply["done_reason"] == "unload", f"says {reply['done_reason']}")
    _until(lambda: not _running(subject), "it stays loaded")


def _stays_s(subject: Subject) -> float:
    """How long the model is to stay loaded from now on."""
    (running,) = _running(subject)
    ends = datetime.fromisoformat(running["expires_at"])
    return (ends - datetime.now().astimezone()).total_seconds()


def _running(subject: Subject) -> list[dict[str, Any]]:
    listed = checked(subject.client.get("/api/ps")).json()["models"]
    return [each for each in listed if each["name"] == MODEL]


def _until(holds: Callable[[], bool], otherwise: str, patience_s: float = _PATIENCE_S) -> None:
    """Raises `No` with that text if it does not come to hold."""
    deadline = time.monotonic() + patience_s
    while not holds():
        if time.monotonic() > deadline:
            raise No(otherwise)
        time.sleep(0.02)


def _create(subject: Subject) -> None:
    checked(
        subject.client.post(
            "/api/create", json={"model": "made", "from": MODEL, "system": "Hi", "stream": False}
        )
    )
    reply = subject.client.request("DELETE", "/api/delete", json={"model": "made"})
    checked(reply)


def _copy(subject: Subject) -> None:
    pair = {"source": MODEL, "destination": "copied"}
    checked(subject.client.post("/api/copy", json=pair))
    checked(subject.client.request("DELETE", "/api/delete", json={"model": "copied"}))


def _cached(subject: Subject) -> None:
    prompt = "A word and another. " * 30
    replies = [subject.post("/v1/completions", prompt=prompt, max_tokens=1) for _ in range(2)]
    usage = replies[1].json()["usage"]
    require((usage["prompt_tokens_details"] or {}).get("cached_tokens"), "none are counted")


def _durations(subject: Subject) -> None:
    reply = subject.chat("Tell a story.")
    parts = reply["prompt_eval_duration"], reply["eval_duration"]
    require(all(parts) and sum(parts) <= reply["total_duration"], "they do not add up")


def _cancel(subject: Subject) -> None:
    body = {"model": MODEL, "prompt": "Once", "options": {"ignore_eos": True, "num_predict": 1900}}
    with subject.client.stream("POST", "/api/generate", json=body) as response:
        lines = response.iter_lines()
        next(lines)
        _until(lambda: _num_running(subject) == 1, "it is not counted")
    _until(lambda: _num_running(subject) == 0, "it goes on")


def _num_running(subject: Subject) -> int:
    """Requests in the engine, as it says itself if it does."""
    metrics = checked(subject.client.get("/metrics")).text.splitlines()
    own = [line for line in metrics if line.startswith("vllm:num_requests_running")]
    if own:
        return int(sum(float(line.rsplit(maxsplit=1)[-1]) for line in own))
    return int(sum(each["num_running"] for each in _running(subject)))


def _metrics(subject: Subject) -> None:
    subject.generate("Once")
    metrics = checked(subject.client.get("/metrics")).text.splitlines()
    counted = [line for line in metrics if line.startswith(_COUNTED) and not line.endswith(" 0.0")]
    require(counted, "the tokens of the model are not counted")


PROBES = (
    Probe("embeddings of a model that generates", _embeddings),
    Probe("images", _images),
    Probe("`/tokenize` and `/detokenize`", _tokens),
    Probe("facts of the model's file in `/api/show`", _facts),
    Probe("`keep_alive`", _keep_alive),
    Probe("unloading (`keep_alive: 0`)", _unload),
    Probe("models made from others (`/api/create`)", _create),
    Probe("models copied and removed", _copy),
    Probe("tokens read from the cache are counted", _cached),
    Probe("durations of prompt and reply", _durations),
    Probe("a client that leaves ends the work", _cancel),
    Probe("tokens counted in `/metrics`", _metrics),
)
