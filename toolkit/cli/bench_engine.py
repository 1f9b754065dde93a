"""`akash-llm bench engine` and `calibrate`: the engine alone, and the client alone."""

import asyncio
import csv
import io
from pathlib import Path

import click
import msgspec

from toolkit import jsontext
from toolkit.bench import export
from toolkit.bench.calibration import INTERVAL_S, STREAMS, TOKENS
from toolkit.bench.calibration import calibrate as calibrated
from toolkit.bench.engine_report import csv_lines, lines
from toolkit.bench.engine_speed import EngineConfig, EngineResult, EngineRun
from toolkit.bench.result import write
from toolkit.bench.wire import APIS
from toolkit.cli.bench_options import Counts
from toolkit.cli.target import Target, target_options
from toolkit.errors import EXIT_INTERRUPTED, EXIT_OK, UsageError
from toolkit.safetext import cleaned


class Pairs(click.ParamType[tuple[tuple[int, int], ...]]):
    """Pairs of counts between semicolons: 512,128;1024,32."""

    name = "pairs"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[tuple[int, int], ...]:
        """The pairs; anything else is a usage error."""
        if isinstance(value, tuple):
            return value
        pairs = [part.split(",") for part in str(value).split(";")]
        if not all(len(pair) == 2 and all(n.strip().isdecimal() for n in pair) for pair in pairs):
            self.fail(f"{value!r} is no list of pairs such as 512,128", param, ctx)
        return tuple((int(first), int(second)) for first, second in pairs)


@click.command()
@target_options
@click.option("-p", "--prompt", "prompts", type=Counts(), default="512", show_default=True,
              help="Tokens to read (pp); 0: no such test.")  # fmt: skip
@click.option("-n", "--output", "outputs", type=Counts(), default="128", show_default=True,
              help="Tokens to generate (tg); 0: no such test.")  # fmt: skip
@click.option("--pg", "both", type=Pairs(), default=(), help="Both: PROMPT,OUTPUT;…")
@click.option("-d", "--depth", "depths", type=Counts(), default="0", show_default=True,
              help="Tokens that are there before.")  # fmt: skip
@click.option("-r", "--repetitions", type=int, default=5, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help="Makes the prompts.")
@click.option("--api", type=click.Choice(["auto", *APIS]), default="auto", show_default=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), multiple=True,
              help="Write it, by its ending: .md .csv .json .jsonl; repeatable.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def engine(
    target: Target,
    prompts: tuple[int, ...],
    outputs: tuple[int, ...],
    both: tuple[tuple[int, int], ...],
    depths: tuple[int, ...],
    repetitions: int,
    seed: int,
    api: str,
    out: tuple[Path, ...],
    as_json: bool,
) -> int:
    """Measure the engine of NAME alone, as llama-bench does: pp, tg and pg tests.

    One request at a time; every combination of the given lists is a test.
    """
    for path in out:
        export.check(path)
        if path.suffix == ".html":
            raise UsageError("An engine's speeds have no page.", hint="Give .md, .csv or .json.")
    config = EngineConfig(
        prompts=prompts, outputs=outputs, both=both, depths=depths,
        repetitions=repetitions, seed=seed, api=api,
    )  # fmt: skip
    result = asyncio.run(_measured(target, config))
    for path in out:
        write(path, _form(result, path.suffix))
    click.echo(_form(result, ".jsonl" if as_json else ".md").rstrip("\n"))
    return EXIT_OK if result.complete else EXIT_INTERRUPTED


@click.command()
@click.option("--streams", type=int, default=STREAMS, show_default=True, help="Open at once.")
@click.option("--interval", type=float, default=INTERVAL_S, show_default=True,
              help="Seconds between the chunks of a stream.")  # fmt: skip
@click.option("--chunks", type=int, default=TOKENS, show_default=True, help="Of each stream.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def calibrate(streams: int, interval: float, chunks: int, as_json: bool) -> None:
    """Measure the measuring: how late, and for how much, this client notes a chunk.

    A process beside it sends stamped chunks on time; nothing leaves this machine.
    """
    found = asyncio.run(calibrated(streams, interval_s=interval, tokens=chunks))
    click.echo(jsontext.encoded(found).decode() if as_json else str(found))


async def _measured(target: Target, config: EngineConfig) -> EngineResult:
    """The result; the partial one when interrupted after the first test."""
    from toolkit.lease_facts import facts_of

    async with await target.reached() as endpoint:
        run = EngineRun(
            config,
            endpoint,
            lambda one: click.echo(f"{one.test}: {one.mean:.2f} ± {one.std:.2f} t/s", err=True),
            facts=await facts_of(endpoint),
        )
        try:
            return await run.run()
        except asyncio.CancelledError:
            if not run.result().speeds:
                raise
            return run.result()


def _form(result: EngineResult, suffix: str) -> str:
    match suffix:
        case ".json":
            return msgspec.json.format(jsontext.encoded(result), indent=1).decode() + "\n"
        case ".jsonl":
            return jsontext.encoded(result).decode() + "\n"
        case ".csv":
            out = io.StringIO()
            csv.writer(out, lineterminator="\n").writerows(csv_lines(result))
            return out.getvalue()
    head, *rows = lines(result)
    table = [head, ["---"] * 2 + ["---:"] * 3, *rows]
    text = "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in table)
    return cleaned(f"{text}\n\nTimes are {result.times or 'not there'}.\n")
