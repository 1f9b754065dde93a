"""What clients of OpenAI's Responses API may get wrong."""

from typing import Any

import httpx2
import pytest

FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object"}}


def allowed(mode: str, *tools: Any) -> dict[str, Any]:
    return {"type": "allowed_tools", "mode": mode, "tools": tools}


def item(kind: str, **fields: Any) -> dict[str, Any]:
    return {"input": [{"type": kind, **fields}]}


def part(kind: str, **fields: Any) -> dict[str, Any]:
    return {"input": [{"role": "user", "content": [{"type": kind, **fields}]}]}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"model": ""}, 400, "model is required"),
        ({"input": None}, 400, "input is required"),
        ({"input": []}, 400, "input is required"),
        ({"model": "nope"}, 404, "model 'nope' not found"),
        ({"model": "embedder"}, 400, '"embedder" does not support chat'),
        ({"background": True}, 400, "background is not supported: nothing is kept"),
        ({"previous_response_id": "resp_1"}, 400,
         "previous_response_id is not supported: nothing is kept between requests "
         "(send the whole conversation as input)"),
        ({"conversation": {"id": "x"}}, 400, "conversation is not supported: nothing is kept"),
        ({"prompt": {"id": "x"}}, 400, "prompt is not supported: nothing is kept"),
        ({"max_output_tokens": 0}, 400, "max_output_tokens must be positive"),
        ({"top_logprobs": 21}, 400, "top_logprobs must be between 0 and 20"),
        ({"top_logprobs": -1}, 400, "top_logprobs must be between 0 and 20"),
        ({"include": "all"}, 400, "json: cannot unmarshal string"),
        ({"truncation": "some"}, 400, "truncation must be 'auto' or 'disabled'"),
        ({"reasoning": {"effort": "hard"}}, 400, "invalid reasoning value: 'hard'"),
        ({"text": {"format": {"type": "xml"}}}, 400, "text.format.type must be 'text'"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, 400,
         "text.format.schema is required"),
        ({"text": {"format": {"type": "json_object"}}}, 400,
         "the fake backend knows no grammars"),
        ({"tools": [{"type": "web_search"}]}, 400,
         "tools[0]: this server has no tool of type 'web_search' (leave it out"),
        ({"tools": [{"type": "function"}]}, 400, "tools[0].name is required"),
        ({"tools": [{"type": "custom"}]}, 400, "tools[0].name is required"),
        ({"tools": [{"type": "custom", "name": "c", "format": {"type": "grammar",
            "syntax": "lark", "definition": "start: A"}}]}, 400,
         "tools[0].format: a grammar for the input of a tool is not supported (leave it out"),
        ({"tools": [FUNCTION, {"type": "custom", "name": "f"}]}, 400,
         "tools: the name 'f' is used twice"),
        ({"tool_choice": allowed("auto", FUNCTION)}, 400,
         "tool_choice.tools[0]: there is no tool 'f'"),
        ({"tools": [FUNCTION]}, 400, "registry.ollama.ai/library/m:latest does not support tools"),
        ({"tool_choice": "required"}, 400, "tool_choice needs tools"),
        ({"tool_choice": {"type": "web_search"}}, 400, "tool_choice must be 'auto'"),
        ({"temperature": "hot"}, 400, "json: cannot unmarshal string"),
        ({"metadata": {"a": 1}}, 400, "json: cannot unmarshal"),
        ({"options": {"seed": "x"}}, 400, 'option "seed" must be of type integer'),
        ({"ignore_eos": 1}, 400, 'option "ignore_eos" must be of type boolean'),
        (item("item_reference", id="msg_1"), 400,
         "input[0]: there is no item 'msg_1': nothing is kept between requests (send the item"),
        ({"input": [{"id": "msg_1"}]}, 400, "input[0]: there is no item 'msg_1'"),
        (item("web_search_call", id="x"), 400,
         "input[0]: items of type 'web_search_call' are not supported"),
        (item("message", role="robot", content="x"), 400, "input[0].role must be one of user"),
        (item("function_call", name="f", arguments="{}"), 400,
         "input[0]: a function_call needs call_id and name"),
        (item("function_call", name="f", call_id="c", arguments="[1]"), 400,
         "input[0].arguments must be a JSON object as text"),
        (item("function_call", name="f", call_id="c", arguments="{"), 400,
         "input[0].arguments must be a JSON object as text"),
        (item("function_call", name="f", call_id="c", arguments="[" * 5000), 400,
         "input[0].arguments must be a JSON object as text"),
        (item("custom_tool_call", call_id="c", input="x"), 400,
         "input[0]: a custom_tool_call needs call_id and name"),
        (item("custom_tool_call_output", output="x"), 400, "input[0].call_id is required"),
        (item("function_call_output", output="x"), 400, "input[0].call_id is required"),
        (part("input_file", file_id="x"), 400, "file inputs are not currently supported"),
        (part("input_audio"), 400,
         "input[0].content[0]: content of type 'input_audio' is not supported"),
        (part("input_image", image_url="https://127.0.0.1/x.png"), 400,
         "image URLs are not currently supported"),
        (part("input_image", file_id="x"), 400, "invalid image input: a data URL"),
        (part("input_image", image_url="data:image/tiff;base64,aGk="), 400,
         "invalid image input: a data URL"),
        (part("input_image", image_url="data:image/png;base64,%"), 400,
         "invalid image input: it is not base64"),
        (part("input_image", image_url="data:image/png;base64,aGk="), 400,
         "registry.ollama.ai/library/m:latest does not support vision"),
    ],
)  # fmt: skip
def test_what_cannot_be_done(
    client: httpx2.Client, body: dict[str, Any], status: int, message: str, stream: bool
) -> None:
    asked = {"model": "m", "input": "x", "stream": stream, **body}
    response = client.post("/v1/responses", json=asked)
    assert response.status_code == status
    error = response.json()["error"]
    assert list(error) == ["message", "type", "param", "code"]
    assert error["message"].startswith(message)
    assert error["type"] == {400: "invalid_request_error", 404: "not_found_error"}[status]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"reasoning": {"effort": "hard"}}, "reasoning.effort"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [{"type": "custom"}]}, "tools[0].name"),
        ({"tools": [{"type": "custom", "name": "c", "format": {"type": "xml"}}]},
         "tools[0].format"),
        ({"tools": [FUNCTION], "tool_choice": allowed("all", FUNCTION)}, "tool_choice.mode"),
        ({"tools": [FUNCTION], "tool_choice": allowed("auto")}, "tool_choice.tools"),
        ({"tools": [FUNCTION], "tool_choice": allowed("required", FUNCTION, {"type": "function"})},
         "tool_choice.tools[1]"),
        ({"tools": [FUNCTION], "tool_choice": {"type": "custom", "name": "g"}}, "tool_choice"),
        (part("input_image", file_id="x"), "input[0].content[0].image_url"),
    ],
)  # fmt: skip
def test_a_mistake_names_its_field(client: httpx2.Client, body: dict[str, Any], param: str) -> None:
    response = client.post("/v1/responses", json={"model": "m", "input": "x", **body})
    assert response.status_code == 400 and response.json()["error"]["param"] == param


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/responses", 405),
        ("GET", "/v1/responses/resp_1", 404),
        ("DELETE", "/v1/responses/resp_1", 404),
        ("POST", "/v1/responses/resp_1/cancel", 404),
    ],
)
def test_what_would_need_a_memory(
    client: httpx2.Client, method: str, path: str, status: int
) -> None:
    response = client.request(method, path)
    assert response.status_code == status and list(response.json()) == ["error"]


def test_a_body_that_is_too_large(client: httpx2.Client) -> None:
    response = client.post("/v1/responses", json={"model": "m", "input": "x" * 300_000})
    assert response.status_code == 413 and list(response.json()) == ["error"]
