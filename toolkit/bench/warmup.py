"""Requests before all levels: they fill caches and pools, and show whether it works at all."""

import time

import msgspec

from toolkit.bench.config import BenchConfig
from toolkit.bench.records import Outcome, Phase, RequestRecord
from toolkit.bench.request import Asker, Place
from toolkit.bench.workload import Prompts
from toolkit.errors import EndpointError

SALT = "warm-up"
# How servers refuse a field that they do not know.
_REFUSALS = (400, 422)


async def warm_up(
    asker: Asker, prompts: Prompts, config: BenchConfig
) -> tuple[list[RequestRecord], list[str]]:
    """The records, which count for nothing, and what to remark on.

    An endpoint that refuses `ignore_eos` is asked without it from then on. Raises
    `EndpointError` when it does not answer.
    """
    records, remarks = [], []
    began = time.perf_counter()
    for index in range(config.warmup):
        record = await _once(asker, prompts, index, began)
        if asker.refused in _REFUSALS and asker.terms.ignore_eos:
            refusal = record.error
            asker.terms = msgspec.structs.replace(asker.terms, ignore_eos=False)
            record = await _once(asker, prompts, index, began)
            if record.outcome is not Outcome.ERROR:
                remarks.append(f"asked without ignore_eos, which was refused: {refusal}")
        if record.outcome is Outcome.ERROR:
            raise EndpointError(
                f"The warm-up failed: {record.error}",
                hint="Is that its model? akash-llm models list; akash-llm chat --once asks it.",
            )
        records.append(record)
    return records, remarks


async def _once(asker: Asker, prompts: Prompts, index: int, began: float) -> RequestRecord:
    asked = prompts.ask(SALT, index)
    found: list[RequestRecord] = []
    await asker.ask(
        asked.messages,
        asked.output_tokens,
        Place(index=index, began=began),
        phase=lambda _: Phase.WARMUP,
        sink=found.append,
        on_text=lambda: None,
    )
    return found[0]
