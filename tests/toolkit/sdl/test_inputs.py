"""What a template refuses before anything is rendered."""

from typing import Any

import msgspec
import pytest

from toolkit.errors import ConfigError, UsageError
from toolkit.sdl import GPUChoice, GPURequest, RegistryAccess, RenderInputs, render

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
        render(msgspec.structs.replace(INPUTS, **changes))
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
        ({"gpu": GPURequest(1, (GPUChoice("h100", "", "nvlink"),))}, "no interface", "pcie"),
        ({"count": 0}, "0 replicas", "1 to 50"),
        ({"count": 51}, "51 replicas", "1 to 50"),
        ({"engine_args": ("--x",)}, "not arguments", "--env"),
        ({"domains": ("LLM.example.com",)}, "no domain", "llm.example.com"),
        ({"domains": ("localhost",)}, "no domain", "llm.example.com"),
        ({"domains": ("a.example.com",) * 2}, "twice", "once"),
        ({"tee": "gpu"}, "confidential hardware", "cpu-gpu"),
        ({"tee": "cpu-gpu"}, "need a GPU", "--gpu 1"),
        ({"shm": "10GB"}, "shm '10GB' is not a portable size", "2Gi"),
        (
            {"env": {"HF_TOKEN": "hf_canary"}},
            "HF_TOKEN would stand",
            "HF_TOKEN=ac-secret://HF_TOKEN",
        ),
        ({"registry": RegistryAccess("ghcr.io", "me", "canary")}, "password", "ac-secret://"),
        ({"registry": RegistryAccess(" ", "me", "ac-secret://p")}, "no host", "ghcr.io"),
        ({"registry": RegistryAccess("ghcr.io", "", "ac-secret://p")}, "no user", "your name"),
    ],
)
def test_inputs_that_cannot_be_meant(changes: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        render(msgspec.structs.replace(INPUTS, **changes))
    assert hint in caught.value.hint
    assert "canary" not in str(caught.value)


PLAIN = RenderInputs(gpu=GPURequest(), model="Qwen/Qwen2.5-0.5B-Instruct")


@pytest.mark.parametrize(
    ("template", "changes", "message", "hint"),
    [
        ("plain-vllm", {"gpu": None}, "on GPUs only", "--gpu 1"),
        ("plain-vllm", {"api_key": "sk-canary"}, "would stand in the file", "ac-secret://"),
        ("plain-vllm", {"keys_text": INPUTS.keys_text}, "nothing of our keys", "template vllm"),
        ("plain-vllm", {"model": "smollm2:135m"}, "no model that vLLM could get", "user/repo"),
        ("plain-vllm", {"service": "vllm"}, "VLLM_PORT", "--service llm"),
        ("plain-vllm", {"engine_args": ("--api-key=canary",)}, "--api-key would", "ac-secret://"),
        ("plain-vllm", {"engine_args": ("--hf_token", "canary")}, "--hf-token would", "HF_TOKEN="),
        ("plain-vllm", {"engine_image": "vllm:1"}, "one image only", "--image"),
        ("plain-llama-cpp", {}, "no image to deploy", "--image"),
        ("plain-ollama", {}, "knows no keys", "use the template ollama, or insist with --without"),
        (
            "plain-ollama",
            {"without_auth": True, "engine_args": ("--x",)},
            "not arguments",
            "--env OLLAMA_NAME=VALUE",
        ),
    ],
)
def test_plain_images_that_cannot_be_meant(
    template: str, changes: dict[str, Any], message: str, hint: str
) -> None:
    with pytest.raises((UsageError, ConfigError), match=message) as caught:
        render(msgspec.structs.replace(PLAIN, **changes), template)
    assert hint in caught.value.hint
    assert "canary" not in str(caught.value)


GATEWAY = RenderInputs(
    image="akash-llm-gateway:1",
    keys_text=INPUTS.keys_text,
    model="Qwen/Qwen2.5-0.5B-Instruct",
    gpu=GPURequest(),
)
TEAM = RegistryAccess("ghcr.io", "team", "ac-secret://p")


@pytest.mark.parametrize("template", ["vllm", "ollama"])
@pytest.mark.parametrize(
    ("changes", "message", "hint"),
    [
        ({"image": ""}, "no gateway image", "REGISTRY/akash-llm-gateway:VERSION"),
        ({"image": "akash-llm-gateway"}, "which version", "tag"),
        ({"engine_image": "vllm/vllm-openai:latest"}, "which version", "other than latest"),
        ({"engine_image": "a:1\nb"}, "which version", "tag"),
        ({"keys_text": ""}, "needs a key", "name:scope:sha256"),
        ({"service": "gateway"}, "called 'gateway' already", "--service llm"),
        ({"leased_ip": True}, "number it differently", "which has one service"),
        ({"tee": "cpu-gpu"}, "reads every prompt", "--tee cpu"),
        ({"gateway_cpu": 2.01}, "gateway_cpu 2.01 is not portable", "500m"),
        ({"gateway_memory": "1GB"}, "gateway_memory '1GB' is not a portable size", "2Gi"),
        ({"gateway_price": 0}, "no price", "above 0"),
        ({"env": {"AKASH_LLM_ENGINE": "ollama"}}, "set from another input", "leave it out"),
        ({"env": {"HF_TOKEN": "canary"}}, "HF_TOKEN would stand", "ac-secret://HF_TOKEN"),
        (
            {"engine_registry": msgspec.structs.replace(TEAM, password="canary")},
            "password",
            "ac-secret://",
        ),
        ({"engine_registry": msgspec.structs.replace(TEAM, host=" ")}, "no host", "ghcr.io"),
    ],
)
def test_what_a_gateway_cannot_have(
    template: str, changes: dict[str, Any], message: str, hint: str
) -> None:
    with pytest.raises((UsageError, ConfigError), match=message) as caught:
        render(msgspec.structs.replace(GATEWAY, **changes), template)
    assert hint in caught.value.hint
    assert "canary" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize(
    ("template", "changes", "message", "hint"),
    [
        ("vllm", {"gpu": None}, "on GPUs only", "template llama-cpp"),
        ("vllm", {"model": "smollm2:135m"}, "no model that vLLM could get", "user/repo"),
        ("vllm", {"model": "--model/x"}, "no model that vLLM could get", "user/repo"),
        ("vllm", {"service": "vllm"}, "VLLM_PORT", "--service llm"),
        ("vllm", {"engine_args": ("--served_model_name", "x")}, "belongs to that", "leave it out"),
        ("vllm", {"engine_args": ("--api-key=canary",)}, "belongs to that", "leave it out"),
        ("vllm", {"leased_ip": True}, "leased IP", "template plain-vllm"),
        ("ollama", {"leased_ip": True}, "leased IP", "template llama-cpp"),
        ("ollama", {"engine_args": ("--x",)}, "not arguments", "--env OLLAMA_NAME=VALUE"),
        ("ollama", {"count": 2}, "models of its own", "template llama-cpp"),
    ],
)
def test_what_an_engine_behind_a_gateway_cannot_be_told(
    template: str, changes: dict[str, Any], message: str, hint: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        render(msgspec.structs.replace(GATEWAY, **changes), template)
    assert hint in caught.value.hint
    assert "canary" not in str(caught.value) + caught.value.hint


def test_a_server_of_ours_has_one_image() -> None:
    with pytest.raises(UsageError, match="one image only"):
        render(msgspec.structs.replace(INPUTS, engine_registry=TEAM))


def test_a_key_in_place_of_its_digest_is_refused_and_not_repeated() -> None:
    with pytest.raises(UsageError, match="cannot be read") as caught:
        render(msgspec.structs.replace(INPUTS, keys_text="me:admin:ak-canary"))
    assert "ak-canary" not in str(caught.value)
