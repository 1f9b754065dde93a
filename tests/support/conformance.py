"""Requests made from an OpenAPI document, and whether the answers are what it says."""

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import hypothesis
import jsonschema
import requests
import schemathesis
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.core.result import Ok
from schemathesis.core.transport import Response
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
TIMEOUT_S = 60
# What makes, fetches and removes models is asked for models that nobody has.
CHANGING = ("/api/pull", "/api/create", "/api/copy", "/api/delete")


@dataclass
class Report:
    """What came of it. `failures` are by operation, one text each."""

    num_cases: int = 0
    statuses: dict[int, int] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


_SAID = [{"role": "user", "content": "⟦hello there⟧"}]
# What a route needs to answer at all.
NEEDED: dict[str, dict[str, Any]] = {
    "/api/generate": {"prompt": "⟦hello⟧"},
    "/api/chat": {"messages": _SAID},
    "/v1/chat/completions": {"messages": _SAID},
    "/v1/completions": {"prompt": "⟦hello⟧"},
    "/v1/responses": {"input": "⟦hello⟧"},
    "/v1/messages": {"messages": _SAID, "max_tokens": 9},
    "/v1/messages/count_tokens": {"messages": _SAID},
    "/v1/embeddings": {"input": "hello"},
    "/tokenize": {"content": "hello"},
    "/detokenize": {"tokens": [104]},
}


def make_sense(case: Case[Any]) -> None:
    """Most requests are for a model that exists, or they would all end in 404: `m`, and
    `embedder` for vectors. Half of them have what their route needs, and one field beside."""
    if case.path in CHANGING or not isinstance(case.body, dict):
        return
    chance = len(str(case.body))
    if chance % 4:
        case.body["model"] = "embedder" if "embed" in case.path else "m"
    if chance % 2 and case.path in NEEDED:
        names = [name for name in case.body if name != "model"]
        more = {names[chance % len(names)]: case.body[names[chance % len(names)]]} if names else {}
        model = {"model": case.body.get("model", "m")}
        case.body = {**model, **more, **NEEDED[case.path]}


def check_server(
    url: str,
    document: dict[str, Any],
    *,
    cases: int,
    seed: int,
    headers: dict[str, str] | None = None,
    prepare: Callable[[Case[Any]], None] = lambda _: None,
    only: Collection[str] = (),
) -> Report:
    """Send about `cases` requests, spread over all operations, and check every answer.

    `only` are the paths that count, if not all. `prepare` may make a case meaningful, such
    as by naming a model that exists. Every 5xx is a failure.
    """
    report = Report()
    found = schemathesis.openapi.from_dict(document)
    operations = [one.ok() for one in found.get_all_operations() if isinstance(one, Ok)]
    if only:
        operations = [one for one in operations if one.path in only]
    elif len(operations) < sum(map(len, document["paths"].values())):
        raise AssertionError("the document has operations that cannot be read")
    # Without a body or a parameter one request is like another.
    varied = [one for one in operations if one.body or one.path_parameters or one.query]
    each = max(1, (cases - len(operations)) // max(1, len(varied)))
    with requests.Session() as session:
        session.trust_env = False
        for operation in operations:

            def send(case: Case[Any]) -> None:
                prepare(case)
                response = case.call(
                    base_url=url, session=session, headers=headers, timeout=TIMEOUT_S
                )
                report.num_cases += 1
                status = response.status_code
                report.statuses[status] = report.statuses.get(status, 0) + 1
                case.validate_response(response, checks=CHECKS)
                _check_stream(document, case, response)

            try:
                _run(send, operation, each if operation in varied else 1, seed)
            except (Failure, FailureGroup, jsonschema.ValidationError) as failure:
                report.failures[operation.label] = str(failure)[:2000]
    return report


def _run(send: Callable[[Case[Any]], None], operation: Any, cases: int, seed: int) -> None:
    strategy = st.sampled_from([GenerationMode.POSITIVE] * 3 + [GenerationMode.NEGATIVE]).flatmap(
        lambda mode: operation.as_strategy(generation_mode=mode)
    )
    settings = hypothesis.settings(
        max_examples=cases,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    hypothesis.seed(seed)(settings(hypothesis.given(strategy)(send)))()


def _check_stream(document: dict[str, Any], case: Case[Any], response: Response) -> None:
    """Each object of a stream is what its route says; schemathesis knows single ones only."""
    operation = document["paths"][case.operation.path][case.operation.method.lower()]
    content = operation["responses"].get(str(response.status_code), {}).get("content", {})
    kind = response.headers.get("content-type", [""])[0].partition(";")[0]
    schema = content.get(kind, {}).get("x-item-schema")
    if schema is None:
        return
    whole = {**schema, "components": document["components"]}
    for line in response.text.splitlines():
        data = line.removeprefix("data:").strip() if kind == "text/event-stream" else line
        if not data or data == "[DONE]" or (data == line and kind == "text/event-stream"):
            continue
        jsonschema.validate(json.loads(data), whole)
