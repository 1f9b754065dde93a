"""The same containers for Docker Compose."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from tests.toolkit.sdl.real import OWN, VALID
from toolkit.sdl import GPURequest, RegistryAccess, RenderInputs, compose, parse, render

KEYS = f"me:inference:{'a' * 64}"
OURS = RenderInputs(image="ghcr.io/me/akash-llm-server:1", keys_text=KEYS)


def made(text: str) -> Any:
    return yaml.safe_load(compose(parse(text).sdl))


def test_our_server() -> None:
    found = made(render(OURS))
    service = found["services"]["llm"]
    assert service["image"] == OURS.image
    assert service["environment"]["AKASH_LLM_KEYS"] == KEYS
    assert service["ports"] == ["127.0.0.1:11434:11434"]
    assert service["volumes"] == ["llm-models:/models"]
    assert found["volumes"] == {"llm-models": {}}
    limits = service["deploy"]["resources"]["limits"]
    assert limits == {"cpus": "2.0", "memory": str(2 << 30)}
    assert "entrypoint" not in service and "shm_size" not in service


def test_a_plain_engine_on_gpus_with_a_secret() -> None:
    inputs = RenderInputs(gpu=GPURequest(2), count=2, env={"PRICE": "$5"})
    service = made(render(inputs, "plain-vllm"))["services"]["llm"]
    assert service["entrypoint"][:2] == ["python3", "-c"]
    assert service["command"][:2] == ["vllm", "serve"]
    assert service["shm_size"] == str(10 << 30)
    assert service["environment"]["VLLM_API_KEY"] == "${API_KEY:?set API_KEY before you start this}"
    assert service["environment"]["PRICE"] == "$$5"
    assert service["ports"] == ["127.0.0.1:8000"]
    deploy = service["deploy"]
    assert deploy["replicas"] == 2
    (device,) = deploy["resources"]["reservations"]["devices"]
    assert (device["driver"], device["count"]) == ("nvidia", 2)


def test_what_stays_in_the_deployment_is_not_published() -> None:
    found = made((OWN / "full.yaml").read_text())
    model, chat = found["services"]["model"], found["services"]["chat"]
    assert chat["ports"] == ["127.0.0.1:3000"]
    assert model["volumes"] == ["model-data:/data"]
    assert chat["entrypoint"] == ["/bin/chat"]


def test_credentials_are_left_out() -> None:
    access = RegistryAccess("ghcr.io", "me", "ac-secret://password")
    text = compose(parse(render(msgspec.structs.replace(OURS, registry=access))).sdl)
    assert "ac-secret" not in text and "credentials" not in text


@pytest.mark.parametrize("file", VALID, ids=lambda file: str(file.stem))
def test_every_deployment_has_its_services(file: Path) -> None:
    sdl = parse(file.read_bytes()).sdl
    text = compose(sdl)
    found = yaml.safe_load(text)
    deployed = {name for name, places in sdl.deployment.items() if places}
    assert set(found["services"]) == deployed
    for name, service in found["services"].items():
        assert service["image"].replace("$$", "$") == sdl.services[name].image
