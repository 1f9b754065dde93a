"""The same containers for Docker Compose."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from tests.toolkit.sdl.real import OWN, VALID
from toolkit.sdl import GPURequest, RegistryAccess, RenderInputs, compose, parse, render
from toolkit.sdl.compose import Host
from toolkit.sdl.model import Expose, ExposeTo, Service

KEYS = f"me:inference:{'a' * 64}"
MODEL = "Qwen/Qwen2.5-0.5B-Instruct"
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
    inputs = RenderInputs(model=MODEL, gpu=GPURequest(2), count=2, env={"PRICE": "$5"})
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
    assert chat["depends_on"] == ["model"] and "depends_on" not in model


@pytest.mark.parametrize(("template", "port"), [("vllm", 8000), ("ollama", 11434)])
def test_an_engine_is_reached_through_its_gateway_only(template: str, port: int) -> None:
    inputs = msgspec.structs.replace(
        OURS, model=MODEL, gpu=GPURequest(), env={"HF_TOKEN": "ac-secret://hf_token"}
    )
    found = made(render(inputs, template))
    gateway, engine = found["services"]["gateway"], found["services"]["llm"]
    assert gateway["ports"] == ["127.0.0.1:11434:11434"]
    assert gateway["environment"]["AKASH_LLM_UPSTREAM"] == f"http://llm:{port}"
    assert gateway["depends_on"] == ["llm"]
    assert "volumes" not in gateway and "HF_TOKEN" not in gateway["environment"]
    assert "ports" not in engine and "depends_on" not in engine
    assert engine["expose"] == [str(port)]
    assert engine["volumes"] == ["llm-models:/models"]
    assert engine["environment"]["HF_TOKEN"].startswith("${HF_TOKEN:?")
    assert engine["deploy"]["resources"]["reservations"]["devices"][0]["count"] == 1
    assert ("shm_size" in engine) == (template == "vllm")
    limits = gateway["deploy"]["resources"]["limits"]
    assert limits == {"cpus": "1.0", "memory": str(1 << 30)}


def test_services_that_use_each_other_do_not_wait(leased_ip: str) -> None:
    """Compose refuses circles."""
    services = {
        name: Service("i:1", expose=(Expose(80, to=(ExposeTo(service=user),)),))
        for name, user in (("a", "b"), ("b", "c"), ("c", "a"), ("d", "d"), ("e", "a"))
    }
    sdl = parse(leased_ip).sdl
    ((_, places),) = list(sdl.deployment.items())[:1]
    circle = msgspec.structs.replace(
        sdl, services=services, deployment=dict.fromkeys(services, places)
    )
    found = yaml.safe_load(compose(circle))["services"]
    awaited = {name: service.get("depends_on") for name, service in found.items()}
    assert awaited == {"a": ["e"], "b": None, "c": None, "d": None, "e": None}


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


def test_what_the_machine_adds() -> None:
    host = Host(
        ports={11434: 40000, 1: 2},
        labels={"akash-llm.home": "/a b/$HOME", "n": "no"},
        volumes={"llm-models": "akash-llm-models", "other": "not here"},
    )
    found = yaml.safe_load(compose(parse(render(OURS)).sdl, host))
    service = found["services"]["llm"]
    assert service["ports"] == ["127.0.0.1:40000:11434"]
    assert service["labels"] == {"akash-llm.home": "/a b/$$HOME", "n": "no"}
    assert service["volumes"] == ["llm-models:/models"]
    assert found["volumes"] == {"llm-models": {"name": "akash-llm-models"}}
