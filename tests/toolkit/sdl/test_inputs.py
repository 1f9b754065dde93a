"""What a template refuses before anything is rendered."""

from typing import Any

import msgspec
import pytest

from toolkit.errors import ConfigError, UsageError
from toolkit.sdl import GPUChoice, GPURequest, RenderInputs

INPUTS = RenderInputs(image="akash-llm-server:1", keys_text=f"me:admin:{'0' * 64}")


@pytest.mark.parametrize(
    ("changes", "message", "hint"),
    [
        ({"image": ""}, "no server image", "--image"),
        ({"image": "akash-llm-server"}, "which version", "tag"),
        ({"image": "akash-llm-server:latest"}, "which version", "other than latest"),
        ({"image": "localhost:5000/akash-llm-server"}, "which version", "tag"),
        ({"image": "a:1\nb"}, "which version", "tag"),
        ({"keys_text": ""}, "needs a key", "name:scope:sha256"),
    ],
)
def test_configuration_that_is_missing(changes: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        msgspec.structs.replace(INPUTS, **changes).check()
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("changes", "message", "hint"),
    [
        ({"service": "My LLM"}, "cannot name a service", "lower-case"),
        ({"service": "a" * 64}, "cannot name a service", "lower-case"),
        ({"model": ""}, "cannot name a model", "smollm2:135m"),
        ({"model": "a,b"}, "cannot name a model", "smollm2:135m"),
        ({"context": 0}, "at least 1 token", "2048"),
        ({"parallel": 0}, "at least 1 request", "4"),
        ({"env": {"A B": "x"}}, "environment variable", "letters"),
        ({"env": {"AKASH_LLM_KEYS": "x"}}, "set from another input", "leave it out"),
        ({"cpu": 0}, "not portable", "500m"),
        ({"cpu": "many"}, "not portable", "500m"),
        ({"cpu": 2.01}, "not portable", "500m"),
        ({"memory": "2GB"}, "memory '2GB' is not a portable size", "2Gi"),
        ({"storage": ""}, "storage '' is not a portable size", "2Gi"),
        ({"root": "0Gi"}, "root '0Gi' is not a portable size", "2Gi"),
        ({"gpu": GPURequest(0)}, "0 GPUs", "leave gpu out"),
        ({"gpu": GPURequest(25)}, "25 GPUs", "24"),
        ({"gpu": GPURequest(1, (GPUChoice("h100"),) * 2)}, "twice", "once"),
        ({"gpu": GPURequest(1, (GPUChoice("H 100"),))}, "no GPU model", "rtx4090"),
        ({"gpu": GPURequest(1, (GPUChoice("h100", "80"),))}, "no GPU memory", "80Gi"),
        ({"price": 0}, "no price", "above 0"),
        ({"price": "cheap"}, "no price", "above 0"),
        ({"price": 10**8}, "no price", "10000000"),
        ({"denom": "usd"}, "no currency", "uact"),
        ({"attributes": {"Tier": "x"}}, "cannot name an attribute", "lower-case"),
    ],
)
def test_inputs_that_cannot_be_meant(changes: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        msgspec.structs.replace(INPUTS, **changes).check()
    assert hint in caught.value.hint


def test_a_key_in_place_of_its_digest_is_refused_and_not_repeated() -> None:
    with pytest.raises(UsageError, match="cannot be read") as caught:
        msgspec.structs.replace(INPUTS, keys_text="me:admin:ak-canary").check()
    assert "ak-canary" not in str(caught.value)
