"""The NVIDIA GPUs that providers of the network offer, as an SDL names them.

Names and memory are those of the network's list of devices; bandwidth and compute capability
are NVIDIA's, from the data sheets. A name covers cards that differ in memory or interface, so
a model has variants. Bandwidth is in 10⁹ bytes a second, memory in GiB as SDL writes it.

This module imports nothing of ours: what checks an SDL uses it as well as sizing does.
"""

import difflib
from typing import NamedTuple

# What is needed to use a number format in the hardware.
VLLM_CAPABILITY = 7.0
BF16_CAPABILITY = 8.0
FP8_CAPABILITY = 8.9

PCIE, SXM = "pcie", "sxm"


class Variant(NamedTuple):
    """A card of a model: its memory, how it is connected, and how fast the memory is read."""

    memory_gib: int
    interface: str
    bandwidth_gbps: int

    @property
    def ram(self) -> str:
        """The memory as an SDL writes it, such as `80Gi`."""
        return f"{self.memory_gib}Gi"


class GPU(NamedTuple):
    """A model by its name in SDLs, with its variants from the least memory on."""

    name: str
    capability: float
    variants: tuple[Variant, ...]

    @property
    def can_vllm(self) -> bool:
        """Whether vLLM runs on it."""
        return self.capability >= VLLM_CAPABILITY

    @property
    def has_bf16(self) -> bool:
        """Whether it computes in bfloat16."""
        return self.capability >= BF16_CAPABILITY

    @property
    def has_fp8(self) -> bool:
        """Whether it computes in 8-bit floats."""
        return self.capability >= FP8_CAPABILITY


def _gpu(name: str, capability: float, *variants: tuple[int, str, int]) -> GPU:
    return GPU(name, capability, tuple(sorted(Variant(*variant) for variant in variants)))


# Architecture by architecture, newest first.
GPUS: tuple[GPU, ...] = (
    # Blackwell
    _gpu("b300", 10.3, (288, SXM, 8000)),
    _gpu("gb300", 10.3, (288, SXM, 8000)),
    _gpu("b200", 10.0, (180, SXM, 8000)),
    _gpu("gb200", 10.0, (186, SXM, 8000)),
    _gpu("pro6000se", 12.0, (96, PCIE, 1597)),
    _gpu("pro6000we", 12.0, (96, PCIE, 1792)),
    _gpu("rtx5090", 12.0, (32, PCIE, 1792)),
    _gpu("rtx5080", 12.0, (16, PCIE, 960)),
    _gpu("rtx5070ti", 12.0, (16, PCIE, 896)),
    _gpu("rtx5070", 12.0, (12, PCIE, 672)),
    _gpu("rtx5060ti", 12.0, (8, PCIE, 448), (16, PCIE, 448)),
    _gpu("rtx5060", 12.0, (8, PCIE, 448)),
    # Hopper
    _gpu("gh200", 9.0, (96, SXM, 4000), (144, SXM, 4900)),
    _gpu("h200", 9.0, (141, SXM, 4800), (141, PCIE, 4800)),
    _gpu("h100", 9.0, (80, PCIE, 2000), (80, SXM, 3350), (94, PCIE, 3900)),
    _gpu("h20", 9.0, (96, SXM, 4000)),
    # Ada
    _gpu("l40s", 8.9, (48, PCIE, 864)),
    _gpu("l40", 8.9, (48, PCIE, 864)),
    _gpu("l4", 8.9, (24, PCIE, 300)),
    _gpu("rtx6000ada", 8.9, (48, PCIE, 960)),
    _gpu("rtx5000ada", 8.9, (32, PCIE, 576)),
    _gpu("rtx4000ada", 8.9, (20, PCIE, 360)),
    _gpu("rtx4000sffada", 8.9, (20, PCIE, 280)),
    _gpu("rtx2000eada", 8.9, (16, PCIE, 256)),
    _gpu("rtx2000ada", 8.9, (16, PCIE, 224)),
    _gpu("rtx4090", 8.9, (24, PCIE, 1008)),
    _gpu("rtx4080super", 8.9, (16, PCIE, 736)),
    _gpu("rtx4080", 8.9, (16, PCIE, 716)),
    _gpu("rtx4070tisuper", 8.9, (16, PCIE, 672)),
    _gpu("rtx4070ti", 8.9, (12, PCIE, 504)),
    _gpu("rtx4070super", 8.9, (12, PCIE, 504)),
    _gpu("rtx4070", 8.9, (12, PCIE, 504)),
    _gpu("rtx4060ti", 8.9, (8, PCIE, 288), (16, PCIE, 288)),
    _gpu("rtx4060", 8.9, (8, PCIE, 272)),
    # Ampere
    _gpu(
        *("a100", 8.0),
        *((40, PCIE, 1555), (40, SXM, 1555), (64, SXM, 1640), (80, PCIE, 1935), (80, SXM, 2039)),
    ),
    _gpu("a800", 8.0, (80, SXM, 2039)),
    _gpu("a30", 8.0, (24, PCIE, 933)),
    _gpu("a40", 8.6, (48, PCIE, 696)),
    _gpu("a10", 8.6, (24, PCIE, 600)),
    _gpu("a10g", 8.6, (24, PCIE, 600)),
    _gpu("a16", 8.6, (16, PCIE, 200)),
    _gpu("a2", 8.6, (16, PCIE, 200)),
    _gpu("rtxa6000", 8.6, (48, PCIE, 768)),
    _gpu("rtxa5000", 8.6, (24, PCIE, 768)),
    _gpu("rtxa4500", 8.6, (20, PCIE, 640)),
    _gpu("rtxa4000", 8.6, (16, PCIE, 448)),
    _gpu("rtxa2000", 8.6, (6, PCIE, 288), (12, PCIE, 288)),
    _gpu("rtx3090ti", 8.6, (24, PCIE, 1008)),
    _gpu("rtx3090", 8.6, (24, PCIE, 936)),
    _gpu("rtx3080ti", 8.6, (12, PCIE, 912)),
    _gpu("rtx3080", 8.6, (10, PCIE, 760), (12, PCIE, 912)),
    _gpu("rtx3070ti", 8.6, (8, PCIE, 608)),
    _gpu("rtx3070", 8.6, (8, PCIE, 448)),
    _gpu("rtx3060ti", 8.6, (8, PCIE, 448)),
    _gpu("rtx3060", 8.6, (8, PCIE, 240), (12, PCIE, 360)),
    # Turing
    _gpu("t4", 7.5, (16, PCIE, 320)),
    _gpu("rtx8000", 7.5, (48, PCIE, 672)),
    _gpu("rtx6000", 7.5, (24, PCIE, 672)),
    _gpu("rtx5000", 7.5, (16, PCIE, 448)),
    _gpu("rtx4000", 7.5, (8, PCIE, 416)),
    _gpu("rtx2080ti", 7.5, (11, PCIE, 616)),
    _gpu("rtx2080super", 7.5, (8, PCIE, 496)),
    _gpu("rtx2080", 7.5, (8, PCIE, 448)),
    _gpu("rtx2070super", 7.5, (8, PCIE, 448)),
    _gpu("rtx2070", 7.5, (8, PCIE, 448)),
    _gpu("rtx2060super", 7.5, (8, PCIE, 448)),
    _gpu("rtx2060", 7.5, (6, PCIE, 336), (12, PCIE, 336)),
    _gpu("gtx1660ti", 7.5, (6, PCIE, 288)),
    _gpu("gtx1660super", 7.5, (6, PCIE, 336)),
    _gpu("gtx1660", 7.5, (6, PCIE, 192)),
    _gpu("gtx1650ti", 7.5, (4, PCIE, 192)),
    _gpu("gtx1650super", 7.5, (4, PCIE, 192)),
    # Volta
    _gpu("v100", 7.0, (16, PCIE, 900), (16, SXM, 900), (32, PCIE, 900), (32, SXM, 900)),
    # Pascal
    _gpu("p100", 6.0, (12, PCIE, 549), (16, PCIE, 732), (16, SXM, 732)),
    _gpu("p40", 6.1, (24, PCIE, 346)),
    _gpu("p4", 6.1, (8, PCIE, 192)),
    _gpu("p6000", 6.1, (24, PCIE, 432)),
    _gpu("p5000", 6.1, (16, PCIE, 288)),
    _gpu("p4000", 6.1, (8, PCIE, 243)),
    _gpu("p2000", 6.1, (4, PCIE, 96), (5, PCIE, 140)),
    _gpu("gtx1080ti", 6.1, (11, PCIE, 484)),
    _gpu("gtx1080", 6.1, (8, PCIE, 320)),
    _gpu("gtx1070ti", 6.1, (8, PCIE, 256)),
    _gpu("gtx1070", 6.1, (8, PCIE, 256)),
    _gpu("gtx1060", 6.1, (3, PCIE, 192), (5, PCIE, 160), (6, PCIE, 192)),
    _gpu("gtx1050ti", 6.1, (4, PCIE, 112)),
    _gpu("gtx1050", 6.1, (2, PCIE, 112), (3, PCIE, 84)),
    _gpu("gt1030", 6.1, (2, PCIE, 48)),
    _gpu("mx150", 6.1, (2, PCIE, 48)),
    # Maxwell
    _gpu("m4000", 5.2, (8, PCIE, 192)),
    _gpu("gtx980ti", 5.2, (6, PCIE, 336)),
    _gpu("gtx980", 5.2, (4, PCIE, 224)),
    _gpu("gtx970", 5.2, (4, PCIE, 224)),
    _gpu("gtx960", 5.2, (2, PCIE, 112), (4, PCIE, 112)),
)
_KINDS = ("rtx", "gtx", "rtxa")
_BY_NAME = {gpu.name: gpu for gpu in GPUS}


def find_gpu(name: str) -> GPU | None:
    """The model of that name, exactly as SDLs write it; None if nobody offers one."""
    return _BY_NAME.get(name)


def find_variant(name: str, ram: str = "", interface: str = "") -> Variant | None:
    """The card that fits a GPU of an SDL; the one with the least memory if several do."""
    gpu = find_gpu(name)
    fitting = (
        variant
        for variant in (gpu.variants if gpu else ())
        if ram in ("", variant.ram) and interface in ("", variant.interface)
    )
    return next(fitting, None)


def nearest_name(name: str) -> str | None:
    """What was probably meant by a name that is none: `RTX 4090` and `4090` are `rtx4090`."""
    plain = "".join(char for char in name.lower() if char.isalnum())
    plain = plain.removeprefix("nvidia").removeprefix("geforce").removeprefix("tesla")
    if plain in _BY_NAME:
        return plain
    prefixed = next((f"{kind}{plain}" for kind in _KINDS if f"{kind}{plain}" in _BY_NAME), None)
    similar = difflib.get_close_matches(plain, _BY_NAME, n=1, cutoff=0.75)
    return prefixed or next(iter(similar), None)
