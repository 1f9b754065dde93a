"""What sizing says: numbers, each with its reason as a sentence."""

import msgspec
import psutil

from toolkit.safetext import cleaned
from toolkit.units import GIB


class Quantity(msgspec.Struct, frozen=True):
    """Bytes, and why."""

    bytes: int
    reason: str

    @property
    def text(self) -> str:
        """For people: MiB below one GiB."""
        if self.bytes < GIB:
            return f"{self.bytes / (1 << 20):.0f} MiB"
        return f"{self.bytes / GIB:.1f} GiB"


class Speed(msgspec.Struct, frozen=True):
    """An estimate of tokens a second: of one request alone, and of all together."""

    one: float
    all: float
    reason: str


class GPUFit(msgspec.Struct, frozen=True, kw_only=True):
    """A GPU that has room for the model, and how many of them.

    The weights are spread `tensor_parallel` × `pipeline_parallel` ways. `needed` is what each
    has to hold, `usable` what it can. `utilization` is vLLM's share of the memory.
    """

    gpu: str
    ram: str
    interface: str
    count: int
    tensor_parallel: int
    pipeline_parallel: int
    needed: Quantity
    usable: int
    speed: Speed
    utilization: float | None = None


class Sizing(msgspec.Struct, frozen=True, kw_only=True):
    """What a model needs with one engine.

    `weights`, `cache`, `compute` and `overhead` are the whole on one device; `memory`, `storage`,
    `shm` and `cpu` are what to ask for in an SDL, where `gpu` says on what it runs, None for the
    processor alone. `gpus` has all that fit, the smallest first. `next` is what to type.
    """

    schema: int = 1
    model: str
    engine: str
    architecture: str
    parameters: int
    precision: str
    context: int
    parallel: int
    kv: str
    weights: Quantity
    cache: Quantity
    cache_per_token: Quantity
    compute: Quantity
    overhead: Quantity
    memory: Quantity
    storage: Quantity
    shm: Quantity
    cpu: int
    cpu_reason: str
    gpu: GPUFit | None
    gpu_reason: str
    gpus: tuple[GPUFit, ...]
    speed: Speed
    prompt_speed: str
    remarks: tuple[str, ...]
    arguments: tuple[str, ...]
    next: str

    def __str__(self) -> str:
        from toolkit.sizing.table import table

        return "\n".join(map(cleaned, table(self)))

    def _repr_html_(self) -> str:
        from toolkit.sizing.table import sizing_html

        return sizing_html(self, psutil.virtual_memory().total)
