"""What Ollama tells of a model, as one of ours."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.types import ModelInfo
from server.models.modelfile import parameters_text
from server.upstream.listed import ListedModel
from server.upstream.ollama_shown import described, expires_at, info_of, listed, parameters_of
from server.upstream.ollama_wire import Running, Shown, Tag
from tests.support.ollama_stand_in import DIGEST, RUNNING, SHOWN, TAG


def model(shown: dict[str, Any] | None = None, **changes: Any) -> ListedModel:
    tag = listed(msgspec.convert(TAG | changes, Tag))
    return described(tag, msgspec.convert(SHOWN | (shown or {}), Shown))


def test_a_model() -> None:
    found = model()
    assert (found.name.display(), found.digest, found.size) == ("m:latest", DIGEST, TAG["size"])
    assert found.modified_ns == 1787221800_987654000
    assert found.capabilities == ("completion", "tools", "thinking", "vision", "insert")
    assert found.details.context_length == 40960 and found.system == "You are a test."
    assert [one.role for one in found.messages] == ["user", "assistant"]
    assert found.model_info()["tokenizer.ggml.tokens"] is None and found.manner_template is None


def test_parameters() -> None:
    """What is unknown now is left out: Ollama does the same."""
    assert model().parameters == {
        "stop": ["<|im_start|>", '"\n'],
        "temperature": 0.6,
        "top_k": 20,
        "num_ctx": 8192,
    }


@pytest.mark.parametrize(
    "line",
    ["", "x", "temperature hot", 'stop "unending', "num_ctx 1e99", 'stop "a"+[[["b"', "\x00"],
)
def test_parameters_that_make_no_sense(line: str) -> None:
    found = parameters_of(f"top_k  3\n{line}")
    assert found.pop("top_k") == 3
    assert all(isinstance(value, list) for value in found.values())


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\x85\u2028\u2029"))))
def test_stop_strings_come_back(stops: list[str]) -> None:
    written = parameters_text({"stop": stops})
    assert parameters_of(written).get("stop", []) == stops


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"template": "{{ .Prompt }}"}, ("completion",)),
        ({}, ("completion", "tools", "insert", "thinking")),
        ({"projector_info": {"clip.x": 1}, "template": ""}, ("completion", "vision")),
        (
            {"model_info": {"general.architecture": "bert", "bert.pooling_type": 1}},
            ("embedding",),
        ),
    ],
)
def test_versions_that_do_not_tell_what_a_model_can(
    changes: dict[str, Any], expected: tuple[str, ...]
) -> None:
    assert model({"capabilities": None} | changes).capabilities == expected


def info(shown: dict[str, Any], running: dict[str, Any] | None) -> ModelInfo:
    return info_of(model(shown), msgspec.convert(running, Running) if running else None)


@pytest.mark.parametrize(
    ("shown", "running", "context"),
    [
        ({}, RUNNING, 4096),
        ({}, None, 8192),
        ({"parameters": ""}, None, 40960),
        ({"parameters": ""}, {"name": "m:latest"}, 40960),
        ({"parameters": "num_ctx 100000"}, None, 40960),
    ],
)
def test_the_window(shown: dict[str, Any], running: dict[str, Any] | None, context: int) -> None:
    found = info(shown, running)
    assert (found.context, found.context_train) == (context, 40960)
    assert found.has_vision and found.can_generate and found.architecture == "qwen3"


@pytest.mark.parametrize(
    ("text", "year"), [("2318-12-01T10:00:00.5Z", 2318), ("", 2300), ("0001-01-01T00:00:00Z", 2300)]
)
def test_when_it_goes(text: str, year: int) -> None:
    assert expires_at(Running(name="m", expires_at=text)).year >= year


def test_a_time_that_is_none() -> None:
    assert model(modified_at="yesterday").modified_text.startswith("1970-01-01")
