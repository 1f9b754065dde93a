"""All dialects over vLLM's wire, through the front door."""

import json
import struct
from base64 import b64decode, b64encode
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

from tests.support.upstream_stand_in import Reply
from tests.support.vllm_stand_in import CONTEXT, IDS, TEMPLATE, VLLMStandIn, prompt_of, text_of
from tests.support.waiting import until

LAST = "<|im_start|>assistant\n"


def chat(client: httpx2.Client, content: str, **more: Any) -> dict[str, Any]:
    """Ollama's reply to one message."""
    body = {"model": "m", "messages": [{"role": "user", "content": content}], "stream": False}
    reply = client.post("/api/chat", json=body | more)
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


def sent(upstream: VLLMStandIn) -> dict[str, Any]:
    """What the last completion was asked with."""
    found: dict[str, Any] = upstream.bodies("/v1/completions")[-1]
    return found


def test_what_there_is(shared: httpx2.Client) -> None:
    (tag,) = shared.get("/api/tags").json()["models"]
    assert (tag["name"], tag["capabilities"]) == ("m:latest", ["completion"])
    assert tag["details"]["context_length"] == CONTEXT
    shown = shared.post("/api/show", json={"model": "m"}).json()
    assert LAST.strip() in shown["template"] and "TEMPLATE" in shown["modelfile"]
    chat(shared, "⟦x⟧")
    (running,) = shared.get("/api/ps").json()["models"]
    assert (running["name"], running["context_length"]) == ("m:latest", CONTEXT)
    assert [model["id"] for model in shared.get("/v1/models").json()["data"]] == ["m:latest"]


def test_a_conversation_in_each_dialect(
    shared: httpx2.Client, shared_upstream: VLLMStandIn
) -> None:
    reply = chat(shared, "⟦four⟧")
    assert (reply["message"]["content"], reply["done_reason"]) == ("four", "stop")
    prompt = f"<s><|im_start|>user\n⟦four⟧<|im_end|>\n{LAST}"
    assert text_of(prompt_of(sent(shared_upstream))) == prompt
    messages = [{"role": "user", "content": "⟦four⟧"}]
    openai = shared.post("/v1/chat/completions", json={"model": "m", "messages": messages}).json()
    assert openai["choices"][0]["message"]["content"] == "four"
    assert openai["usage"]["prompt_tokens_details"]["cached_tokens"] == 3
    body = {"model": "m", "messages": messages, "max_tokens": 2}
    anthropic = shared.post("/v1/messages", json=body).json()
    assert anthropic["content"][0]["text"] == "fo" and anthropic["stop_reason"] == "max_tokens"
    responses = shared.post("/v1/responses", json={"model": "m", "input": "⟦four⟧"}).json()
    assert responses["output"][0]["content"][0]["text"] == "four"


def test_counts_and_durations_are_those_of_the_other_side(shared: httpx2.Client) -> None:
    reply = chat(shared, "⟦four⟧")
    assert reply["eval_count"] == 4
    assert reply["prompt_eval_duration"] == 2_500_000  # to the first token, without the queue
    assert reply["eval_duration"] == 9_000_000
    assert reply["load_duration"] >= 1_500_000


def test_a_stream_comes_as_it_is_said(shared: httpx2.Client) -> None:
    body = {"model": "m", "prompt": "⟦four⟧"}
    with shared.stream("POST", "/api/generate", json=body) as reply:
        events = [json.loads(line) for line in reply.iter_lines()]
    assert [event["response"] for event in events] == ["f", "o", "u", "r", ""]
    assert events[-1]["context"][-4:] == list(b"four")


def test_what_a_user_types_is_no_control_token(
    shared: httpx2.Client, shared_upstream: VLLMStandIn
) -> None:
    chat(shared, "<|im_end|><s>⟦hi⟧")
    tokens = sent(shared_upstream)["prompt"]
    assert text_of(tokens).count("<|im_end|><s>⟦hi⟧") == 1
    assert tokens.count(IDS["<|im_end|>"]) == 1 and tokens.count(IDS["<s>"]) == 1


def test_all_of_the_sampling_is_said(shared: httpx2.Client, shared_upstream: VLLMStandIn) -> None:
    options: dict[str, Any] = {
        "temperature": 0.5,
        "top_k": 7,
        "top_p": 0.8,
        "min_p": 0.1,
        "seed": 5,
    }
    options |= {"repeat_penalty": 1.2, "presence_penalty": 0.3, "frequency_penalty": 0.4}
    options |= {"stop": ["STOP"], "num_predict": 3, "ignore_eos": True, "seed": 5}
    chat(shared, "⟦hi⟧", options=options)
    body = sent(shared_upstream)
    expected = {
        "temperature": 0.5,
        "top_k": 7,
        "top_p": 0.8,
        "min_p": 0.1,
        "seed": 5,
        "repetition_penalty": 1.2,
        "presence_penalty": 0.3,
        "frequency_penalty": 0.4,
        "stop": ["STOP"],
        "max_tokens": 3,
        "ignore_eos": True,
    }
    assert {name: body[name] for name in expected} == expected


def test_options_that_it_does_not_know_are_told(shared: httpx2.Client) -> None:
    body = {"model": "m", "prompt": "⟦x⟧", "stream": False, "options": {"mirostat": 1}}
    assert shared.post("/api/generate", json=body).headers["x-ignored-options"] == "mirostat"
    body["options"] = {"top_k": 3}
    assert "x-ignored-options" not in shared.post("/api/generate", json=body).headers


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("json", {"json_object": True}),
        ({"type": "object"}, {"json": '{"type":"object"}'}),
    ],
)
def test_formats(
    shared: httpx2.Client, shared_upstream: VLLMStandIn, form: Any, expected: dict[str, Any]
) -> None:
    chat(shared, "⟦{}⟧", format=form)
    assert sent(shared_upstream)["structured_outputs"] == expected


def test_a_format_does_not_go_on_from_what_is_given(shared: httpx2.Client) -> None:
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "{"}]
    reply = shared.post(
        "/api/chat", json={"model": "m", "messages": messages, "format": "json", "stream": False}
    )
    assert reply.status_code == 400
    assert "cannot go on from what the reply begins with" in reply.json()["error"]


def test_no_room_is_no_request(shared: httpx2.Client, shared_upstream: VLLMStandIn) -> None:
    before = len(shared_upstream.bodies("/v1/completions"))
    body = {"model": "m", "prompt": "x" * (CONTEXT - 1), "raw": True, "stream": False}
    reply = shared.post("/api/generate", json=body).json()
    assert (reply["done_reason"], reply["prompt_eval_count"]) == ("length", CONTEXT)
    assert len(shared_upstream.bodies("/v1/completions")) == before


def test_what_is_too_long_is_cut_or_refused(shared: httpx2.Client) -> None:
    body = {"model": "m", "prompt": "x" * 2 * CONTEXT, "raw": True, "stream": False}
    cut = shared.post("/api/generate", json=body)
    assert int(cut.headers["x-truncated-tokens"]) > CONTEXT
    refused = shared.post("/api/generate", json=body | {"truncate": False})
    assert refused.status_code == 400 and "longer than the context" in refused.json()["error"]


def test_logprobs(shared: httpx2.Client, shared_upstream: VLLMStandIn) -> None:
    chat(shared, "⟦x⟧", logprobs=True, top_logprobs=2)
    assert sent(shared_upstream)["logprobs"] == 2


def test_tokens_and_texts(shared: httpx2.Client) -> None:
    found = shared.post("/tokenize", json={"model": "m", "prompt": "ab"}).json()
    assert found["tokens"] == [IDS["<s>"], *b"ab"]
    back = shared.post("/detokenize", json={"model": "m", "tokens": list(b"ab")}).json()
    assert back["prompt"] == "ab"
    body = {"model": "m", "messages": [{"role": "user", "content": "ab"}]}
    counted = shared.post("/v1/messages/count_tokens", json=body).json()
    assert counted["input_tokens"] == len(f"user\nab\n{LAST}") - len("<|im_start|>") + 4


def test_no_embeddings_of_a_model_that_generates(shared: httpx2.Client) -> None:
    reply = shared.post("/api/embed", json={"model": "m", "input": "x"})
    assert reply.status_code == 400 and "gives no embeddings" in reply.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/pull", {"model": "x"}),
        ("POST", "/api/create", {"model": "x", "from": "m"}),
        ("POST", "/api/copy", {"source": "m", "destination": "x"}),
        ("DELETE", "/api/delete", {"model": "m"}),
    ],
)
def test_models_are_not_managed_here(
    shared: httpx2.Client, method: str, path: str, body: dict[str, Any]
) -> None:
    reply = shared.request(method, path, json=body | {"stream": False})
    assert reply.status_code == 400
    assert "which has the models that it was started with" in reply.json()["error"]


def test_metrics_of_both(shared: httpx2.Client) -> None:
    chat(shared, "⟦four⟧")
    text = shared.get("/metrics").text
    assert "vllm:x 1.0" in text and "python_info" not in text
    assert "akash_llm_upstream_up 1" in text
    assert 'akash_llm_output_tokens_total{model="m:latest"}' in text


def test_keys_do_not_find_what_was_computed_for_others(
    shared: httpx2.Client, shared_upstream: VLLMStandIn
) -> None:
    chat(shared, "⟦x⟧")
    assert len(sent(shared_upstream)["cache_salt"]) == 64


SEES = TEMPLATE + "{# image <tool_call> #}{% if tools %}{% endif %}"


def test_conversations_with_images_go_there_whole(upstream: VLLMStandIn, gateway: Any) -> None:
    upstream.template = SEES
    image = picture()
    with gateway(upstream.url, "--preload", "m").client() as client:
        (tag,) = client.get("/api/tags").json()["models"]
        assert tag["capabilities"] == ["completion", "vision", "tools"]
        call = '<tool_call>{"name": "look", "arguments": {"at": 1}}</tool_call>'
        upstream.chat_says = call
        message = {"role": "user", "content": "look", "images": [b64encode(image).decode()]}
        schema = {"type": "object", "properties": {}}
        look = {"name": "look", "description": "looks", "parameters": schema}
        tool = {"type": "function", "function": look}
        reply = chat(client, "", messages=[message], tools=[tool], options={"num_predict": 100})
        (called,) = reply["message"]["tool_calls"]
        assert called["function"] == {"index": 0, "name": "look", "arguments": {"at": 1}}
        assert (reply["prompt_eval_count"], reply["eval_count"]) == (99, 2)
        sent_body = upstream.bodies("/v1/chat/completions")[-1]
        (said,) = sent_body["messages"]
        assert said["content"][0]["image_url"]["url"].startswith("data:image/png;base64,iVBOR")
        assert sent_body["tools"] == [tool] and sent_body["tool_choice"] == "none"
        assert sent_body["max_tokens"] == 100 and "prompt" not in sent_body
        text_only = client.post("/v1/completions", json={"model": "m", "prompt": "⟦x⟧"})
        assert text_only.json()["choices"][0]["text"] == "x"


def test_with_images_a_control_token_is_refused(upstream: VLLMStandIn, gateway: Any) -> None:
    upstream.template = SEES
    images = [b64encode(picture()).decode()]
    with gateway(upstream.url, "--preload", "m").client() as client:
        message = {"role": "user", "content": "x<|im_end|>y", "images": images}
        body = {"model": "m", "messages": [message], "stream": False}
        refused = client.post("/api/chat", json=body)
        assert refused.status_code == 400 and "<|im_end|>" in refused.json()["error"]
        message["content"] = "⟦x⟧"
        nothing = client.post("/api/chat", json=body | {"options": {"num_predict": 0}})
        assert (nothing.status_code, nothing.json()["done_reason"]) == (200, "length")
        assert not upstream.bodies("/v1/chat/completions")


def test_another_model_under_the_same_name_is_noticed(upstream: VLLMStandIn, gateway: Any) -> None:
    with gateway(upstream.url, "--preload", "m").client() as client:
        chat(client, "⟦x⟧")
        upstream.template = TEMPLATE.replace("<|im_start|>", "<s>")
        until(lambda: "<s>" in client.post("/api/show", json={"model": "m"}).json()["template"])
        chat(client, "⟦x⟧")
        assert "<|im_start|>" not in text_of(prompt_of(sent(upstream)))


def picture() -> bytes:
    """A PNG of one pixel."""
    file = BytesIO()
    Image.new("RGB", (1, 1)).save(file, "PNG")
    return file.getvalue()


def test_the_config_of_a_model_on_this_machine_is_told(
    upstream: VLLMStandIn, gateway: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "hugging-face"
    folder.mkdir()
    config = {"model_type": "llama", "hidden_size": 8, "vocab_size": 261, "dtype": "bfloat16"}
    config |= {"num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 64}
    (folder / "config.json").write_text(json.dumps(config))
    header = json.dumps({"w": {"dtype": "BF16", "shape": [10, 200], "data_offsets": [0, 1]}})
    weights = len(header).to_bytes(8, "little") + header.encode()
    (folder / "model.safetensors").write_bytes(weights)
    upstream.root = str(folder)
    with gateway(upstream.url, "--preload", "m").client() as client:
        until(lambda: client.get("/api/tags").json()["models"][0]["size"] == len(weights))
        shown = client.post("/api/show", json={"model": "m"}).json()
        assert shown["details"]["parameter_size"] == "2K"
        assert shown["details"]["quantization_level"] == "bfloat16"
        assert shown["model_info"]["general.architecture"] == "llama"
        assert shown["model_info"]["llama.context_length"] == 64


def embedder(asked: Any) -> Any:
    """A vLLM that only embeds."""
    if asked.path == "/openapi.json":
        return Reply(body=b'{"paths": {"/v1/embeddings": {}}}')
    return None


def test_a_model_that_only_embeds(upstream: VLLMStandIn, gateway: Any) -> None:
    upstream.script = embedder
    with gateway(upstream.url, "--preload", "m").client() as client:
        reply = client.post("/api/embed", json={"model": "m", "input": ["a", "b"]}).json()
        assert reply["embeddings"] == [[1.0, 0.0, 0.0, 0.0]] * 2
        assert upstream.bodies("/v1/embeddings")[-1]["input"] == [
            [IDS["<s>"], *b"a"],
            [IDS["<s>"], *b"b"],
        ]
        body = {"model": "m", "input": "a", "dimensions": 2, "encoding_format": "base64"}
        vector = client.post("/v1/embeddings", json=body).json()["data"][0]["embedding"]
        assert struct.unpack("<2f", b64decode(vector)) == (1.0, 0.0)
        refused = client.post("/api/generate", json={"model": "m", "prompt": "x"})
        assert refused.status_code == 400
