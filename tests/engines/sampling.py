"""Probes of how tokens are chosen."""

from collections.abc import Callable
from typing import Any

from tests.engines.subject import Ignored, Probe, Subject, require

_REPEATED = "She said yes, and he said"
_COUNTING = "1 2 3 4 5 6 7 8 9 10"
_WILD = {"temperature": 2.0, "top_k": 0, "top_p": 1.0, "num_predict": 12}
# The options that an engine may have nothing for, with values that would make a difference.
_RARE = {
    "typical_p": 0.5,
    "repeat_last_n": 8,
    "mirostat": 2,
    "top_n_sigma": 1.0,
    "xtc_probability": 0.5,
    "dynatemp_range": 0.5,
    "dry_multiplier": 0.8,
}


def _seed(subject: Subject) -> None:
    texts = [
        subject.generate("Once upon a time", options={**_WILD, "seed": seed})["response"]
        for seed in (7, 7, 8)
    ]
    require(texts[0] == texts[1], "another text each time")
    require(texts[0] != texts[2], "the same text for another seed")


def _narrows(name: str, value: float) -> Callable[[Subject], None]:
    """Whatever the temperature, only the best token is left."""

    def ask(subject: Subject) -> None:
        best = subject.generate(_COUNTING, raw=True, options={"num_predict": 12})
        said = subject.generate(_COUNTING, raw=True, options={**_WILD, name: value})
        require(said["response"] == best["response"], "another token than the best")

    return ask


def _changes(name: str, value: float) -> Callable[[Subject], None]:
    """A text that repeats itself becomes another."""

    def ask(subject: Subject) -> None:
        counting = {"num_predict": 24, "ignore_eos": True}
        plain = subject.generate(_REPEATED, raw=True, options=counting)["response"]
        options = {**counting, name: value}
        said = subject.generate(_REPEATED, raw=True, options=options)["response"]
        require(said != plain, "it makes no difference")

    return ask


def _beyond(subject: Subject) -> None:
    subject.generate("Once", options={"temperature": 3.0})


def _bias(subject: Subject) -> None:
    prompt = "1 2 3 4 5 6 7"
    (token,) = subject.post("/tokenize", content=" 8").json()["tokens"][:1]
    body: dict[str, Any] = {"prompt": prompt, "max_tokens": 3, "temperature": 0}
    reply = subject.post("/v1/completions", **body, logit_bias={str(token): -100}).json()
    require(not reply["choices"][0]["text"].startswith(" 8"), "it makes no difference")


def _logprobs(subject: Subject) -> None:
    reply = subject.generate("1 2 3", raw=True, logprobs=True, top_logprobs=3)
    found = reply.get("logprobs") or []
    is_whole = len(found) == reply["eval_count"] and len(found[0]["top_logprobs"]) == 3
    require(is_whole and found[0]["logprob"] <= 0, "they are not there")


def _counts(name: str) -> Callable[[Subject], None]:
    def ask(subject: Subject) -> None:
        options = {"num_predict": 2, name: _RARE[name]}
        reply = subject.post("/api/generate", prompt="Once", options=options)
        if name in reply.headers.get("x-ignored-options", ""):
            raise Ignored

    return ask


PROBES = (
    Probe("the same seed gives the same text again", _seed),
    Probe("`top_k`", _narrows("top_k", 1)),
    Probe("`top_p`", _narrows("top_p", 1e-4)),
    Probe("`min_p`", _narrows("min_p", 1.0)),
    Probe("`repeat_penalty`", _changes("repeat_penalty", 2.0)),
    Probe("`presence_penalty`", _changes("presence_penalty", 2.0)),
    Probe("`frequency_penalty`", _changes("frequency_penalty", 2.0)),
    Probe("temperatures and penalties beyond 2", _beyond),
    *(Probe(f"`{name}`", _counts(name)) for name in _RARE),
    Probe("`logit_bias`", _bias),
    Probe("logprobs", _logprobs),
)
