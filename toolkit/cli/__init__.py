"""The command line: one module per group of commands, imported when it is used.

A command translates flags into one call of the toolkit, and its result into text
or, with `--json`, into one JSON object per line. `--help` must stay quick, so this
module imports nothing but click and what is as small.
"""

import importlib
import sys
from collections.abc import Sequence
from typing import Any

import click

from toolkit.errors import EXIT_INTERRUPTED, ConfigError, ToolkitError
from toolkit.safetext import cleaned

# command -> (module, attribute, one line of help)
COMMANDS: dict[str, tuple[str, str, str]] = {
    "bench": ("toolkit.cli.bench", "bench", "Measure an endpoint"),
    "chat": ("toolkit.cli.chat", "chat", "Chat with an endpoint"),
    "up": ("toolkit.cli.endpoint", "up", "Start a private endpoint on this machine"),
    "down": ("toolkit.cli.endpoint", "close", "Stop it"),
    "plan": ("toolkit.cli.endpoint", "plan", "What a deployment would do, need and cost"),
    "deploy": ("toolkit.cli.endpoint", "deploy", "Deploy an endpoint"),
    "status": ("toolkit.cli.books", "status", "Endpoints, as they are, and what they cost"),
    "bids": ("toolkit.cli.books", "bids", "What providers offer for an endpoint"),
    "logs": ("toolkit.cli.books", "logs", "What an endpoint logged"),
    "update": ("toolkit.cli.endpoint", "update", "Change an endpoint that runs"),
    "close": ("toolkit.cli.endpoint", "close", "End an endpoint"),
    "doctor": ("toolkit.cli.books", "doctor", "Hold the ledger against reality"),
    "ledger": ("toolkit.cli.books", "ledger", "All that was ever opened, and its cost"),
    "notebook": ("toolkit.cli.notebook", "notebook", "Run notebooks from the command line"),
    "serve": ("toolkit.cli.serve", "serve", "Run the server in this terminal"),
    "models": ("toolkit.cli.models", "models", "The models on this machine"),
    "keys": ("toolkit.cli.keys", "keys", "Who may use a server, and how much they did"),
    "market": ("toolkit.cli.market", "market", "What GPUs cost on Akash, and how many are free"),
    "size": ("toolkit.cli.size", "size", "What a model needs, and on which GPUs it fits"),
    "sdl": ("toolkit.cli.sdl", "sdl", "Make and check deployment files"),
}


class LazyGroup(click.Group):
    """A group that imports a command's module only when that command is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="akash-llm")
def cli() -> None:
    """A private LLM endpoint on Akash or on this machine."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code; expected failures print no traceback."""
    sys.exit(run(argv))


def run(argv: Sequence[str] | None = None) -> int:
    """Like `main`, but returns the exit code."""
    try:
        code: Any = cli.main(args=argv, prog_name="akash-llm", standalone_mode=False)
    except ToolkitError as error:
        # An endpoint may have written some of it.
        click.echo(f"error: {cleaned(error.message)}", err=True)
        if error.hint:
            click.echo(f"  {cleaned(error.hint)}", err=True)
        return error.exit_code
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        return EXIT_INTERRUPTED
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        return EXIT_INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except OSError as error:
        click.echo(f"error: {_reason(error)}", err=True)
        return ConfigError.exit_code
    return code if isinstance(code, int) else 0


def _reason(error: OSError) -> str:
    """What the system refused, and for which file: a full disk, a missing permission."""
    what = error.strerror or str(error)
    return f"{what}: {error.filename}" if error.filename else what
