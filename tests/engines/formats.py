"""Probes of replies in a form: formats, calls and thoughts."""

import json
import re
from typing import Any

from tests.engines.subject import Probe, Subject, require

_WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Paris", "Rome"]}},
            "required": ["city"],
        },
    },
}
_TIME = {"type": "function", "function": {"name": "get_time"}}
_QUESTION = {"role": "user", "content": "What is the weather in Paris?"}
_SCHEMA = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}},
    "required": ["ok"],
    "additionalProperties": False,
}


def _json(subject: Subject) -> None:
    said = subject.generate("What is the time?", format="json")["response"]
    require(re.match(r"\s*\{", said), f"says {said[:20]!r}")


def _schema(subject: Subject) -> None:
    said = subject.chat("Is it so?", format=_SCHEMA, options={"num_predict": 60})
    require(set(json.loads(said["message"]["content"])) == {"ok"}, "another form")


def _openai(subject: Subject, **more: Any) -> str:
    body: dict[str, Any] = {"messages": [_QUESTION], "max_tokens": 40, "temperature": 0}
    reply = subject.post("/v1/chat/completions", **{**body, **more}).json()
    return str(reply["choices"][0]["message"]["content"])


def _regex(subject: Subject) -> None:
    said = _openai(subject, guided_regex="[0-9]{3}-[a-z]")
    require(re.fullmatch("[0-9]{3}-[a-z]", said), f"says {said[:20]!r}")


def _choice(subject: Subject) -> None:
    said = _openai(subject, guided_choice=["left", "right"])
    require(said in ("left", "right"), f"says {said[:20]!r}")


def _lark(subject: Subject) -> None:
    said = _openai(subject, guided_grammar='start: "up" | "down"')
    require(said in ("up", "down"), f"says {said[:20]!r}")


def _gbnf(subject: Subject) -> None:
    said = _openai(subject, guided_grammar='root ::= "a" [0-9] "c"')
    require(re.fullmatch("a[0-9]c", said), f"says {said[:20]!r}")


def _begun(subject: Subject) -> None:
    begun = {"role": "assistant", "content": '{"ok":'}
    said = subject.chat("Is it so?", begun, format=_SCHEMA, options={"num_predict": 60})
    whole = begun["content"] + said["message"]["content"]
    require(set(json.loads(whole)) == {"ok"}, "another form")


def _calls(subject: Subject, choice: Any, tools: list[Any]) -> list[str]:
    reply = subject.post(
        "/v1/chat/completions", model=subject.model("tools"), messages=[_QUESTION], tools=tools,
        tool_choice=choice, parallel_tool_calls=False, max_tokens=80, temperature=0,
    ).json()  # fmt: skip
    calls = reply["choices"][0]["message"].get("tool_calls") or []
    for call in calls:
        json.loads(call["function"]["arguments"])
    return [call["function"]["name"] for call in calls]


def _auto(subject: Subject) -> None:
    """So small a model need not call; but it is told of the tools."""
    model = subject.model("tools")
    options = {"num_predict": 1}
    plain = subject.chat("What is the weather?", model=model, options=options)
    told = subject.chat("What is the weather?", model=model, options=options, tools=[_WEATHER])
    require(told["prompt_eval_count"] > plain["prompt_eval_count"], "the model is not told of them")


def _required(subject: Subject) -> None:
    called = _calls(subject, "required", [_WEATHER])
    require(called == ["get_weather"], f"calls {called}")


def _named(subject: Subject) -> None:
    choice = {"type": "function", "function": {"name": "get_time"}}
    called = _calls(subject, choice, [_WEATHER, _TIME])
    require(called == ["get_time"], f"calls {called}")


def _thinking(subject: Subject) -> None:
    reply = subject.chat("Say hello.", think=True, model=subject.model("thinks"))
    require(reply["message"].get("thinking"), "no thoughts")


PROBES = (
    Probe('`format: "json"`', _json),
    Probe("a JSON schema", _schema),
    Probe("a regular expression", _regex),
    Probe("a choice of texts", _choice),
    Probe("a grammar of Lark", _lark),
    Probe("a grammar of llama.cpp (GBNF)", _gbnf),
    Probe("a format for a reply that is begun already", _begun),
    Probe("tools, as the model likes", _auto),
    Probe("tools, one call at least (`required`)", _required),
    Probe("tools, this one", _named),
    Probe("thinking", _thinking),
)
