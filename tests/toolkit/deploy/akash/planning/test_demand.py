"""From an intent to resources and an SDL."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

import toolkit
from server.keys import KeyRing
from server.models.sources import Registries
from tests.support import shaped_models as shaped
from tests.support.shaped_models import Dims
from tests.toolkit.sizing.test_subject import LLAMA, write_folder
from toolkit import paths
from toolkit.deploy.akash.demand import Demand, demanded, made
from toolkit.deploy.base import Intent
from toolkit.deploy.console.amounts import most_usd_per_hour
from toolkit.errors import BudgetError, ConfigError, UsageError
from toolkit.sdl import GPUChoice, parse, validate
from toolkit.sdl.model import SDL
from toolkit.sizing.subject import ON_DISK

CPU = "ghcr.io/you/akash-llm-server:1"
CUDA = "ghcr.io/you/akash-llm-server-cuda:1"
GATEWAY = "ghcr.io/you/akash-llm-gateway:1"


def intent(**asked: Any) -> Intent:
    caps = {"max_usd_per_hour": Decimal("0.60"), "runtime_hours": 4}
    return Intent(**{"name": "mine", "target": "console", "image": CUDA, **caps, **asked})


def sdl(demand: Demand) -> SDL:
    assert validate(demand.sdl).problems == ()
    return parse(demand.sdl).sdl


async def vllm(tmp_path: Path, **asked: Any) -> Demand:
    """A model of Hugging Face, its size read from a folder."""
    config = LLAMA | {"num_hidden_layers": 32}
    folder = write_folder(tmp_path / "model", config, 16 * 10**9)
    sizing = await toolkit.size(str(folder), engine="vllm", gpus=asked.get("gpus", ()))
    remarks = tuple(each for each in sizing.remarks if each != ON_DISK)
    sizing = msgspec.structs.replace(sizing, model="user/repo", remarks=remarks)
    asked = {"model": "user/repo", "engine": "vllm", "image": GATEWAY} | asked
    return made(intent(**asked), sizing)


# -- what is asked for


async def test_a_small_model_runs_on_a_processor(models: None) -> None:
    demand = await demanded(intent(image=CPU))
    assert demand.inputs.gpu is None
    assert ("GPU", "none") in {(each.what, each.amount) for each in demand.resources}
    (profile,) = sdl(demand).profiles.compute.values()
    assert profile.gpu is None
    assert all(each.reason for each in demand.resources)


async def test_every_card_with_room_will_do_if_it_is_not_much_too_large(models: None) -> None:
    demand = await demanded(intent(model="eight:8b"))
    gpu = demand.inputs.gpu
    assert gpu is not None and gpu.units == 1
    models_ = {(each.model, each.ram) for each in gpu.models}
    assert {("t4", "16Gi"), ("rtx4090", "24Gi"), ("l40s", "48Gi")} <= models_
    assert ("h200", "141Gi") not in models_  # five times as large as needed
    assert not {"v100", "p40"} & {each.model for each in gpu.models}  # too old for CUDA
    (shown,) = [each for each in demand.resources if each.what == "GPU"]
    assert "others" in shown.amount


async def test_one_card_is_asked_for_where_one_has_room(models: None) -> None:
    """Two small ones would have been less memory, and are seldom free on one node."""
    demand = await demanded(intent(model="seventy:70b"))
    gpu = demand.inputs.gpu
    assert gpu is not None and gpu.units == 1
    assert GPUChoice("a100", "80Gi") in gpu.models
    assert demand.sizing.gpu is not None and demand.sizing.gpu.count == 1


async def test_named_gpus_are_the_only_ones(models: None) -> None:
    demand = await demanded(intent(model="eight:8b", gpus=("rtx4090", "a100/80Gi/sxm")))
    gpu = demand.inputs.gpu
    assert gpu is not None
    assert set(gpu.models) == {GPUChoice("rtx4090", "24Gi"), GPUChoice("a100", "80Gi", "sxm")}


async def test_a_named_gpu_that_would_take_more_of_them_is_left_out(models: None) -> None:
    demand = await demanded(intent(model="seventy:70b", gpus=("rtx4090", "h100/80Gi")))
    gpu = demand.inputs.gpu
    assert gpu is not None
    assert {(each.model, each.ram) for each in gpu.models} == {("h100", "80Gi")}
    assert gpu.units == 1
    (notice,) = demand.notices
    assert "rtx4090 24Gi is left out: it would take 4" in notice


@pytest.mark.parametrize("name", ["4090", "a100/81Gi"])
async def test_a_gpu_that_is_none(models: None, name: str) -> None:
    with pytest.raises(UsageError):
        await demanded(intent(model="eight:8b", gpus=(name,)))


async def test_vllm_is_told_what_its_template_does_not_say(tmp_path: Path) -> None:
    demand = await vllm(tmp_path)
    service = sdl(demand).services["llm"]
    args = service.args or ()
    assert demand.inputs.engine_args[0] == "--gpu-memory-utilization"
    assert args.count("--max-model-len") == args.count("--tensor-parallel-size") == 1
    assert "half" not in args
    gpu = demand.inputs.gpu
    assert gpu is not None and "t4" not in {each.model for each in gpu.models}


async def test_cards_without_bfloat16_compute_in_half_floats(tmp_path: Path) -> None:
    demand = await vllm(tmp_path, gpus=("rtx8000",))
    assert demand.inputs.engine_args[-2:] == ("--dtype", "half")
    assert not any("--dtype" in notice for notice in demand.notices)


async def test_shared_memory_is_counted_once(tmp_path: Path) -> None:
    demand = await vllm(tmp_path)
    profile = sdl(demand).profiles.compute["llm"]
    assert profile.memory == f"{demand.sizing.memory.bytes >> 30}Gi"


# -- keys and secrets


async def test_only_the_digest_of_the_key_is_in_it(models: None) -> None:
    demand = await demanded(intent(image=CPU))
    key = paths.key_file("mine").read_text().strip()
    assert key not in demand.sdl
    assert KeyRing.from_text(demand.inputs.keys_text).find(key) is not None
    assert (await demanded(intent(image=CPU))).sdl == demand.sdl


async def test_secrets_are_named_and_never_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "canary-1")
    monkeypatch.setenv("AKASH_LLM_REGISTRY_PASSWORD", "canary-2")
    demand = await vllm(tmp_path, secrets=("HF_TOKEN",), registry="you@example.org@ghcr.io")
    assert demand.sealed == ("HF_TOKEN", "REGISTRY_PASSWORD")
    services = sdl(demand).services
    assert services["llm"].environment["HF_TOKEN"] == "ac-secret://HF_TOKEN"
    credentials = services["gateway"].credentials
    assert credentials is not None
    assert (credentials.host, credentials.username) == ("ghcr.io", "you@example.org")
    assert credentials.password == "ac-secret://REGISTRY_PASSWORD"
    assert b"canary" not in msgspec.json.encode(demand)


@pytest.mark.parametrize(
    "asked",
    [
        {"secrets": ("HF_TOKEN=hf_x",)},
        {"secrets": ("REGISTRY_PASSWORD",)},
        {"registry": "ghcr.io"},
        {"registry": "you@"},
        {"registry": "you@https://ghcr.io"},
        {"max_usd_per_hour": Decimal("NaN")},
        {"max_usd_per_hour": Decimal(0)},
        {"max_usd_total": Decimal(-1)},
        {"runtime_hours": 0},
        {"runtime_hours": float("nan")},
        {"runtime_hours": 48.5},
        {"idle_minutes": 0},
    ],
)
async def test_what_cannot_be_meant(models: None, asked: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        await demanded(intent(image=CPU, **asked))
    assert caught.value.hint


# -- images


async def test_an_image_is_needed_and_the_next_step_is_named(models: None) -> None:
    wanted = {"smollm2:135m": "/akash-llm-server:", "eight:8b": "/akash-llm-server-cuda:"}
    for model, name in wanted.items():
        with pytest.raises(ConfigError, match="none is named") as caught:
            await demanded(intent(model=model, image=""))
        assert "make image IMAGE=" in caught.value.hint and name in caught.value.hint


async def test_an_engine_needs_the_image_of_the_gateway(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        await vllm(tmp_path, image="")
    assert "/akash-llm-gateway:" in caught.value.hint


@pytest.mark.parametrize("image", ["ghcr.io/you/akash-llm-server", f"{CPU[:-1]}latest"])
async def test_an_image_says_its_version(models: None, image: str) -> None:
    with pytest.raises(ConfigError, match="does not say which version"):
        await demanded(intent(image=image))


async def test_the_image_for_processors_is_refused_on_gpus(models: None) -> None:
    with pytest.raises(ConfigError, match="processors only") as caught:
        await demanded(intent(model="eight:8b", image=CPU))
    assert "akash-llm-server-cuda" in caught.value.hint


# -- models


async def test_a_file_of_this_machine_cannot_be_fetched_by_a_provider(tmp_path: Path) -> None:
    path = shaped.write_shaped(tmp_path / "m.gguf", shaped.llama(Dims(layers=2)))
    with pytest.raises(UsageError, match="no provider can fetch") as caught:
        await demanded(intent(model=str(path), image=CPU))
    assert "hf.co" in caught.value.hint


async def test_a_model_that_nobody_can_be_asked_about(
    akash_home: Path, free_port: Callable[[], int]
) -> None:
    host = f"127.0.0.1:{free_port()}"
    asked = intent(model=f"http://{host}/library/qwen2.5:7b")
    with pytest.raises(ConfigError, match="needs cannot be found out") as caught:
        await demanded(asked, Registries.parse([f"http://{host}"]))
    assert f"akash-llm models pull {asked.model}" in caught.value.hint


# -- the price in it


async def test_the_prices_of_all_services_stay_under_the_cap(tmp_path: Path) -> None:
    demand = await vllm(tmp_path)
    (placement,) = sdl(demand).profiles.placement.values()
    prices = [Decimal(str(price.amount)) for price in placement.pricing.values()]
    together = sum(prices, Decimal(0))
    assert len(placement.pricing) == 2
    assert Decimal("0.59") < most_usd_per_hour(together) <= Decimal("0.60")


async def test_a_region_is_asked_for(models: None) -> None:
    demand = await demanded(intent(image=CPU, region="eu-west"))
    (placement,) = sdl(demand).profiles.placement.values()
    assert placement.attributes == {"region": "eu-west"}


async def test_a_cap_that_leaves_nothing(models: None) -> None:
    with pytest.raises(BudgetError):
        await demanded(intent(image=CPU, max_usd_per_hour=Decimal("0.0001")))
