"""How models are loaded and how much they may take: values, no behaviour."""

from typing import Literal

import msgspec

# llama.cpp's own limit of sequences in one context.
MOST_SLOTS = 256
# What was seen of images is kept up to so many bytes.
IMAGE_CACHE_BYTES = 256 << 20
Speculate = Literal["off", "auto", "on"]
FlashAttention = Literal["auto", "on", "off"]
SplitMode = Literal["none", "layer", "row"]
CacheType = Literal["f16", "f32", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]
WeightType = Literal["q8_0", "q4_0"]


class FakeCosts(msgspec.Struct, frozen=True, kw_only=True):
    """What a step of the fake backend takes: seconds per step and per row in it; what an image,
    a grammar and loading it take, and the memory that it says it takes (0: a byte a cell).
    And its chat template, unless it is its own."""

    step_s: float = 0.0
    row_s: float = 0.0
    image_s: float = 0.0
    grammar_s: float = 0.0
    load_s: float = 0.0
    memory_bytes: int = 0
    chat_template: str = ""


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """Where the weights lie.

    `gpu_layers` -1 means all, 0 none. `split_mode` says how several GPUs share them,
    `tensor_split` in which proportion, `main_gpu` which one has all if they do not.
    Without `mmap` the file is read into memory, with `mlock` the memory is never paged out.
    """

    gpu_layers: int = -1
    split_mode: SplitMode = "layer"
    main_gpu: int = 0
    tensor_split: tuple[float, ...] = ()
    mmap: bool = True
    mlock: bool = False


class Attention(msgspec.Struct, frozen=True, kw_only=True):
    """How attention is computed, and in which types its cache keeps keys and values.

    Layers that look back over a sliding window keep only that, or everything with `swa_full`:
    then beginnings can be shared and full windows shifted as with other models.
    """

    flash: FlashAttention = "auto"
    keys: CacheType = "f16"
    values: CacheType = "f16"
    swa_full: bool = False

    @property
    def problem(self) -> str | None:
        """Why this cannot be; None if it can."""
        if self.flash == "off" and self.values not in ("f16", "f32", "bf16"):
            return f"a cache of values in {self.values} needs flash attention, which is off"
        return None


class EngineConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One set of load-time choices, the same for every model of a server.

    `context` is tokens per request. `pool` 0 gives each of `parallel` requests memory of
    its own for that; a number of tokens below `context * parallel` is one memory that all
    share. `parking_bytes` of the host's memory keep idle conversations. `share_prefixes` lets
    requests of different keys go on from the same computed beginnings.
    `threads` 0 means the physical cores this process may use, `batch_threads` (for more
    than one row at once) 0 the same as `threads`. `batch` is the most rows of one decode
    step, `micro_batch` how many of them are computed at a time. `queue` bounds the requests
    that wait for a slot.

    A load may take `load_timeout_s`, and wait `room_timeout_s` before for other models to
    become idle. A runner with work is asked every `ping_s` whether it lives; it has hung
    if it does not answer for `silence_s`, or if one step takes longer than `step_timeout_s`.
    """

    backend: Literal["llama", "fake"] = "llama"
    context: int = 2048
    parallel: int = 4
    pool: int = 0
    parking_bytes: int = 0
    share_prefixes: bool = False
    speculate: Speculate = "off"
    threads: int = 0
    batch_threads: int = 0
    batch: int = 2048
    micro_batch: int = 512
    queue: int = 512
    load_timeout_s: float = 300.0
    room_timeout_s: float = 120.0
    ping_s: float = 5.0
    silence_s: float = 30.0
    step_timeout_s: float = 120.0
    placement: Placement = Placement()
    attention: Attention = Attention()
    fake: FakeCosts = FakeCosts()

    @property
    def num_cells(self) -> int | None:
        """Tokens of the memory that all requests share; None if each has its own."""
        return self.pool if 0 < self.pool < self.context * self.parallel else None

    @property
    def num_slots(self) -> int:
        """Sequence ids. Where they share memory, more of them keep more prefixes."""
        return self.parallel if self.num_cells is None else min(MOST_SLOTS, 2 * self.parallel)
