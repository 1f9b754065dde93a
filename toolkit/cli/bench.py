"""`akash-llm bench`: measure an endpoint and say how it was measured."""

import asyncio
import time
from pathlib import Path

import click
import msgspec

from toolkit.bench import report
from toolkit.bench.result import BenchConfig, Result
from toolkit.bench.runner import Run
from toolkit.bench.workload import Workload
from toolkit.cli.target import Target, target_options
from toolkit.errors import EXIT_INTERRUPTED, EXIT_OK, EndpointError, UsageError

PROGRESS_EVERY_S = 2.0


class Counts(click.ParamType[tuple[int, ...]]):
    """Counts between commas: 1,2,4."""

    name = "counts"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """The counts as numbers; anything else is a usage error."""
        if isinstance(value, tuple):
            return value
        parts = str(value).split(",")
        if not all(part.strip().isdecimal() for part in parts):
            self.fail(f"{value!r} is not a list of counts such as 1,2,4", param, ctx)
        return tuple(int(part) for part in parts)


@click.group()
def bench() -> None:
    """Measure an endpoint."""


@bench.command("run")
@target_options
@click.option("--concurrency", type=Counts(), default=(1, 2, 4), help="Open requests, e.g. 1,2,4.")
@click.option("--requests", type=int, default=8, show_default=True, help="At each concurrency.")
@click.option("--warmup", type=int, default=1, show_default=True, help="Requests not counted.")
@click.option("--prompt-words", type=int, default=128, show_default=True, help="Of each prompt.")
@click.option("--output-tokens", type=int, default=64, show_default=True, help="Of each answer.")
@click.option("--seed", type=int, default=1, show_default=True, help="Makes the prompts.")
@click.option("--usd-per-hour", type=float, help="What it costs; adds USD per million tokens.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the result with its raw records; .md writes Markdown.",
)
@click.option("--json", "as_json", is_flag=True, help="The whole result as one JSON object.")
def run_bench(
    target: Target,
    concurrency: tuple[int, ...],
    requests: int,
    warmup: int,
    prompt_words: int,
    output_tokens: int,
    seed: int,
    usd_per_hour: float | None,
    out: Path | None,
    as_json: bool,
) -> int:
    """Measure NAME (or the only endpoint there is) in a closed loop.

    Ends with 7 when requests failed, with 130 when interrupted; what was measured is
    printed in both cases.
    """
    config = BenchConfig(
        concurrency=concurrency,
        requests=requests,
        warmup=warmup,
        workload=Workload(prompt_words=prompt_words, output_tokens=output_tokens, seed=seed),
        usd_per_hour=usd_per_hour,
    ).checked()
    if out is not None and not out.parent.is_dir():
        raise UsageError(
            f"There is no folder {out.parent}.", hint="Make it, or give another --out."
        )
    result = asyncio.run(_measured(target, config))
    if out is not None:
        _save(result, out)
    if as_json:
        click.echo(msgspec.json.encode(result).decode())
    else:
        click.echo(report.terminal(result))
        click.echo(report.sentence(result))
    if not result.complete:
        return EXIT_INTERRUPTED
    return EndpointError.exit_code if result.has_errors else EXIT_OK


async def _measured(target: Target, config: BenchConfig) -> Result:
    """The result; the partial one when interrupted after the first measured request."""
    async with await target.opened() as endpoint:
        run = Run(config, endpoint, _Progress())
        try:
            return await run.run()
        except asyncio.CancelledError:
            if not run.levels:
                raise
            return run.result()


class _Progress:
    """A line on standard error when a level begins, and now and then."""

    def __init__(self) -> None:
        self._told_at = 0.0
        self._told_level = 0

    def __call__(self, run: Run) -> None:
        level = run.levels[-1]
        is_new = len(run.levels) != self._told_level
        if is_new or time.monotonic() - self._told_at >= PROGRESS_EVERY_S:
            self._told_at, self._told_level = time.monotonic(), len(run.levels)
            click.echo(
                f"{level.concurrency} open: {len(level.records)} of {level.asked} requests",
                err=True,
            )


def _save(result: Result, out: Path) -> None:
    if out.suffix == ".md":
        out.write_text(report.markdown(result), encoding="utf-8")
    else:
        result.save(out)
