"""`make bench`: our server and its peers on the same weights, in turns, as ratios.

    python -m tests.performance [--rounds N] [--only NAME,…] [--weights FILE | --shape 1b]

Figures of one run on one machine compare; figures of two runs do not. What was measured
is kept when the run is interrupted. `python -m tests.performance.peers` fetches the peers.
"""

import asyncio
import os
import platform
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from server.engine.cpu import default_threads
from tests.performance import peers, report, shapes
from tests.performance.cases import OF_A_SHAPE, Case, chosen
from tests.performance.compare import Comparison, Results
from tests.performance.programs import Setting

INTERRUPTED = 130


@click.command()
@click.option("--rounds", default=5, show_default=True, help="Turns of each side.")
@click.option("--only", metavar="NAME,…", help="Cases, by name or pattern.")
@click.option("--list", "is_list", is_flag=True, help="Show the cases and end.")
@click.option("--weights", type=click.Path(path_type=Path, exists=True), help="Another GGUF.")
@click.option("--shape", type=click.Choice(list(shapes.SHAPES)), help="Random weights of a shape.")
@click.option("--threads", type=int, default=default_threads, help="Default: physical cores.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/bench"))
@click.pass_context
def main(
    context: click.Context,
    rounds: int,
    only: str | None,
    is_list: bool,
    weights: Path | None,
    shape: str | None,
    threads: int,
    out: Path,
) -> None:
    """Measure and report."""
    try:
        cases = chosen(only or (OF_A_SHAPE if shape else "*"))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--only") from None
    if is_list:
        _list(cases)
        return
    if weights is None:
        weights = shapes.made(shape, click.echo) if shape else peers.embedded_weights()
    with tempfile.TemporaryDirectory() as scratch:
        setting = Setting(weights, threads, Path(scratch) / "home")
        if not _compare(cases, setting, rounds, Path(scratch), out):
            context.exit(INTERRUPTED)


def _list(cases: Sequence[Case]) -> None:
    for case in cases:
        click.echo(f"{case.name:18} {case.about} ({', '.join(case.sides)})")


def _compare(
    cases: Sequence[Case], setting: Setting, rounds: int, scratch: Path, out: Path
) -> bool:
    """Measure and report what was measured; False if it was interrupted."""
    results, facts = Results(), _facts(setting, rounds)
    for name, value in facts.items():
        click.echo(f"{name}: {value}")

    def keep() -> None:
        report.save(out, facts, report.rows(cases, results), results)

    comparison = Comparison(setting, scratch, results, click.echo, keep)
    is_whole = False
    try:
        asyncio.run(comparison.run(cases, rounds))
        is_whole = True
    except KeyboardInterrupt:
        click.echo("interrupted: what was measured so far")
    finally:
        keep()
        found = report.rows(cases, results)
        text = report.text(facts, found, results)
        report.save_shown(out, found, text)
        click.echo(f"\n{text}\n\nwritten to {out}")
    return is_whole


def _facts(setting: Setting, rounds: int) -> dict[str, Any]:
    return {
        "machine": f"{platform.machine()}, {_processor()}, {os.cpu_count()} logical cores",
        "load_average": os.getloadavg()[0],
        "weights": str(setting.weights),
        "weights_sha256": peers.digest_of(setting.weights),
        "threads": setting.threads,
        "rounds": rounds,
        "prompt_caches": "each server's own default",
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"


if __name__ == "__main__":
    main()
