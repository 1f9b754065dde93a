"""`size`: what a model needs, put together, with the command that deploys it so."""

import math
import shlex
from collections.abc import Iterable

import msgspec

from server.models.footprint import size_of
from server.models.sources import Registries
from toolkit.errors import CapacityError, UsageError
from toolkit.gpus import GPU
from toolkit.sizing import fitting, speed
from toolkit.sizing.demand import CACHES, ENGINES, Ask, Engine, Parts, parts
from toolkit.sizing.result import GIB, GPUFit, Quantity, Sizing, Speed
from toolkit.sizing.subject import Subject, find_gguf
from toolkit.sizing.transformers import find_transformers, is_folder

# From here on reading along is no waiting: then a processor will do.
READING_SPEED = 10.0
CPU_CORES = 8
# So large are models that only embed and do so on processors.
_SMALL_BYTES = GIB
REQUANTIZED = ("q8_0", "q4_0")
_MIB = 1 << 20
_HTTP_BYTES = 192 * _MIB
_ALTERNATIVES = 4
_PROMPT = (
    "not estimated: computing limits it, of which the table of GPUs says nothing; "
    "`akash-llm bench run` measures it"
)


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
    storage = _storage(given, subject.file_bytes if requantize else 0)
    made = _put_together(subject, ask, fits, gpu, storage, requantize)
    return msgspec.structs.replace(made, gpu_reason=_gpu_reason(gpu, on_cpu))


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
    return ask.engine != "vllm" and _cpu_speed(subject, ask).one >= READING_SPEED


def _cpu_speed(subject: Subject, ask: Ask) -> Speed:
    return speed.on_cpu(subject, ask, CPU_CORES)


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


def _gpu_reason(gpu: GPUFit | None, on_cpu: bool) -> str:
    if gpu is not None:
        return f"{gpu.needed.text} of {gpu.usable / GIB:.1f} GiB usable on each"
    return "none was asked for" if on_cpu else "a processor is quick enough"


# -- what to ask for


def _put_together(
    subject: Subject,
    ask: Ask,
    fits: tuple[GPUFit, ...],
    gpu: GPUFit | None,
    storage: Quantity,
    requantize: str,
) -> Sizing:
    taken = parts(subject, ask, on_gpu=gpu is not None)
    shm = _shm(ask, gpu)
    memory = _memory(subject, ask, taken, gpu, shm)
    cpu, cpu_reason = _cpu(ask, gpu)
    arguments = _arguments(ask, gpu, requantize)
    remarks = (*subject.remarks, *_remarks(subject, ask, gpu))
    sizing = Sizing(
        model=subject.name,
        engine=ask.engine,
        architecture=subject.shape.architecture,
        parameters=subject.parameters,
        precision=subject.precision,
        context=ask.context,
        parallel=ask.parallel,
        kv=ask.kv,
        weights=taken.weights,
        cache=taken.cache,
        cache_per_token=taken.cache_per_token,
        compute=taken.compute,
        overhead=taken.overhead,
        memory=memory,
        storage=storage,
        shm=shm,
        cpu=cpu,
        cpu_reason=cpu_reason,
        gpu=gpu,
        gpu_reason="",
        gpus=fits,
        speed=gpu.speed if gpu else _cpu_speed(subject, ask),
        prompt_speed=_PROMPT,
        remarks=remarks,
        arguments=arguments,
        next="",
    )
    return msgspec.structs.replace(sizing, next=_next(sizing))


def _memory(
    subject: Subject, ask: Ask, taken: Parts, gpu: GPUFit | None, shm: Quantity
) -> Quantity:
    if gpu is None:
        needed = taken.total + _HTTP_BYTES
        reason = "all of the above, the HTTP process, and 5% to spare"
        return Quantity(_whole(needed * 21 // 20, 256 * _MIB), reason)
    if ask.engine == "vllm":
        needed = (4 + 3 * gpu.count) * GIB + shm.bytes
        reason = (
            f"4 GiB and 3 GiB for each GPU ({gpu.count}) while weights are read (estimate), "
            "and /dev/shm, which counts as memory"
        )
        return Quantity(_whole(needed, GIB), reason)
    needed = 2 * GIB + _HTTP_BYTES + subject.shape.vocab * 320
    reason = (
        "the processes and the host's side of CUDA (estimate); the weights go to the GPU, the "
        "file's pages are given back when they are needed"
    )
    return Quantity(_whole(needed, 256 * _MIB), reason)


def _storage(subject: Subject, rewritten: int) -> Quantity:
    """A download is written where it stays, so the model is there once."""
    reason = "the model once, for a download is written where it stays; 10% and 1 GiB to spare"
    if rewritten:
        reason = (
            "the model as it comes and rewritten, which is kept as well; 10% and 1 GiB to spare"
        )
    return Quantity(_whole((subject.file_bytes + rewritten) * 11 // 10 + GIB, GIB), reason)


def _shm(ask: Ask, gpu: GPUFit | None) -> Quantity:
    if ask.engine != "vllm" or gpu is None:
        return Quantity(0, "only vLLM needs more than a container has")
    if gpu.count == 1:
        return Quantity(
            GIB, "vLLM's processes talk through /dev/shm, of which a container has 64 MiB"
        )
    large = 32 if gpu.count > 4 else 10
    return Quantity(
        large * GIB, f"{gpu.count} GPUs exchange through /dev/shm: as is usual for so many"
    )


def _cpu(ask: Ask, gpu: GPUFit | None) -> tuple[int, str]:
    if gpu is None:
        return CPU_CORES, f"so many read about {CPU_CORES * speed.CORE_GBPS} GB/s (assumed)"
    if ask.engine == "vllm":
        return 4 + 2 * gpu.count, "4 for the API and tokens, 2 for the process of each GPU"
    return 4, "the GPU computes; 4 for HTTP, tokens and sampling"


def _arguments(ask: Ask, gpu: GPUFit | None, requantize: str) -> tuple[str, ...]:
    """What the engine itself is to be told, beside the model."""
    if ask.engine != "vllm" or gpu is None:
        kept = () if ask.kv == "f16" else ("--cache-type-k", ask.kv, "--cache-type-v", ask.kv)
        return (*kept, *(("--requantize", requantize) if requantize else ()))
    arguments = ["--max-model-len", str(ask.context), "--max-num-seqs", str(ask.parallel)]
    arguments += ["--gpu-memory-utilization", f"{gpu.utilization}"]
    if gpu.tensor_parallel > 1:
        arguments += ["--tensor-parallel-size", str(gpu.tensor_parallel)]
    if gpu.pipeline_parallel > 1:
        arguments += ["--pipeline-parallel-size", str(gpu.pipeline_parallel)]
    if ask.kv == "fp8":
        arguments += ["--kv-cache-dtype", "fp8"]
    return tuple(arguments)


def _remarks(subject: Subject, ask: Ask, gpu: GPUFit | None) -> list[str]:
    remarks = []
    trained = subject.shape.context
    if trained and ask.context > trained:
        remarks.append(f"the model was made for {trained} tokens: more are not kept")
    if gpu is None and subject.precision.startswith(("Q4_0", "Q4_K", "IQ4_NL")):
        remarks.append(
            "llama.cpp copies weights of this type into a layout for the processor; the file's "
            "pages show as used until the space is needed"
        )
    if ask.engine == "ollama":
        remarks.append(f"start it with OLLAMA_NUM_PARALLEL={ask.parallel} and this num_ctx")
    if gpu is not None and ask.engine == "vllm" and not _has_bf16(gpu):
        remarks.append(f"{gpu.gpu} has no bfloat16: add --dtype half")
    return remarks


def _has_bf16(fit: GPUFit) -> bool:
    [found] = fitting.chosen([fit.gpu])
    return found.has_bf16


def _whole(count: int, step: int) -> int:
    return math.ceil(count / step) * step


# -- what to type


def _next(sizing: Sizing) -> str:
    """The command that renders this, with the cards that would do as well."""
    words = ["akash-llm", "sdl", "render"]
    if sizing.engine != "llama-cpp":
        words += ["--template", sizing.engine]
    words += ["--image", "IMAGE:TAG", "--key-file", "api.key", "--model", sizing.model]
    words += ["--context", str(sizing.context), "--parallel", str(sizing.parallel)]
    words += ["--cpu", str(sizing.cpu), "--memory", sdl_size(sizing.memory.bytes)]
    words += ["--storage", sdl_size(sizing.storage.bytes)]
    if sizing.gpu is not None:
        words += ["--gpu", str(sizing.gpu.count)]
        for card in _alternatives(sizing.gpu, sizing.gpus):
            words += ["--gpu-model", card]
    if sizing.engine == "llama-cpp":
        for name, value in zip(sizing.arguments[::2], sizing.arguments[1::2], strict=True):
            variable = name.removeprefix("--").replace("-", "_").upper()
            words += ["--env", f"AKASH_LLM_{variable}={value}"]
    return shlex.join(words)


def _alternatives(gpu: GPUFit, fits: tuple[GPUFit, ...]) -> list[str]:
    """This card and the next larger ones of which as many do."""
    cards = [f"{fit.gpu}/{fit.ram}" for fit in fits if fit.count == gpu.count]
    wanted = f"{gpu.gpu}/{gpu.ram}"
    return list(dict.fromkeys([wanted, *cards]))[:_ALTERNATIVES]


def sdl_size(count: int) -> str:
    """Bytes as an SDL writes them: whole GiB, or MiB."""
    return f"{count // GIB}Gi" if count % GIB == 0 else f"{math.ceil(count / _MIB)}Mi"
