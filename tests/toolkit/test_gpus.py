"""The table of GPUs: held against itself and against what SDLs may say."""

import re
import subprocess
import sys

import pytest

from toolkit.gpus import GPU, GPUS, find_gpu, find_variant, nearest_name


def test_each_name_is_one_that_an_sdl_may_have() -> None:
    names = [gpu.name for gpu in GPUS]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9.-]*", name) for name in names)


@pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.name)
def test_each_model_has_cards_that_can_be(gpu: GPU) -> None:
    assert find_gpu(gpu.name) == gpu
    assert gpu.variants and list(gpu.variants) == sorted(set(gpu.variants))
    assert 5.0 <= gpu.capability < 13
    for variant in gpu.variants:
        assert 1 < variant.memory_gib < 300
        assert 40 < variant.bandwidth_gbps <= 8000
        assert variant.interface in ("pcie", "sxm")
        assert find_variant(gpu.name, variant.ram, variant.interface) == variant


@pytest.mark.parametrize(
    ("name", "vllm", "bf16", "fp8"),
    [
        ("p40", False, False, False),
        ("v100", True, False, False),
        ("t4", True, False, False),
        ("a100", True, True, False),
        ("rtx4090", True, True, True),
        ("h100", True, True, True),
    ],
)
def test_what_a_generation_can_do(name: str, vllm: bool, bf16: bool, fp8: bool) -> None:
    gpu = find_gpu(name)
    assert gpu is not None
    assert (gpu.can_vllm, gpu.has_bf16, gpu.has_fp8) == (vllm, bf16, fp8)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("rtx4090", "rtx4090"),
        ("RTX 4090", "rtx4090"),
        ("4090", "rtx4090"),
        ("nvidia-a100", "a100"),
        ("Tesla T4", "t4"),
        ("a6000", "rtxa6000"),
        ("rtx-a6000", "rtxa6000"),
        ("1080ti", "gtx1080ti"),
        ("rtx4900", "rtx4090"),
        ("h1000", "h100"),
        ("banana", None),
        ("", None),
    ],
)
def test_the_nearest_name(written: str, meant: str | None) -> None:
    assert nearest_name(written) == meant


def test_a_variant_that_nobody_has_is_none() -> None:
    assert find_variant("h100", "90Gi") is None
    assert find_variant("rtx4090", "24Gi", "sxm") is None
    assert find_variant("banana") is None
    assert find_gpu("RTX4090") is None  # an SDL that says so matches no provider


def test_it_needs_nothing_of_ours() -> None:
    code = "import sys, toolkit.gpus; print([m for m in sys.modules if m.startswith('toolkit.')])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "['toolkit.gpus']"
