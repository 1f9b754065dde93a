"""`akash-llm bench`: measure an endpoint and say how it was measured."""

import asyncio
import time
from pathlib import Path
from typing import Any

import click
import msgspec

from toolkit import jsontext
from toolkit.bench import export, report
from toolkit.bench.config import BenchConfig, Sweep
from toolkit.bench.export import LIKES, Like
from toolkit.bench.progress import Progress
from toolkit.bench.result import Result
from toolkit.bench.runner import Run
from toolkit.cli import bench_engine, bench_files, loop
from toolkit.cli.bench_options import Counts, Numbers, bench_options, config_of
from toolkit.cli.target import Target, target_options
from toolkit.errors import (
    EXIT_INTERRUPTED,
    EXIT_OK,
    EndpointError,
    SLOMissed,
    ToolkitError,
    UsageError,
)

PROGRESS_EVERY_S = 2.0
SWEEP_S = 10.0

like_option = click.option(
    "--like",
    type=click.Choice(LIKES),
    default="ours",
    show_default=True,
    help="Columns and formulas of a CSV.",
)
out_option = click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    multiple=True,
    help="Write the result, as its ending says: .json .jsonl .csv .md .html; may be repeated.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object.")


@click.group()
def bench() -> None:
    """Measure an endpoint: how fast, how soon, how many, and for how much.

    Any server with Ollama's or OpenAI's API will do: give its --url, or the NAME of an
    endpoint of yours. Nothing leaves this machine but the requests to it.

    \b
    akash-llm bench run local                        a first look
    akash-llm bench sweep local --slo ttft:p99<=1s   the best load that keeps a promise
    akash-llm bench run --url https://HOST/v1 --key-file KEY --rate 0.5,1,2 --duration 60
    akash-llm bench compare before.json after.json
    """


@bench.command("run")
@target_options
@click.option("--concurrency", type=Counts(), default="1,2,4", show_default=True,
              help="Closed loop: open requests at each level.")  # fmt: skip
@click.option("--rate", "rates", type=Numbers(), metavar="NUMBERS",
              help="Open loop instead: requests per second at each level.")  # fmt: skip
@click.option("--ramp", metavar="FROM:TO", help="Open loop whose rate rises over --duration.")
@click.option("--arrival", type=click.Choice(["constant", "poisson", "gamma"]), default="poisson",
              show_default=True, help="How the requests of an open loop come.")  # fmt: skip
@click.option("--burstiness", type=float, default=1.0, show_default=True,
              help="Of gamma: under 1 in bursts, over 1 more evenly.")  # fmt: skip
@click.option("--curve", type=click.Choice(["linear", "exponential"]), default="linear",
              show_default=True, help="How a ramp rises.")  # fmt: skip
@click.option("--requests", type=int, help="At each level; default: 8, or as time allows.")
@click.option("--duration", "duration_s", type=float, help="Seconds of sending at each level.")
@click.option("--until-saturated", is_flag=True, help="End with the first saturated level.")
@bench_options
@out_option
@like_option
@json_option
def run_bench(
    target: Target,
    shared: dict[str, Any],
    ramp: str | None,
    requests: int | None,
    rates: tuple[float, ...] | None,
    out: tuple[Path, ...],
    like: Like,
    as_json: bool,
    **loads: Any,
) -> int:
    """Measure NAME (or the only endpoint there is) at each of the given loads.

    Ends with 8 when an objective is missed, with 7 when requests failed, with 130 when
    interrupted; what was measured is printed and written in all cases.
    """
    start, rates = _rates(ramp, rates or ())
    if requests is None and loads["duration_s"] is None:
        requests = 8
    config = config_of(shared, ramp_from=start, rates=rates, requests=requests, **loads)
    return _run(target, config, out, like, as_json)


@bench.command()
@target_options
@click.option("--over", type=click.Choice(["concurrency", "rate"]), default="concurrency",
              show_default=True, help="Closed loop, or an open one.")  # fmt: skip
@click.option("--most", type=float, default=256, show_default=True, help="The highest load.")
@click.option("--refine", type=int, default=2, show_default=True,
              help="Levels between the last good and the first bad one.")  # fmt: skip
@click.option("--arrival", type=click.Choice(["constant", "poisson", "gamma"]), default="poisson",
              show_default=True, help="How the requests of an open loop come.")  # fmt: skip
@click.option("--burstiness", type=float, default=1.0, show_default=True,
              help="Of gamma: under 1 in bursts, over 1 more evenly.")  # fmt: skip
@click.option("--duration", "duration_s", type=float, default=SWEEP_S, show_default=True,
              help="Seconds of sending at each level.")  # fmt: skip
@click.option("--requests", type=int, help="At most so many at each level.")
@bench_options
@out_option
@like_option
@json_option
def sweep(
    target: Target,
    shared: dict[str, Any],
    over: str,
    most: float,
    refine: int,
    out: tuple[Path, ...],
    like: Like,
    as_json: bool,
    **loads: Any,
) -> int:
    """Find the best load of NAME: doubled until saturated or an --slo is missed, then refined.

    Ends with 8 if no load meets the objectives.
    """
    search = msgspec.convert({"over": over, "most": most, "refine": refine}, Sweep)
    config = config_of(shared, sweep=search, **loads)
    return _run(target, config, out, like, as_json)


def exit_code(result: Result) -> int:
    """What a result means for a script."""
    if not result.complete and result.ended_by != "errors":
        return EXIT_INTERRUPTED
    if result.has_missed:
        return SLOMissed.exit_code
    is_tolerant = any(slo.metric == "error_rate" for slo in result.config.slos)
    if result.has_errors and not (is_tolerant and result.complete):
        return EndpointError.exit_code
    return EXIT_OK


def _run(
    target: Target, config: BenchConfig, out: tuple[Path, ...], like: Like, as_json: bool
) -> int:
    for path in out:
        export.check(path)
    result = loop.run(_measured(target, config))
    if as_json:
        click.echo(jsontext.encoded(result).decode())
    else:
        click.echo(report.terminal(result))
        click.echo(report.sentence(result))
    _write(result, out, like, as_json)
    return exit_code(result)


def _write(result: Result, out: tuple[Path, ...], like: Like, as_json: bool) -> None:
    """Every file that can be written; what kept the first of the others from it is raised."""
    failures = list[ToolkitError]()
    for path in out:
        try:
            export.save(result, path, like)
        except ToolkitError as error:
            failures.append(error)
        else:
            click.echo(f"written: {path}", err=as_json)
    if failures:
        raise failures[0]


async def _measured(target: Target, config: BenchConfig) -> Result:
    """The result; the partial one when interrupted after the first measured request."""
    from toolkit.lease_facts import facts_of

    async with await target.reached() as endpoint:
        run = Run(config, endpoint, _Told(), facts=await facts_of(endpoint))
        try:
            return await run.run()
        except asyncio.CancelledError:
            if not run.has_measured:
                raise
            return run.result()


class _Told:
    """A line on standard error when a level begins, and now and then."""

    def __init__(self) -> None:
        self._at = 0.0
        self._level = 0

    def __call__(self, progress: Progress) -> None:
        if not progress.level or progress.stage == "done":
            return
        if progress.level != self._level or time.monotonic() - self._at >= PROGRESS_EVERY_S:
            self._at, self._level = time.monotonic(), progress.level
            click.echo(str(progress), err=True)


def _rates(ramp: str | None, rates: tuple[float, ...]) -> tuple[float | None, tuple[float, ...]]:
    """Where a ramp begins, None without one, and the rates of the levels."""
    if ramp is None:
        return None, rates
    try:
        start, end = (float(part) for part in ramp.split(":"))
    except ValueError:
        raise UsageError(
            f"{ramp!r} is no ramp.", hint="Give it as FROM:TO, such as 0.5:8."
        ) from None
    if rates:
        raise UsageError("Give --rate or --ramp, not both.")
    return start, (end,)


bench.add_command(bench_files.compare)
bench.add_command(bench_files.report)
bench.add_command(bench_engine.engine)
bench.add_command(bench_engine.calibrate)
