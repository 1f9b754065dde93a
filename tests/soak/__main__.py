"""`make soak`: an hour of mixed load on a real server, and a thousand simulated deployments.

    python -m tests.soak [--only serving|renting] [--minutes N] [--cases N] [--deployments N]
                         [--seed N]

Renting goes wrong in every way, and is killed at every point. Serving begins with requests
made from the OpenAPI document, and goes on with kills and cancels. Ends with 0 if ledger
and account are equal to the cent with nothing left open, if every answer was right and as
the document says, all slots are free and memory is flat.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from server.models.store import Store
from server.models.wheel import ensure_embedded
from tests.soak.conforming import conforming
from tests.soak.renting import rented
from tests.soak.run import MOST_GROWTH, soak
from tests.soak.server import KEYS, soaked
from tests.support.console.states import Generation
from tests.support.ports import free_port


@click.command()
@click.option("--only", type=click.Choice(["serving", "renting"]))
@click.option("--deployments", default=1000, show_default=True)
@click.option("--minutes", default=60.0, show_default=True)
@click.option("--cases", default=2000, show_default=True, help="From the OpenAPI document.")
@click.option("--seed", default=1, show_default=True)
def main(only: str | None, deployments: int, minutes: float, cases: int, seed: int) -> None:
    """Soak renting and a server, and say how it went."""
    if only != "serving":
        _renting(deployments, seed)
    if only != "renting":
        _serving(minutes, cases, seed)


def _renting(deployments: int, seed: int) -> None:
    click.echo(f"{deployments} deployments, seed {seed}")
    for generation, share in ((Generation.NEWER, 0.8), (Generation.OLDER, 0.2)):
        found = rented(int(deployments * share), seed, generation=generation, say=click.echo)
        click.echo(f"{generation} Console: {found.deployments} deployments, none left open")
        click.echo(f"  by the ledger ${found.spent_usd}, by the account ${found.paid_usd}")
        click.echo(f"  {dict(sorted(found.outcomes.items()))}")
    kills = [sys.executable, "-m", "pytest", "-q", "tests/toolkit/deploy/akash/test_kill.py"]
    if subprocess.run(kills, env={**os.environ, "KILLS": "all"}, check=False).returncode:
        sys.exit(1)


def _serving(minutes: float, cases: int, seed: int) -> None:
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
