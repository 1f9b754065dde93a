"""`make bench`: our server and its peers on the same file, in turns, as ratios.

    python -m tests.performance [--rounds N] [--weights FILE] [--out DIR]

Figures of one run on one machine compare; figures of two runs do not.
"""

import asyncio
import hashlib
import platform
import shlex
import socket
import tempfile
from collections import defaultdict
from pathlib import Path

import click

from server.engine.cpu import default_threads
from server.models.name import ModelName
from server.models.store import Store
from server.models.wheel import EMBEDDED, ensure_embedded
from tests.performance import report
from tests.performance.cases import turn
from tests.performance.servers import PEERS, Program, Setting, llama_server, ours


@click.command()
@click.option("--rounds", default=5, show_default=True, help="Turns of each server.")
@click.option("--weights", type=click.Path(path_type=Path), help="GGUF; default: the embedded.")
@click.option("--slots", default=16, show_default=True)
@click.option("--context", default=1024, show_default=True, help="Tokens per request.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/bench"))
def main(rounds: int, weights: Path | None, slots: int, context: int, out: Path) -> None:
    """Measure and report."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        setting = Setting(weights or _embedded(folder), default_threads(), slots, context)
        asyncio.run(_compare(setting, rounds, folder, out))


def _embedded(folder: Path) -> Path:
    store = Store(folder / "source")
    ensure_embedded(store, progress=click.echo)
    path, _ = store.get(ModelName.parse(EMBEDDED)).check()
    return path


async def _compare(setting: Setting, rounds: int, scratch: Path, out: Path) -> None:
    peer = llama_server(setting)
    if peer is None:
        click.echo(f"llama-server is not here ($LLAMA_SERVER, {PEERS}): only our own figures")
    programs = [ours(setting, scratch / "home"), *([peer] if peer else [])]
    facts = _facts(setting, rounds, programs)
    for name, value in facts.items():
        click.echo(f"{name}: {value}")
    figures: dict[str, dict[str, list[float]]] = {p.name: defaultdict(list) for p in programs}
    for number in range(rounds):
        for program in programs if number % 2 == 0 else reversed(programs):
            log = scratch / f"{program.name}.log"
            async for metric, value in turn(program, _free_port(), log, number):
                figures[program.name][metric.name].append(value)
                click.echo(f"round {number + 1} {program.name}: {metric.name} {value:.4g}")
    found = report.rows(*(figures[p.name] for p in programs)) if peer else []
    text = report.table(found, peer.name) if peer else ""
    report.save(out, facts | {"figures": figures}, found, text)
    click.echo(f"\n{text}\n\nwritten to {out}")


def _facts(setting: Setting, rounds: int, programs: list[Program]) -> dict[str, object]:
    with setting.weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "machine": f"{platform.machine()}, {_processor()}",
        "weights_sha256": digest,
        "threads": setting.threads,
        "slots": setting.slots,
        "context": setting.context,
        "kv_cache": "f16",
        "rounds": rounds,
        "commands": {p.name: shlex.join(p.command(0)) for p in programs},
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
