"""`make soak`: an hour of mixed load on a real server, with kills and cancels.

    python -m tests.soak [--minutes N] [--cases N] [--seed N]

First come requests made from the OpenAPI document. Ends with 0 if every answer was right
and as the document says, all slots are free and memory is flat.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

import click

from server.models.store import Store
from server.models.wheel import ensure_embedded
from tests.soak.conforming import conforming
from tests.soak.run import MOST_GROWTH, soak
from tests.soak.server import KEYS, soaked
from tests.support.ports import free_port


@click.command()
@click.option("--minutes", default=60.0, show_default=True)
@click.option("--cases", default=2000, show_default=True, help="From the OpenAPI document.")
@click.option("--seed", default=1, show_default=True)
def main(minutes: float, cases: int, seed: int) -> None:
    """Soak a server and say how it went."""
    with tempfile.TemporaryDirectory() as scratch:
        report = conforming(Path(scratch), cases=cases, seed=seed)
    click.echo(f"{report.num_cases} requests from the document: {report.statuses}")
    for label, text in report.failures.items():
        click.echo(f"not as the document says: {label}: {text}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        ensure_embedded(Store(folder / "models"))
        with soaked(folder, folder / "models", free_port()) as server:
            click.echo(f"{minutes:g} minutes, seed {seed}")
            tally = asyncio.run(soak(server, KEYS, seconds=minutes * 60, seed=seed, say=click.echo))
            last = server.log.read_text().splitlines()[-5:]
    click.echo(f"answers: {dict(tally.answers)}")
    click.echo(f"runners killed: {len(tally.kills)}")
    click.echo(f"memory: {tally.memory[-1][1] / 2**20:.0f} MiB, growth {tally.growth:.2%}")
    for text in tally.wrong[:20]:
        click.echo(f"wrong: {text}")
    if report.failures or tally.wrong or tally.growth > MOST_GROWTH:
        click.echo("\n".join(last))
        sys.exit(1)
    click.echo("all slots are free")


if __name__ == "__main__":
    main()
