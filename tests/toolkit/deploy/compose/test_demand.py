"""What an intent takes in containers, and what its plan says."""

import os
from pathlib import Path

import msgspec
import pytest
import yaml

from tests.support.docker import FakeDocker, image
from toolkit.deploy.base import Intent, Plan
from toolkit.deploy.docker import demand
from toolkit.deploy.docker.demand import checked, demanded
from toolkit.deploy.docker.program import Machine
from toolkit.deploy.keeper import Keeper
from toolkit.errors import CapacityError, ConfigError, UsageError
from toolkit.sdl.compose import compose
from toolkit.units import GIB

MACHINE = Machine(cpus=4, memory_bytes=64 * GIB)
GATEWAY = "localhost:1/test/akash-llm-gateway:1"


@pytest.fixture
def two_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with two of 24 GiB."""
    program = tmp_path / "smi" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nprintf '24564\\n24564\\n'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")


async def test_the_plan_says_what_runs_where_it_lies_and_who_sees_it(
    fake: FakeDocker, keeper: Keeper, intent: Intent
) -> None:
    plan = await keeper.plan(intent)
    rows = {resource.what: resource.amount for resource in plan.resources}
    assert rows["image"] == image("good")
    assert rows["port"] == "127.0.0.1:11434"
    assert rows["file"].endswith("endpoints/my.own/compose.yaml")
    assert rows["models"] == "volume akash-llm-models-llama-cpp"
    assert {"model", "context", "memory"} <= set(rows)
    assert plan.worst_case_usd == 0
    assert any("127.0.0.1 only" in sentence for sentence in plan.privacy)
    assert any("pulls smollm2:135m" in notice for notice in plan.notices)
    assert Plan.from_json(plan.to_json()) == plan
    assert not any("up" in call for call in fake.calls())


async def test_amounts_are_those_of_the_machine(stocked_home: Path, intent: Intent) -> None:
    made = await demanded(intent, MACHINE)
    (service,) = yaml.safe_load(compose(checked(made.sdl, intent)))["services"].values()
    limits = service["deploy"]["resources"]["limits"]
    assert limits["cpus"] == "4.0" and int(limits["memory"]) < GIB
    with pytest.raises(CapacityError, match="containers here have"):
        await demanded(intent, Machine(4, 100_000_000))


async def test_an_image_has_to_be_named(stocked_home: Path, intent: Intent) -> None:
    with pytest.raises(ConfigError, match="no server image") as caught:
        await demanded(msgspec.structs.replace(intent, image=""), MACHINE)
    assert "make image" in caught.value.hint


async def test_a_model_that_only_lies_here_is_refused(
    stocked_home: Path,
    embedded_store: Path,
    intent: Intent,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    blob = max((embedded_store / "blobs").iterdir(), key=lambda path: path.stat().st_size)
    (tmp_path / "mine.gguf").symlink_to(blob)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="does not see it"):
        await demanded(msgspec.structs.replace(intent, model="mine.gguf"), MACHINE)
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    vllm = msgspec.structs.replace(intent, engine="vllm", image=GATEWAY, model=str(folder))
    with pytest.raises(ConfigError, match="does not see it"):
        await demanded(vllm, MACHINE)


@pytest.mark.parametrize("model", ["", "a b", "../up"])
async def test_what_is_no_model_is_refused(stocked_home: Path, intent: Intent, model: str) -> None:
    with pytest.raises((UsageError, ConfigError)):
        await demanded(msgspec.structs.replace(intent, model=model), MACHINE)


async def test_vllm_gets_gpus_behind_our_gateway(
    stocked_home: Path, intent: Intent, two_gpus: None
) -> None:
    wish = msgspec.structs.replace(
        intent,
        engine="vllm",
        image=GATEWAY,
        model="hf.co/org/model",
        secrets=("HF_TOKEN",),
        registry="me@ghcr.io",
    )
    made = await demanded(wish, MACHINE)
    assert made.intent.model == "org/model"
    services = yaml.safe_load(compose(checked(made.sdl, made.intent)))["services"]
    engine = services["llm"]
    assert engine["image"] == "vllm/vllm-openai:v0.32.0" and "ports" not in engine
    assert engine["command"][:3] == ["vllm", "serve", "org/model"]
    (device,) = engine["deploy"]["resources"]["reservations"]["devices"]
    assert device["count"] == 1
    assert engine["environment"]["HF_TOKEN"].startswith("${HF_TOKEN:?")
    assert "HF_TOKEN" not in services["gateway"]["environment"]
    notices = " ".join(made.notices)
    assert "docker login ghcr.io" in notices and "container toolkit" in notices
    assert "make engines" not in notices, "that is about programs of this machine"


@pytest.mark.parametrize(
    ("name", "asked", "count"),
    [
        (demand.CUDA_SERVER, (), 2),
        (demand.CUDA_SERVER, ("rtx4090",), 2),
        ("akash-llm-server", (), 0),
    ],
)
async def test_our_server_gets_all_gpus_where_its_image_uses_them(
    stocked_home: Path,
    intent: Intent,
    two_gpus: None,
    name: str,
    asked: tuple[str, ...],
    count: int,
) -> None:
    wish = msgspec.structs.replace(intent, image=f"localhost:1/test/{name}:1", gpus=asked)
    made = await demanded(wish, MACHINE)
    (service,) = yaml.safe_load(compose(checked(made.sdl, wish)))["services"].values()
    reserved = service["deploy"]["resources"].get("reservations", {"devices": [{"count": 0}]})
    assert [device["count"] for device in reserved["devices"]] == [count]


async def test_gpus_for_an_image_without_are_refused(stocked_home: Path, intent: Intent) -> None:
    wish = msgspec.structs.replace(
        intent, image="localhost:1/test/akash-llm-server:1", gpus=("rtx4090",)
    )
    with pytest.raises(ConfigError, match="processors only"):
        await demanded(wish, MACHINE)
