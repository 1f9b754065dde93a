"""What is compared: the cases by name, their sides, and how each figure is read.

The bars are the project's own (DESIGN, performance). A case that has none is reported.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Literal

from tests.performance import measures
from tests.performance.cancels import cancels
from tests.performance.embeddings import Embeddings, OllamaEmbedWire, OpenAIEmbedWire
from tests.performance.gateway import Behind, Overhead, real, stand_in
from tests.performance.measures import Throughput
from tests.performance.programs import Program, Setting, llama_cpp_python, llama_server, ours, vllm
from tests.performance.sides import (
    DECODE_SEQUENCES,
    Client,
    Measure,
    Served,
    Side,
    Started,
    bare_decode,
    first_token,
    our_decode,
)
from tests.performance.wires import OpenAIChatWire, VllmWire, Wire

OURS, LLAMA_SERVER = "akash-llm", "llama-server"
Q8, Q4 = f"{OURS} q8_0", f"{OURS} q4_0"
CLIENT = "bench client"
GATEWAY, GATEWAY_CHAT, STAND_IN, VLLM = "gateway", "gateway chat", "stand-in", "vllm"

# How a bar is meant: of the ratio or the difference to the peer in the same round, or of our
# own figure, its median or its worst.
Held = Literal["ratio", "difference", "median", "worst"]
Make = Callable[[Setting], Side]


@dataclass(frozen=True)
class Figure:
    """One row of the report: a figure of one of our sides, and of a peer if there is one.
    `peer_key`: the peer was measured in our own side's turns, and its figure is called so."""

    key: str
    name: str
    unit: str
    is_more_better: bool = True
    bar: float | None = None
    held: Held = "ratio"
    ours: str = OURS
    peer: str | None = LLAMA_SERVER
    peer_key: str | None = None


@dataclass(frozen=True)
class Case:
    """What is measured the same way on every side. `most_rounds`: more would show nothing."""

    name: str
    about: str
    sides: Mapping[str, Make]
    figures: Sequence[Figure]
    most_rounds: int | None = None


def _ours(measure: Measure, slots: int, context: int, *flags: str) -> Make:
    return lambda setting: Served(ours(setting, slots, context, *flags), measure)


def _llama_server(measure: Measure, slots: int, context: int, *flags: str) -> Make:
    return lambda setting: Served(llama_server(setting, slots, context, *flags), measure)


def _both(measure: Measure, slots: int, context: int) -> dict[str, Make]:
    return {
        OURS: _ours(measure, slots, context),
        LLAMA_SERVER: _llama_server(measure, slots, context),
    }


def _streams(count: int, name: str) -> Figure:
    bar = 0.97 if count == 16 else 1.0
    return Figure(str(count), name, "tok/s", bar=bar)


def _own_slots(count: int) -> Case:
    return Case(
        f"streams-{count}",
        f"generated tokens, {count} of {count} slots",
        _both(Throughput(count), count, 1024),
        [_streams(count, f"{count} of {count} slots")],
    )


def _behind(upstream: Callable[[Setting], Program], wire: Wire, measure: Overhead) -> Make:
    return lambda setting: Behind(upstream(setting), setting.home, wire, measure)


def _added(side: str, peer: str, what: str) -> list[Figure]:
    """What a gateway may cost: 2 ms to the first token, a twentieth of the tokens."""

    def against(key: str, name: str, unit: str, bar: float, held: Held) -> Figure:
        is_ratio = held == "ratio"
        return Figure(key, f"{name}, {what}", unit, is_ratio, bar, held, side, peer, f"bare {key}")

    def own(key: str, name: str, unit: str) -> Figure:
        return Figure(key, f"{name}, {what}", unit, False, None, "median", side, None)

    return [
        against("first p50", "first token p50", "ms", 2, "difference"),
        against("first p95", "first token p95", "ms", 2, "difference"),
        against("tokens", "32 streams", "tok/s", 0.95, "ratio"),
        own("cpu", "CPU of the gateway a token", "µs"),
        own("memory", "memory of the gateway", "MiB"),
    ]


def _of_client(key: str, name: str, unit: str, bar: float | None) -> Figure:
    return Figure(key, name, unit, False, bar, "median", CLIENT, peer=None)


CASES = (
    Case(
        "streams",
        "generated tokens, 1 to 16 of 16 slots",
        _both(Throughput(1, 4, 8, 16), 16, 1024),
        [_streams(count, f"{count} of 16 slots") for count in (1, 4, 8, 16)],
    ),
    *map(_own_slots, (1, 4, 8)),
    Case(
        "decode",
        "decoding in the runner's loop against a loop in C, no HTTP",
        {OURS: our_decode, "llama-batched-bench": bare_decode},
        [
            Figure(str(n), f"{n} sequences", "tok/s", bar=0.97, peer="llama-batched-bench")
            for n in DECODE_SEQUENCES
        ],
    ),
    Case(
        "prefix",
        "time to first token, 8 streams, 300 new words shared by all, 40 of their own",
        _both(measures.prefix, 16, 1024),
        [
            Figure("p95", "first token p95", "s", False, 0.35),
            Figure("p50", "first token p50", "s", False),
        ],
    ),
    Case(
        "llama-cpp-python",
        "8 streams, twice, against llama-cpp-python's own server",
        {
            OURS: _ours(measures.survival, 8, 1024),
            "llama-cpp-python": lambda setting: Served(
                llama_cpp_python(setting, 1024), measures.survival
            ),
        },
        [
            Figure("tokens", "8 streams", "tok/s", bar=3, peer="llama-cpp-python"),
            Figure("failed", "failed of 16", "", False, 0, "worst", peer="llama-cpp-python"),
        ],
    ),
    Case(
        "vllm",
        "8 streams against vLLM's CPU build in bf16; ours requantized, and as given",
        {
            Q8: _ours(Throughput(8), 8, 1024, "--requantize", "q8_0"),
            OURS: _ours(Throughput(8), 8, 1024),
            "vllm": lambda setting: Served(vllm(setting, 8, 1024), Throughput(8)),
        },
        [
            Figure("8", "8 streams, q8_0", "tok/s", bar=1.0, ours=Q8, peer="vllm"),
            Figure("8", "8 streams, as given", "tok/s", peer="vllm"),
        ],
    ),
    Case(
        "requantize",
        "prompts and 8 streams, ours requantized, llama-server on the file as given",
        {
            Q8: _ours(measures.prompt_speed, 8, 1024, "--requantize", "q8_0"),
            Q4: _ours(measures.prompt_speed, 8, 1024, "--requantize", "q4_0"),
            LLAMA_SERVER: _llama_server(measures.prompt_speed, 8, 1024),
        },
        [
            Figure("prompt", "prompt, q8_0", "tok/s", bar=2.0, ours=Q8),
            Figure("tokens", "8 streams, q8_0", "tok/s", bar=1.4, ours=Q8),
            Figure("prompt", "prompt, q4_0", "tok/s", bar=2.0, ours=Q4),
            Figure("tokens", "8 streams, q4_0", "tok/s", bar=1.4, ours=Q4),
        ],
    ),
    Case(
        "long",
        "prompts of 1,500 tokens while 4 streams run",
        _both(measures.long_prompts, 8, 4096),
        [
            Figure("first", "first token of the long prompt", "s", False),
            Figure("gap", "longest gap of a running stream", "s", False),
            Figure("tokens", "the 4 running streams meanwhile", "tok/s"),
        ],
    ),
    Case(
        "embed",
        "embeddings of texts of 60 words",
        {
            OURS: _ours(Embeddings(OllamaEmbedWire()), 8, 1024),
            LLAMA_SERVER: _llama_server(
                Embeddings(OpenAIEmbedWire()), 8, 1024, "--embeddings", "--pooling", "mean"
            ),
        },
        [
            Figure("batch", "32 texts in one request", "texts/s"),
            Figure("clients", "8 clients, a text a request", "texts/s"),
        ],
    ),
    Case(
        "memory",
        "memory of all processes, 16 × 1,024 tokens, fresh and when every window was full",
        _both(measures.memory, 16, 1024),
        [
            Figure("fresh pss", "fresh, PSS", "MiB", False, 1.25),
            Figure("loaded pss", "after the load, PSS", "MiB", False, 0.6),
            Figure("fresh rss", "fresh, RSS", "MiB", False),
            Figure("loaded rss", "after the load, RSS", "MiB", False),
        ],
        most_rounds=2,
    ),
    Case(
        "start",
        "process start to first token, file in the page cache",
        {
            OURS: lambda setting: Started(ours(setting, 16, 1024), first_token),
            LLAMA_SERVER: lambda setting: Started(llama_server(setting, 16, 1024), first_token),
        },
        [Figure("start", "start to first token", "s", False, 0.7, "difference")],
    ),
    Case(
        "http-cpu",
        "CPU time of the HTTP process for a streamed token",
        {OURS: _ours(measures.http_cpu, 16, 1024)},
        [
            Figure("1", "1 stream", "µs", False, 300, "median", peer=None),
            Figure("8", "8 streams", "µs", False, 80, "median", peer=None),
            Figure("16", "16 streams", "µs", False, 80, "median", peer=None),
        ],
    ),
    Case(
        "cancel",
        "from a closed connection to a free slot, ten times each",
        {OURS: _ours(cancels, 4, 2048)},
        [
            Figure("decode p50", "in decode, p50", "ms", False, 100, "median", peer=None),
            Figure("decode max", "in decode, longest", "ms", False, 100, "worst", peer=None),
            Figure("prompt p50", "in a long prompt, p50", "ms", False, 100, "median", peer=None),
            Figure("prompt max", "in a long prompt, longest", "ms", False, 100, "worst", peer=None),
        ],
    ),
    Case(
        "bench-client",
        "what the client of a benchmark adds to a chunk, 200 streams of stamped chunks",
        {CLIENT: lambda _: Client(200)},
        [
            _of_client("cpu", "CPU a chunk", "µs", 1000),
            _of_client("late p50", "noted after it was sent, p50", "ms", 1),
            _of_client("late p99", "noted after it was sent, p99", "ms", None),
        ],
        most_rounds=3,
    ),
    Case(
        "gateway",
        "our gateway before what speaks vLLM's wire, a token each 10 ms, against that alone",
        {
            GATEWAY: _behind(stand_in, VllmWire(), Overhead(firsts=100, tokens=256)),
            GATEWAY_CHAT: _behind(stand_in, OpenAIChatWire(), Overhead(firsts=100, tokens=256)),
        },
        [
            *_added(GATEWAY, STAND_IN, "a completion"),
            *_added(GATEWAY_CHAT, STAND_IN, "a chat"),
        ],
    ),
    Case(
        "gateway-vllm",
        "our gateway before vLLM's CPU build, against that alone",
        {GATEWAY: _behind(real, VllmWire(), Overhead(firsts=40, tokens=64))},
        _added(GATEWAY, VLLM, "a completion"),
        most_rounds=3,
    ),
)

# What another shape of model is worth measuring with.
OF_A_SHAPE = "streams*,prefix,memory"


def chosen(patterns: str) -> list[Case]:
    """The cases that a comma list of names or patterns selects, in their order. Raises
    ValueError for a part that selects none."""
    parts = [part.strip() for part in patterns.split(",") if part.strip()]
    for part in parts:
        if not any(fnmatch(case.name, part) for case in CASES):
            raise ValueError(f"no case is named {part}; --list shows them")
    return [case for case in CASES if any(fnmatch(case.name, part) for part in parts)]
