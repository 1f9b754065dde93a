"""Mistakes of OpenAI's clients: each ends in one error in their envelope that names the field."""

from typing import Any

import httpx2
import pytest

CHAT, TEXT, EMBED = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
PATHS = [CHAT, TEXT, EMBED, "/tokenize", "/detokenize"]
USER = {"role": "user", "content": "x"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
PICTURE = "data:image/png;base64,aGk="
BODIES: dict[str, dict[str, Any]] = {
    CHAT: {"model": "m", "messages": [USER]},
    TEXT: {"model": "m", "prompt": "x"},
    EMBED: {"model": "embedder", "input": "x"},
    "/tokenize": {"model": "m"},
    "/detokenize": {"model": "m"},
}


def allowed(mode: str, *tools: Any) -> dict[str, Any]:
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}


def error_of(response: httpx2.Response) -> dict[str, Any]:
    """The error in the envelope, which has its four fields and nothing beside it."""
    assert response.headers["content-type"].startswith("application/json")
    body = response.json()
    assert list(body) == ["error"]
    error: dict[str, Any] = body["error"]
    assert list(error) == ["message", "type", "param", "code"]
    assert isinstance(error["message"], str) and error["message"]
    return error


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "missing request body"),
        (b" \n", "missing request body"),
        (b"x", "invalid character 'x' looking for beginning of value"),
        (b'{"model":', "unexpected EOF"),
        (b'{"model":NaN}', "invalid character 'N' looking for beginning of value"),
        (b"[" * 100_000, "exceeded max depth"),
        (b"[]", "the body must be a JSON object"),
        (b"null", "the body must be a JSON object"),
        (b"3", "the body must be a JSON object"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_no_object(client: httpx2.Client, path: str, body: bytes, message: str) -> None:
    response = client.post(path, content=body)
    assert response.status_code == 400
    assert error_of(response) == {
        "message": message, "type": "invalid_request_error", "param": None, "code": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "fields", "param", "part"),
    [
        # wrong types
        (CHAT, {"model": 3}, "model", "model must be a string, not an integer"),
        (CHAT, {"messages": "hi"}, "messages", "messages must be an array, not a string"),
        (CHAT, {"messages": [3]}, "messages[0]", "must be an object"),
        (CHAT, {"messages": [{}]}, "messages[0].role", "is required"),
        (CHAT, {"messages": [USER, {"role": "user", "content": 3}]}, "messages[1].content",
         "must be a string or an array, not an integer"),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": 1}]}]},
         "messages[0].content[0].type", "must be a string"),
        (CHAT, {"messages": [{"role": "user", "content": [{"text": "x"}]}]},
         "messages[0].content[0].type", "is required"),
        (CHAT, {"stream": "yes"}, "stream", "must be true or false, not a string"),
        (CHAT, {"stream": 1}, "stream", "must be true or false"),
        (CHAT, {"temperature": "hot"}, "temperature", "must be a number, not a string"),
        (CHAT, {"temperature": True}, "temperature", "must be a number, not a boolean"),
        (CHAT, {"seed": 1.5}, "seed", "must be an integer"),
        (CHAT, {"max_tokens": "9"}, "max_tokens", "must be an integer"),
        (CHAT, {"stop": 3}, "stop", "must be a string or an array"),
        (CHAT, {"stop": ["a", 3]}, "stop[1]", "must be a string"),
        (CHAT, {"logit_bias": [1]}, "logit_bias", "must be an object"),
        (CHAT, {"stream_options": True}, "stream_options", "must be an object"),
        (CHAT, {"tools": {}}, "tools", "must be an array"),
        (CHAT, {"tools": [{"function": {"name": 1}}]}, "tools[0].function.name", "a string"),
        (CHAT, {"options": []}, "options", "must be an object"),
        (CHAT, {"reasoning": "high"}, "reasoning", "must be an object"),
        (CHAT, {"response_format": "json"}, "response_format", "must be an object"),
        (CHAT, {"logprobs": 3}, "logprobs", "must be true or false"),
        (TEXT, {"logprobs": True}, "logprobs", "must be an integer"),
        (TEXT, {"echo": "x"}, "echo", "must be true or false"),
        (TEXT, {"prompt": 3}, "prompt", "invalid prompt"),
        (TEXT, {"prompt": []}, "prompt", "invalid prompt"),
        (TEXT, {"prompt": [[]]}, "prompt", "invalid prompt"),
        (TEXT, {"prompt": ["a", 3]}, "prompt", "invalid prompt"),
        (TEXT, {"prompt": [True]}, "prompt", "invalid prompt"),
        (TEXT, {"prompt": [1.5]}, "prompt", "invalid prompt"),
        (TEXT, {"prompt": [2**70], "echo": True}, "prompt", "invalid prompt"),
        (TEXT, {"prompt": None}, "prompt", "prompt is required"),
        (EMBED, {"input": None}, "input", "invalid input"),
        (EMBED, {"input": ""}, "input", "invalid input"),
        (EMBED, {"input": []}, "input", "invalid input"),
        (EMBED, {"input": [[1], "a"]}, "input", "invalid input"),
        (EMBED, {"input": {"text": "a"}}, "input", "invalid input"),
        ("/detokenize", {}, "tokens", "tokens is required"),
        ("/detokenize", {"tokens": ["a"]}, "tokens[0]", "must be an integer"),
        ("/detokenize", {"tokens": [1, -1]}, "tokens[1]", ">= 0"),
        ("/detokenize", {"tokens": [2**70]}, "tokens[0]", "<"),
        # out of range
        (CHAT, {"temperature": 2.1}, "temperature", "temperature must be between 0 and 2"),
        (CHAT, {"temperature": -0.1}, "temperature", "must be between"),
        (CHAT, {"top_p": 1.01}, "top_p", "must be between 0 and 1"),
        (CHAT, {"presence_penalty": -3}, "presence_penalty", "must be between -2 and 2"),
        (CHAT, {"frequency_penalty": 2.5}, "frequency_penalty", "must be between -2 and 2"),
        (CHAT, {"seed": 2**70}, "seed", "must be between"),
        (CHAT, {"max_tokens": 0}, "max_tokens", "must be at least 1"),
        (CHAT, {"max_tokens": -2}, "max_tokens", "must be at least 1"),
        (CHAT, {"max_completion_tokens": 0}, "max_completion_tokens", "must be at least 1"),
        (CHAT, {"n": 0}, "n", "must be between 1 and 16"),
        (CHAT, {"n": 17}, "n", "must be between 1 and 16"),
        (CHAT, {"top_logprobs": 21, "logprobs": True}, "top_logprobs", "between 0 and 20"),
        (CHAT, {"top_logprobs": 1}, "top_logprobs", "needs logprobs"),
        (CHAT, {"logit_bias": {"5": 101}}, "logit_bias", "must be between -100 and 100"),
        (CHAT, {"logit_bias": {"five": 1}}, "logit_bias", "by their ids"),
        (CHAT, {"logit_bias": {"5": "x"}}, "logit_bias", "float32"),
        (CHAT, {"min_p": 2}, "min_p", "between 0 and 1"),
        (CHAT, {"top_k": -2}, "top_k", "between -1"),
        (CHAT, {"repetition_penalty": 0}, "repetition_penalty", "between 0.01 and 100"),
        (CHAT, {"num_ctx": 0}, "num_ctx", "between 1"),
        (CHAT, {"options": {"temperature": "hot"}}, "options", "temperature"),
        (CHAT, {"keep_alive": "soon"}, "keep_alive", "soon"),
        (CHAT, {"keep_alive": []}, "keep_alive", "Unsupported type"),
        (TEXT, {"logprobs": 6}, "logprobs", "between 0 and 5"),
        (TEXT, {"best_of": 3}, "best_of", "best_of other than n"),
        (TEXT, {"prompt": [1], "suffix": "x"}, "suffix", "needs a prompt of text"),
        (EMBED, {"dimensions": 0}, "dimensions", "between 1"),
        (EMBED, {"encoding_format": "hex"}, "encoding_format",
         "Invalid value for 'encoding_format' = hex. Supported values: ['float', 'base64']."),
        # what does not fit together, or is none of what may be
        (CHAT, {"model": None}, "model", "model is required"),
        (CHAT, {"model": " "}, "model", "model is required"),
        (CHAT, {"messages": []}, "messages", "[] is too short - 'messages'"),
        (CHAT, {"messages": None}, "messages", "[] is too short - 'messages'"),
        (CHAT, {"messages": [{"role": "king", "content": "x"}]}, "messages[0].role", "one of"),
        (CHAT, {"messages": [{"role": "user"}]}, "messages[0].content",
         "invalid message content type: <nil>"),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "video"}]}]},
         "messages[0].content[0].type", "'video' is not supported"),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
         "messages[0].content[0]", "text is required"),
        (CHAT, {"messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]}]},
         "messages[0].content[0].image_url",
         "image URLs are not currently supported, please use base64 encoded data instead"),
        (CHAT, {"messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": "data:image/svg+xml;base64,aGk="}]}]},
         "messages[0].content[0].image_url", "invalid image input"),
        (CHAT, {"messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": "data:image/png;base64,a*"}]}]},
         "messages[0].content[0].image_url", "not base64"),
        (CHAT, {"messages": [{"role": "assistant", "tool_calls": [
            {"id": "1", "function": {"name": "f", "arguments": "{"}}]}]},
         "messages[0].tool_calls[0].function.arguments", "must be a JSON object"),
        (CHAT, {"messages": [{"role": "assistant", "function_call":
            {"name": "f", "arguments": "[1]"}}]},
         "messages[0].function_call.arguments", "must be a JSON object"),
        (CHAT, {"tools": [TOOL, TOOL]}, "tools", "used twice"),
        (CHAT, {"tools": [{"type": "robot"}]}, "tools[0].type", "must be 'function' or 'custom'"),
        (CHAT, {"tools": [{"type": "custom"}]}, "tools[0].custom", "is required"),
        (CHAT, {"tools": [{"type": "custom", "custom": {}}]}, "tools[0].custom.name",
         "tools[0].custom.name is required"),
        (CHAT, {"tools": [{"type": "custom", "custom": {"name": "c", "format": {"type": "grammar",
            "grammar": {"syntax": "regex", "definition": "a"}}}}]}, "tools[0].custom.format",
         "a grammar for the input of a tool is not supported"),
        (CHAT, {"tools": [TOOL, {"type": "custom", "custom": {"name": "f"}}]}, "tools",
         "used twice"),
        (CHAT, {"tools": [{"type": "function"}]}, "tools[0].function.name", "name is required"),
        (CHAT, {"tools": [TOOL], "tool_choice": {"type": "allowed_tools"}}, "tool_choice.mode",
         "must be 'auto' or 'required'"),
        (CHAT, {"tools": [TOOL], "tool_choice": allowed("some")},
         "tool_choice.allowed_tools.mode", "must be 'auto' or 'required'"),
        (CHAT, {"tools": [TOOL], "tool_choice": allowed("auto")},
         "tool_choice.allowed_tools.tools", "must name at least one tool"),
        (CHAT, {"tools": [TOOL], "tool_choice": allowed("auto", "f")},
         "tool_choice.allowed_tools.tools[0]", "must have a type and the name of a tool"),
        (CHAT, {"tools": [TOOL], "tool_choice": allowed("required", TOOL,
            {"type": "function", "function": {"name": "g"}})},
         "tool_choice.allowed_tools.tools[1]", "there is no tool 'g'"),
        (CHAT, {"messages": [{"role": "assistant", "tool_calls": [{"id": "c"}]}]},
         "messages[0].tool_calls[0].function", "is required"),
        (CHAT, {"tools": [TOOL], "tool_choice": "some"}, "tool_choice", "must be 'auto'"),
        (CHAT, {"tool_choice": "required"}, "tool_choice", "tool_choice needs tools"),
        (CHAT, {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}},
         "tool_choice", "there is no tool 'g'"),
        (CHAT, {"tools": [TOOL], "functions": []}, "functions", "cannot both be given"),
        (CHAT, {"functions": [{"name": "f"}], "function_call": {"name": "g"}}, "function_call",
         "there is no tool 'g'"),
        (CHAT, {"reasoning_effort": "hard"}, "reasoning_effort", "invalid reasoning value: 'hard'"),
        (CHAT, {"reasoning_effort": "high"}, "reasoning_effort", '"m" does not support thinking'),
        (CHAT, {"response_format": {"type": "xml"}}, "response_format.type", "must be 'text'"),
        (CHAT, {"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema",
         "is required"),
        (CHAT, {"guided_json": "{"}, "guided_json", "unexpected EOF"),
        (CHAT, {"guided_json": "[]"}, "guided_json", "must be a JSON schema object"),
        (CHAT, {"guided_choice": []}, "guided_choice", "at least one text"),
        (CHAT, {"guided_regex": "a", "guided_json": {}}, "guided_regex",
         "guided_json and guided_regex cannot both hold"),
        (CHAT, {"structured_outputs": {"regex": "a", "choice": ["b"]}},
         "structured_outputs.choice", "cannot both hold"),
        ("/tokenize", {}, "content", "content, prompt or messages is required"),
        ("/tokenize", {"content": "a", "prompt": "b"}, "prompt", "cannot both be given"),
        ("/tokenize", {"messages": []}, "messages", "too short"),
        ("/tokenize", {"content": 3}, "content", "must be a string"),
    ],
)  # fmt: skip
def test_a_field_that_is_wrong(
    client: httpx2.Client, path: str, fields: dict[str, Any], param: str, part: str
) -> None:
    response = client.post(path, json={**BODIES[path], **fields})
    assert response.status_code == 400, response.text
    error = error_of(response)
    assert (error["param"], error["type"], error["code"]) == (param, "invalid_request_error", None)
    assert part in error["message"]


@pytest.mark.parametrize("name", ["temperature", "top_p", "frequency_penalty", "min_p"])
def test_a_number_beyond_all_numbers(client: httpx2.Client, name: str) -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"x"}],"%s":1e999}' % name.encode()
    response = client.post(CHAT, content=body)
    assert response.status_code == 400 and error_of(response)["param"] == name


@pytest.mark.parametrize(
    ("path", "fields", "status", "kind", "code", "part"),
    [
        (CHAT, {"model": "nope"}, 404, "not_found_error", "model_not_found",
         "model 'nope' not found"),
        (TEXT, {"model": "nope"}, 404, "not_found_error", "model_not_found",
         "model 'nope' not found"),
        (EMBED, {"model": "nope"}, 404, "not_found_error", "model_not_found",
         "model 'nope' not found"),
        ("/tokenize", {"model": "nope", "content": "a"}, 404, "not_found_error",
         "model_not_found", "model 'nope' not found"),
        (CHAT, {"model": "../../etc/passwd"}, 400, "invalid_request_error",
         "invalid_model_name", "invalid"),
        (CHAT, {"model": "cut"}, 500, "api_error", "model_unusable", "cut"),
        (CHAT, {"model": "odd"}, 500, "api_error", "model_unusable", "num_ctx"),
        (CHAT, {"model": "embedder"}, 400, "invalid_request_error", "unsupported",
         '"embedder" does not support chat'),
        (TEXT, {"model": "embedder"}, 400, "invalid_request_error", "unsupported",
         '"embedder" does not support generate'),
        (TEXT, {"suffix": "b"}, 400, "invalid_request_error", "unsupported",
         "does not support insert"),
        (CHAT, {"tools": [TOOL]}, 400, "invalid_request_error", "unsupported",
         "does not support tools"),
        (CHAT, {"messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": PICTURE}}]}]}, 400,
         "invalid_request_error", "unsupported", "does not support vision"),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, 400,
         "invalid_request_error", "unsupported", "audio input is not supported"),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "file"}]}]}, 400,
         "invalid_request_error", "unsupported", "file inputs are not currently supported"),
        (TEXT, {"echo": True, "logprobs": 1}, 400, "invalid_request_error", "unsupported",
         "echo with logprobs is not supported"),
        (TEXT, {"prompt": [99_999]}, 400, "invalid_request_error", None,
         "token 99999 is not in the model's vocabulary"),
        ("/detokenize", {"tokens": [99_999]}, 400, "invalid_request_error", None, "99999"),
        (CHAT, {"messages": [{"role": "user", "content": "x" * 300}], "truncate": False}, 400,
         "invalid_request_error", "context_length_exceeded", "longer than the context length"),
        (TEXT, {"prompt": "x" * 300, "truncate": False}, 400,
         "invalid_request_error", "context_length_exceeded", "longer than the context length"),
        (EMBED, {"input": "x" * 300, "truncate": False}, 400,
         "invalid_request_error", "context_length_exceeded", "exceeds the context length"),
        (CHAT, {"min_tokens": 5}, 400, "invalid_request_error", "unsupported",
         "min_tokens is not supported"),
        (CHAT, {"modalities": ["text", "audio"]}, 400, "invalid_request_error", "unsupported",
         "modalities is not supported"),
        (CHAT, {"web_search_options": {}}, 400, "invalid_request_error", "unsupported",
         "web_search_options is not supported"),
        (TEXT, {"use_beam_search": True}, 400, "invalid_request_error", "unsupported",
         "use_beam_search is not supported"),
        # over a limit
        (CHAT, {"stop": ["x"] * 65}, 413, "invalid_request_error", "payload_too_large",
         "too many stop strings"),
        (CHAT, {"stop": "x" * 1025}, 413, "invalid_request_error", "payload_too_large",
         "a stop string is longer"),
        (CHAT, {"logit_bias": {str(at): 1 for at in range(1025)}}, 413,
         "invalid_request_error", "payload_too_large", "too many biases"),
        (CHAT, {"guided_regex": "a" * 20_000}, 413, "invalid_request_error",
         "payload_too_large", "guided_regex is longer"),
        (CHAT, {"guided_choice": ["a"] * 20_000}, 413, "invalid_request_error",
         "payload_too_large", "guided_choice is longer"),
        (TEXT, {"prompt": ["x"] * 129}, 413, "invalid_request_error", "payload_too_large",
         "too many prompts: 129, at most 128"),
        (TEXT, {"prompt": ["x"] * 9, "n": 16}, 413, "invalid_request_error",
         "payload_too_large", "at most 8"),
        (EMBED, {"input": ["x"] * 2049}, 413, "invalid_request_error", "payload_too_large",
         "too many inputs"),
        (CHAT, {"messages": [{"role": "user", "content": "x" * 200_000}]}, 413,
         "invalid_request_error", "payload_too_large", ""),
        ("/tokenize", {"content": "x" * 5000, "with_pieces": True}, 413,
         "invalid_request_error", "payload_too_large", "too many tokens with pieces"),
    ],
)  # fmt: skip
def test_what_cannot_be_done(
    client: httpx2.Client,
    path: str,
    fields: dict[str, Any],
    status: int,
    kind: str,
    code: str | None,
    part: str,
) -> None:
    response = client.post(path, json={**BODIES[path], **fields})
    assert response.status_code == status, response.text
    error = error_of(response)
    assert (error["type"], error["code"]) == (kind, code)
    assert part in error["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_before_a_stream_begins_an_error_is_a_status(client: httpx2.Client, stream: bool) -> None:
    body = {"model": "m", "prompt": [], "stream": stream}
    response = client.post(TEXT, json=body)
    assert response.status_code == 400
    assert error_of(response)["param"] == "prompt"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nope", 404, "not_found"),
        ("POST", "/v1", 404, "not_found"),
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("POST", "/v1/models", 405, "method_not_allowed"),
        ("DELETE", "/v1/models/m", 405, "method_not_allowed"),
        ("GET", "/tokenize", 405, "method_not_allowed"),
    ],
)
def test_unknown_paths_and_methods(
    client: httpx2.Client, method: str, path: str, status: int, code: str
) -> None:
    response = client.request(method, path)
    assert response.status_code == status
    assert error_of(response)["code"] == code


@pytest.mark.parametrize("depth", [100, 400, 800])
@pytest.mark.parametrize("name", ["zz", "keep_alive", "tool_choice", "logit_bias", "prompt"])
def test_values_nested_too_deep_to_walk_through(
    client: httpx2.Client, name: str, depth: int
) -> None:
    nested = b"[" * depth + b"]" * depth
    messages = b'"messages":[{"role":"user","content":"x"}]'
    body = b'{"model":"m",%s,"%s":%s}' % (messages, name.encode(), nested)
    for path in (CHAT, TEXT):
        response = client.post(path, content=body)
        assert response.status_code in (200, 400), response.text


def test_neutral_values_of_what_is_not_supported(client: httpx2.Client) -> None:
    neutral = {
        "min_tokens": 0, "modalities": ["text"], "use_beam_search": False, "stop_token_ids": [],
        "prompt_logprobs": None, "add_generation_prompt": True, "length_penalty": 1.0,
    }  # fmt: skip
    response = client.post(CHAT, json={**BODIES[CHAT], **neutral})
    assert response.status_code == 200, response.text


def test_null_is_as_good_as_nothing_and_unknown_fields_are_ignored(client: httpx2.Client) -> None:
    nulls = dict.fromkeys(
        ["stream", "stop", "n", "tools", "tool_choice", "temperature", "response_format", "seed",
         "max_tokens", "logit_bias", "logprobs", "stream_options", "reasoning_effort", "options"]
    )  # fmt: skip
    ignored = {"user": "me", "metadata": {"a": "b"}, "store": True, "service_tier": "auto", "zz": 1}
    response = client.post(CHAT, json={**BODIES[CHAT], **nulls, **ignored})
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("kind", ["text/plain", "", "application/x-www-form-urlencoded"])
def test_any_content_type_will_do(client: httpx2.Client, kind: str) -> None:
    body = b'{"model":"m","prompt":"x"}'
    response = client.post(TEXT, content=body, headers={"content-type": kind})
    assert response.status_code == 200
