"""How fast tokens may come: what has to be read for each, against how fast memory is read.

An estimate and nothing more. For each step the weights that are used are read once, for each
request its own cache as well; of the bandwidth on the data sheet a part is reached.
"""

from server.models.footprint import cache_bytes
from toolkit.sizing.demand import Ask, Spread, llama_use
from toolkit.sizing.result import Speed
from toolkit.sizing.subject import Subject

GPU_SHARE = 0.6
CPU_SHARE = 0.7
# Of what several GPUs read together, the part that waiting for each other leaves.
TENSOR_SHARE = 0.8
# What one core of a rented processor reads, and what a deployment may hope for in all.
CORE_GBPS = 5
MOST_CPU_GBPS = 60


def on_gpu(subject: Subject, ask: Ask, spread: Spread, bandwidth_gbps: int) -> Speed:
    """With weights on GPUs. Layers that lie on different ones are read one after the other."""
    together = 1.0 if spread.tensor == 1 else spread.tensor * TENSOR_SHARE
    share = f"{GPU_SHARE:.0%} of {bandwidth_gbps} GB/s" + (
        f" × {spread.tensor} GPUs × {TENSOR_SHARE:g}" if spread.tensor > 1 else ""
    )
    return _speed(subject, ask, GPU_SHARE * bandwidth_gbps * together, share)


def on_cpu(subject: Subject, ask: Ask, cores: int) -> Speed:
    """On a processor, of which nobody knows which it will be."""
    bandwidth = min(cores * CORE_GBPS, MOST_CPU_GBPS)
    share = f"{CPU_SHARE:.0%} of an assumed {bandwidth} GB/s ({cores} cores)"
    speed = _speed(subject, ask, CPU_SHARE * bandwidth, share)
    if not speed.one:
        return speed
    note = "; a processor that computes slower than it reads reaches less with several requests"
    return Speed(speed.one, speed.all, speed.reason + note)


def _speed(subject: Subject, ask: Ask, gbps: float, share: str) -> Speed:
    if subject.shape.only_embeds:
        return Speed(0.0, 0.0, "it gives vectors and generates no tokens")
    kept = cache_bytes(subject.shape, llama_use(_half_full(ask))) // max(ask.parallel, 1)
    one = _rate(1, gbps, read_bytes(subject, 1), kept)
    everyone = _rate(ask.parallel, gbps, read_bytes(subject, ask.parallel), kept)
    reason = (
        f"estimate: tokens/s = requests × {share} ÷ (weights that a step uses + a half-full "
        "cache of each request)"
    )
    return Speed(one, everyone, reason)


def _half_full(ask: Ask) -> Ask:
    kv = "q8_0" if ask.kv == "fp8" else ask.kv
    return Ask(context=max(1, ask.context // 2), parallel=ask.parallel, kv=kv)


def _rate(requests: int, gbps: float, weights: float, kept: int) -> float:
    step_bytes = weights + requests * kept
    return round(requests * gbps * 1e9 / step_bytes, 1) if step_bytes else 0.0


def read_bytes(subject: Subject, requests: int) -> float:
    """Weights that a step of so many requests reads: of the experts those that one of them
    uses, if each chooses at random."""
    shape = subject.shape
    rest = subject.weights_bytes - subject.expert_bytes - subject.lookup_bytes
    if not subject.expert_bytes or not shape.experts:
        return max(rest + subject.expert_bytes, 0)
    used: float = 1 - (1 - min(1, shape.experts_used / shape.experts)) ** requests
    return max(rest, 0) + subject.expert_bytes * used
