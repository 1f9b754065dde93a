"""What to ask for in an SDL so that a model has room, and the command that renders it."""

import math
import shlex

import msgspec

from toolkit.sizing import fitting, speed
from toolkit.sizing.demand import Ask, Parts, parts
from toolkit.sizing.result import GPUFit, Quantity, Sizing, Speed
from toolkit.sizing.subject import Subject
from toolkit.units import GIB, MIB, sdl_size

CPU_CORES = 8
_HTTP_BYTES = 192 * MIB
_ALTERNATIVES = 4
_PROMPT = (
    "not estimated: computing limits it, of which the table of GPUs says nothing; "
    "`akash-llm bench run` measures it"
)


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """On what a model is to run: `gpu`, or a processor for None, and why; of `fits`.

    `requantize` is the type that its weights are rewritten in, `given` what they were.
    """

    gpu: GPUFit | None
    fits: tuple[GPUFit, ...]
    reason: str
    requantize: str
    given: Subject


def put_together(subject: Subject, ask: Ask, choice: Choice) -> Sizing:
    """All of it, with the command."""
    gpu = choice.gpu
    taken = parts(subject, ask, on_gpu=gpu is not None)
    shm = _shm(ask, gpu)
    memory = _memory(subject, ask, taken, gpu, shm)
    cpu, cpu_reason = _cpu(ask, gpu)
    arguments = _arguments(ask, gpu, choice.requantize)
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
        storage=_storage(choice.given, subject.file_bytes if choice.requantize else 0),
        shm=shm,
        cpu=cpu,
        cpu_reason=cpu_reason,
        gpu=gpu,
        gpu_reason=choice.reason,
        gpus=choice.fits,
        speed=gpu.speed if gpu else cpu_speed(subject, ask),
        prompt_speed=_PROMPT,
        remarks=remarks,
        arguments=arguments,
        next="",
    )
    return msgspec.structs.replace(sizing, next=_next(sizing))


def cpu_speed(subject: Subject, ask: Ask) -> Speed:
    """With as many cores as are asked for where there is no GPU."""
    return speed.on_cpu(subject, ask, CPU_CORES)


def _memory(
    subject: Subject, ask: Ask, taken: Parts, gpu: GPUFit | None, shm: Quantity
) -> Quantity:
    if gpu is None:
        needed = taken.total + _HTTP_BYTES
        reason = "all of the above, the HTTP process, and 5% to spare"
        return Quantity(_whole(needed * 21 // 20, 256 * MIB), reason)
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
    return Quantity(_whole(needed, 256 * MIB), reason)


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
    if gpu.count > 1:
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
    words = ["akash-llm", "sdl", "render", *_access(sizing), "--model", sizing.model]
    words += ["--context", str(sizing.context), "--parallel", str(sizing.parallel)]
    # What goes to /dev/shm is said on its own there.
    memory = sizing.memory.bytes - sizing.shm.bytes
    words += ["--cpu", str(sizing.cpu), "--memory", sdl_size(memory)]
    words += ["--storage", sdl_size(sizing.storage.bytes)]
    if sizing.shm.bytes:
        words += ["--shm", sdl_size(sizing.shm.bytes)]
    if sizing.gpu is not None:
        words += ["--gpu", str(sizing.gpu.count)]
        for card in _alternatives(sizing.gpu, sizing.gpus):
            words += ["--gpu-model", card]
    return shlex.join([*words, *_told(sizing)])


def _access(sizing: Sizing) -> list[str]:
    """The template, and what it needs to keep strangers out."""
    if sizing.engine == "llama-cpp":
        return ["--image", "REGISTRY/akash-llm-server:VERSION", "--key-file", "api.key"]
    image = "REGISTRY/akash-llm-gateway:VERSION"
    return ["--template", sizing.engine, "--image", image, "--key-file", "api.key"]


def _told(sizing: Sizing) -> list[str]:
    """What the engine is told. What its template says already counts as it is said last."""
    if sizing.engine == "vllm":
        return [f"--engine-arg={word}" for word in sizing.arguments]
    return [word for pair in _variables(sizing) for word in ("--env", pair)]


def _variables(sizing: Sizing) -> list[str]:
    if sizing.engine == "ollama":
        kept = ["OLLAMA_FLASH_ATTENTION=1", f"OLLAMA_KV_CACHE_TYPE={sizing.kv}"]
        return kept if sizing.kv != "f16" else []
    pairs = zip(sizing.arguments[::2], sizing.arguments[1::2], strict=True)
    named = ((name.removeprefix("--").replace("-", "_").upper(), value) for name, value in pairs)
    return [f"AKASH_LLM_{name}={value}" for name, value in named]


def _alternatives(gpu: GPUFit, fits: tuple[GPUFit, ...]) -> list[str]:
    """This card and the next larger ones of which as many do."""
    cards = [f"{fit.gpu}/{fit.ram}" for fit in fits if fit.count == gpu.count]
    wanted = f"{gpu.gpu}/{gpu.ram}"
    return list(dict.fromkeys([wanted, *cards]))[:_ALTERNATIVES]
