"""`make engines`: the client scripts and the probes over every engine, with a real vLLM.

It installs vLLM where it is not there yet, and writes what the probes show into the data of the
table and the README.
"""

import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import click
import platformdirs

from server.models.store import Store
from server.models.wheel import ensure_embedded
from tests.engines import table
from tests.engines.kinds import ENGINES, REQUIRED, VLLM_URL, RunningEngine
from tests.engines.probes import ask_all
from tests.engines.stock import stock
from tests.performance import peers
from tests.support.ports import free_port
from tests.support.serving import ROOT
from tests.support.vllm_server import VLLMServer

# The clients over every engine, and what is held against the table.
SUITES = (
    "tests/contract/test_ollama_client.py",
    "tests/contract/test_openai_client.py",
    "tests/contract/test_anthropic_client.py",
    "tests/contract/test_responses_client.py",
    "tests/contract/test_engines.py",
    "tests/engines",
)


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("pytest_arguments", nargs=-1, type=click.UNPROCESSED)
def main(pytest_arguments: tuple[str, ...]) -> None:
    """Exits with 1 if a client script fails. Half an hour the first time, then some minutes."""
    peers.PEERS.mkdir(parents=True, exist_ok=True)
    peers.make_vllm()
    embedded = Path(platformdirs.user_cache_dir("akash-llm-tests")) / "models"
    ensure_embedded(Store(embedded), progress=click.echo)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        _start_vllm(Path(folder), stack)
        columns = table.merged(table.load(), _columns(Path(folder), embedded))
        table.store(columns)
        text = table.README.read_text(encoding="utf-8")
        table.README.write_text(table.placed(text, columns), encoding="utf-8")
        click.echo(table.markdown(columns))
        done = _pytest(*pytest_arguments)
    sys.exit(done)


def _start_vllm(folder: Path, stack: ExitStack) -> None:
    """One for everything here, unless one runs already."""
    if VLLM_URL not in os.environ:
        click.echo("starting vLLM: about a minute")
        server = stack.enter_context(VLLMServer(folder, free_port()))
        os.environ[VLLM_URL] = server.url
    click.echo(f"vLLM answers at {os.environ[VLLM_URL]}")


def _columns(folder: Path, embedded: Path) -> table.Columns:
    """What every engine shows now."""
    store = stock(embedded, folder / "models")
    columns = {}
    for engine in ENGINES:
        with ExitStack() as stack:
            home = folder / engine.name
            home.mkdir()
            running = RunningEngine(engine, home, stack)
            url = running.over(store).url
            click.echo(f"probing {engine.name} ({running.version()})")
            outcomes = dict(ask_all(running, url))
            today = datetime.now(tz=UTC).date()
            columns[engine.name] = table.Column(running.version(), today, outcomes)
    return columns


def _pytest(*arguments: str) -> int:
    command = [sys.executable, "-m", "pytest", *SUITES, *arguments]
    env = {**os.environ, REQUIRED: "all"}
    return subprocess.run(command, cwd=ROOT, env=env, check=False).returncode


if __name__ == "__main__":
    main()
