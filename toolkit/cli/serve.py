"""`akash-llm serve`: the server in this terminal, with its own flags.

The process becomes `python -m server`, so signals, exit codes and `--help` are its own.
"""

import importlib.util
import os
import sys

import click

from toolkit.errors import ConfigError


@click.command(
    "serve",
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
@click.argument("flags", nargs=-1, type=click.UNPROCESSED)
def serve(flags: tuple[str, ...]) -> None:
    """Run the server here; the flags are those of `python -m server`."""
    if importlib.util.find_spec("litestar") is None:
        raise ConfigError(
            "the server is not installed here", hint="pip install 'akash-llm[server]'"
        )
    command = [sys.executable, "-m", "server", *flags]
    sys.stdout.flush()
    os.execv(sys.executable, command)  # noqa: S606 - no shell: the arguments are passed as they are
