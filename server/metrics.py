"""What a server tells Prometheus: the names, their meaning, and where each comes from.

Everything is read when it is asked for; nothing is counted here and nothing is global. What
passes the edge has its own table in `server.traffic_metrics`.
Counters belong to the model, not to its process: they go on where they were after a
crash or an unload.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple, Protocol

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from server.engine.tally import ModelCounts
from server.traffic import Traffic
from server.traffic_metrics import TRAFFIC_METRICS, families

PREFIX = "akash_llm_"
MEDIA_TYPE = CONTENT_TYPE_PLAIN_0_0_4


class Source(Protocol):
    """Who knows: the core of a server."""

    def counts(self) -> Sequence[tuple[str, ModelCounts]]:
        """Every model that was asked for, by the name that it was first asked for with."""

    @property
    def memory_budget_bytes(self) -> int | None:
        """What models may take together; None if nothing bounds it."""


class ModelMetric(NamedTuple):
    """A metric with the label `model`."""

    name: str
    kind: Literal["gauge", "counter"]
    help: str
    read: Callable[[ModelCounts], float]

    @property
    def full_name(self) -> str:
        return PREFIX + self.name + ("_total" if self.kind == "counter" else "")


METRICS: tuple[ModelMetric, ...] = (
    ModelMetric("requests_running", "gauge", "requests in a slot", lambda c: c.stats.num_running),
    ModelMetric("requests_waiting", "gauge", "requests without one", lambda c: c.stats.num_waiting),
    ModelMetric(
        "cache_cells_used", "gauge", "tokens in the cache", lambda c: c.stats.num_cells_used
    ),
    ModelMetric("cache_cells", "gauge", "tokens that fit into it", lambda c: c.stats.num_cells),
    ModelMetric(
        "parked_bytes",
        "gauge",
        "prefixes kept outside of the slots",
        lambda c: c.stats.parked_bytes,
    ),
    ModelMetric("steps", "counter", "steps of the engine", lambda c: c.stats.num_steps),
    ModelMetric(
        "prompt_tokens",
        "counter",
        "tokens of prompts, cached ones too",
        lambda c: c.stats.prompt_tokens,
    ),
    ModelMetric(
        "cached_tokens",
        "counter",
        "those of them that need not be computed",
        lambda c: c.stats.cached_tokens,
    ),
    ModelMetric("output_tokens", "counter", "tokens generated", lambda c: c.stats.output_tokens),
    ModelMetric(
        "shifted_tokens",
        "counter",
        "tokens dropped from full windows",
        lambda c: c.stats.shifted_tokens,
    ),
    ModelMetric(
        "preemptions",
        "counter",
        "requests that gave up their slot",
        lambda c: c.stats.num_preempted,
    ),
    ModelMetric("parked", "counter", "prefixes moved out of a slot", lambda c: c.stats.num_parked),
    ModelMetric(
        "restored", "counter", "prefixes moved back into one", lambda c: c.stats.num_restored
    ),
    ModelMetric(
        "drafted_tokens",
        "counter",
        "tokens guessed by speculation",
        lambda c: c.stats.drafted_tokens,
    ),
    ModelMetric(
        "accepted_tokens",
        "counter",
        "those of them that were right",
        lambda c: c.stats.accepted_tokens,
    ),
    ModelMetric("model_loaded", "gauge", "1 while it is in memory", lambda c: c.is_loaded),
    ModelMetric("model_memory_bytes", "gauge", "memory of its process", lambda c: c.memory_bytes),
    ModelMetric("loads", "counter", "times it was loaded", lambda c: c.num_loads),
    ModelMetric("load_seconds", "counter", "time that took", lambda c: c.load_ns / 1e9),
    ModelMetric("load_failures", "counter", "loads that failed", lambda c: c.num_failed_loads),
    ModelMetric(
        "evictions", "counter", "unloads to make room for another model", lambda c: c.num_evictions
    ),
    ModelMetric(
        "runner_crashes", "counter", "unexpected ends of its process", lambda c: c.num_crashes
    ),
    ModelMetric("runner_hangs", "counter", "those of them because it hung", lambda c: c.num_hung),
    ModelMetric("runner_restarts", "counter", "starts after a crash", lambda c: c.num_restarts),
    ModelMetric(
        "requests_crashed",
        "counter",
        "requests ended by a crash",
        lambda c: c.num_crashed_requests,
    ),
)
_LOADED = ("models_loaded", "models in memory")
UPSTREAM_UP = ("upstream_up", "1 while the server of the engine answers (`--upstream`)")
_BUDGET = ("memory_budget_bytes", "what models may take together (`--memory`)")


class Metrics:
    """What one server tells."""

    def __init__(self, source: Source, traffic: Traffic) -> None:
        self._source = source
        self._traffic = traffic

    def text(self, only_key: str | None = None, *, with_totals: bool = True) -> bytes:
        """All metrics in Prometheus' text format; of those by key only one key's, if it is
        named. Without totals only those by key: what is not one's own is what others did."""
        registry = CollectorRegistry()
        registry.register(_Collector(self._source, self._traffic, only_key, with_totals))
        return generate_latest(registry)


class _Collector(Collector):
    def __init__(
        self, source: Source, traffic: Traffic, only_key: str | None, with_totals: bool
    ) -> None:
        self._source = source
        self._traffic = traffic
        self._only_key = only_key
        self._with_totals = with_totals

    def describe(self) -> Iterable[Metric]:
        return ()  # otherwise the registry would collect once just to learn the names

    def collect(self) -> Iterator[Metric]:
        if self._with_totals:
            yield from self._of_models()
        yield from families(self._traffic, PREFIX, self._only_key, with_totals=self._with_totals)

    def _of_models(self) -> Iterator[Metric]:
        counts = self._source.counts()
        for metric in METRICS:
            yield _family(metric, counts)
        loaded = sum(each.is_loaded for _, each in counts)
        yield GaugeMetricFamily(PREFIX + _LOADED[0], _LOADED[1], value=loaded)
        budget = self._source.memory_budget_bytes
        if budget is not None:
            yield GaugeMetricFamily(PREFIX + _BUDGET[0], _BUDGET[1], value=budget)


def _family(metric: ModelMetric, counts: Sequence[tuple[str, ModelCounts]]) -> Metric:
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(PREFIX + metric.name, metric.help, labels=["model"])
    # A name may have had several files; its counters must not fall back to those of the last.
    sums: defaultdict[str, float] = defaultdict(float)
    for name, each in counts:
        sums[name] += metric.read(each)
    for name, value in sums.items():
        family.add_metric([name], value)
    return family


def table() -> str:
    """All metrics as a Markdown table."""
    rows: list[tuple[str, str, str, str]]
    rows = [(each.full_name, each.kind, "`model`", each.help) for each in METRICS]
    rows += [(PREFIX + name, "gauge", "", text) for name, text in (_LOADED, _BUDGET, UPSTREAM_UP)]
    for each in TRAFFIC_METRICS:
        labels = ", ".join(f"`{label}`" for label in each.labels)
        rows.append((each.full_name(PREFIX), each.kind, labels, each.help))
    lines = [f"| `{name}` | {kind} | {labels} | {text} |" for name, kind, labels, text in rows]
    return "\n".join(["| metric | kind | label | meaning |", "|---|---|---|---|", *lines])
