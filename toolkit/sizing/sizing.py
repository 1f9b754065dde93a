"""`size`: what a model needs, with the command that deploys it so."""

from collections.abc import Iterable

import msgspec

from server.models.footprint import size_of
from server.models.sources import Registries
from toolkit.errors import CapacityError, UsageError
from toolkit.gpus import GPU
from toolkit.sizing import fitting
from toolkit.sizing.demand import CACHES, ENGINES, Ask, Engine
from toolkit.sizing.resources import Choice, cpu_speed, put_together
from toolkit.sizing.result import GPUFit, Sizing
from toolkit.sizing.subject import Subject, find_gguf
from toolkit.sizing.transformers import find_transformers, is_folder
from toolkit.units import GIB

# From here on reading along is no waiting: then a processor will do.
READING_SPEED = 10.0
# So large are models that only embed and do so on processors.
_SMALL_BYTES = GIB
REQUANTIZED = ("q8_0", "q4_0")


async def size(
    model: str,
    *,
    context: int = 2048,
    parallel: int = 4,
    kv: str = "f16",
    engine: Engine = "llama-cpp",
    gpus: Iterable[str] = (),
    on_cpu: bool = False,
    requantize: str = "",
    registries: Registries | None = None,
) -> Sizing:
    """What a model needs to serve `parallel` requests of `context` tokens each.

    `model` is a GGUF file, a name in the store of this machine or in a registry, or
    `hf://user/repo/file.gguf`; for vLLM a folder with a `config.json` or `user/repo` on Hugging
    Face. Of models elsewhere only the description is fetched. `gpus` are the ones that may be
    used, all for none; `on_cpu` asks for a processor alone. `requantize` is the type that the
    server rewrites the weights in.

    Raises `UsageError` for what cannot be meant, `ConfigError` for a model that cannot be read,
    `CapacityError` for one that fits nothing, each with what to do.
    """
    names = tuple(gpus)
    ask = Ask(engine=engine, context=context, parallel=parallel, kv=kv)
    _check(ask, on_cpu, requantize)
    cards = fitting.chosen(names)
    subject = await _find(model, ask, registries or Registries.parse())
    given = subject
    if requantize:
        subject = _requantized(subject, requantize)
    fits = fitting.fitting(subject, ask, cards)
    gpu = _chosen(subject, ask, fits, on_cpu=on_cpu, is_asked=bool(names))
    if gpu is None and not on_cpu and (names or engine == "vllm" or not fits):
        raise _too_large(subject, ask, cards, is_asked=bool(names))
    choice = Choice(
        gpu=gpu,
        fits=fits,
        reason=_reason(gpu, on_cpu),
        requantize=requantize,
        given=given,
    )
    return put_together(subject, ask, choice)


def _check(ask: Ask, on_cpu: bool, requantize: str) -> None:
    if ask.engine not in ENGINES:
        raise UsageError(
            f"there is no engine called {ask.engine!r}", hint=f"there are: {', '.join(ENGINES)}"
        )
    if ask.kv not in CACHES[ask.engine]:
        raise UsageError(
            f"{ask.engine} keeps no cache in {ask.kv!r}",
            hint=f"it has: {', '.join(CACHES[ask.engine])}",
        )
    if not (0 < ask.context <= 1 << 27 and 0 < ask.parallel <= 1 << 12):
        raise UsageError(
            f"{ask.parallel} requests of {ask.context} tokens cannot be served", hint="try 4 × 2048"
        )
    if on_cpu and ask.engine == "vllm":
        raise UsageError("vLLM is sized for GPUs only", hint="use --engine llama-cpp with --cpu")
    if requantize and (requantize not in REQUANTIZED or ask.engine != "llama-cpp"):
        raise UsageError(
            f"{ask.engine} does not rewrite weights in {requantize!r}",
            hint=f"llama-cpp does in: {', '.join(REQUANTIZED)}",
        )


async def _find(model: str, ask: Ask, registries: Registries) -> Subject:
    is_file = model.split("@", maxsplit=1)[0].endswith(".gguf")
    if ask.engine == "vllm" and is_file:
        raise UsageError(
            "vLLM is sized for safetensors, not for GGUF files",
            hint="name a folder or user/repo, or use --engine llama-cpp",
        )
    if is_folder(model) or ask.engine == "vllm" or (model.startswith("hf://") and not is_file):
        found = await find_transformers(model)
    else:
        found = await find_gguf(model, registries)
    if found.is_gguf or ask.engine == "vllm":
        return found
    remark = "it has to be converted to GGUF first; sized as it is, with 16 bits a weight or fewer"
    return msgspec.structs.replace(found, remarks=(*found.remarks, remark))


def _requantized(subject: Subject, kind: str) -> Subject:
    """The weights as the server rewrites them: tables and output in 8 bits at least."""
    table = min(subject.shape.vocab * subject.shape.width, subject.parameters)
    new = size_of(kind, subject.parameters - table) + size_of("q8_0", table)
    share = new / max(subject.weights_bytes, 1)
    return msgspec.structs.replace(
        subject,
        weights_bytes=new,
        file_bytes=new,
        expert_bytes=int(subject.expert_bytes * share),
        lookup_bytes=int(subject.lookup_bytes * share),
        precision=kind.upper(),
        is_exact=False,
    )


# -- on what it runs


def _chosen(
    subject: Subject, ask: Ask, fits: tuple[GPUFit, ...], *, on_cpu: bool, is_asked: bool
) -> GPUFit | None:
    """The smallest GPUs, unless a processor is asked for or fast enough."""
    if on_cpu or not fits:
        return None
    return None if _is_quick(subject, ask) and not is_asked else fits[0]


def _is_quick(subject: Subject, ask: Ask) -> bool:
    """Whether a processor will do."""
    if subject.shape.only_embeds:
        return ask.engine != "vllm" and subject.weights_bytes < _SMALL_BYTES
    return ask.engine != "vllm" and cpu_speed(subject, ask).one >= READING_SPEED


def _too_large(
    subject: Subject, ask: Ask, cards: tuple[GPU, ...], *, is_asked: bool
) -> CapacityError:
    """The error for what fits nowhere, with the first thing that would help."""
    largest = max(
        ((card.memory_gib, gpu.name) for gpu in cards for card in gpu.variants), default=(0, "")
    )
    needed = fitting.total_bytes(subject, ask) / GIB
    message = (
        f"{subject.name} with {ask.parallel} × {ask.context} tokens needs about {needed:.0f} GiB, "
        f"more than {fitting.MOST_GPUS} × {largest[1]} ({largest[0]} GiB each) hold"
    )
    shorter = fitting.longest_context(subject, ask, cards)
    if shorter:
        smaller = next(
            (kv for kv in CACHES[ask.engine] if fitting.fitting(subject, _with(ask, kv), cards)), ""
        )
        other = f" or use --kv {smaller}" if smaller else ""
        return CapacityError(message, hint=f"lower --context to {shorter}{other}")
    hint = "use other GPUs, or a smaller quantization" if is_asked else "use a smaller quantization"
    return CapacityError(message, hint=f"{hint} of the model")


def _with(ask: Ask, kv: str) -> Ask:
    return msgspec.structs.replace(ask, kv=kv)


def _reason(gpu: GPUFit | None, on_cpu: bool) -> str:
    if gpu is not None:
        return f"{gpu.needed.text} of {gpu.usable / GIB:.1f} GiB usable on each"
    return "none was asked for" if on_cpu else "a processor is quick enough"
