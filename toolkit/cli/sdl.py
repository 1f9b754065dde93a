"""`akash-llm sdl …`: render, check and hash deployment files.

Every command takes several files and reads standard input for `-`. With `--json` it prints
one object per file.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from toolkit.deploy.keyfile import as_digests, ensure
from toolkit.errors import EXIT_OK, SDLError, UsageError
from toolkit.sdl.inputs import GPUChoice, GPURequest, RenderInputs
from toolkit.sdl.manifest import canonical, manifest
from toolkit.sdl.nodes import MAX_BYTES
from toolkit.sdl.parse import parse
from toolkit.sdl.problems import Level, Problem, Report
from toolkit.sdl.render import DEFAULT_TEMPLATE, render
from toolkit.sdl.validate import validate

_DEFAULTS = RenderInputs(image="", keys_text="")
# Where a file may hold a secret: the line is not repeated.
_SECRET_PARTS = frozenset({"credentials", "env", "args", "command"})

files = click.argument("files", nargs=-1, required=True, metavar="FILE...")
as_json = click.option("--json", "json", is_flag=True, help="One JSON object per file.")


@click.group()
def sdl() -> None:
    """Make and check deployment files (SDL)."""


@sdl.command("validate")
@files
@as_json
def validate_command(files: tuple[str, ...], json: bool) -> int:
    """Say everything that is wrong with each FILE (`-` is standard input)."""
    return _each(files, json, lambda report, _: _verdict(report))


@sdl.command("hash")
@files
@as_json
def hash_command(files: tuple[str, ...], json: bool) -> int:
    """Print the hash of each FILE's manifest, as it goes on chain."""
    return _each(files, json, lambda report, _: f"{report.hash}  {report.file}")


@sdl.command("manifest")
@files
@as_json
def manifest_command(files: tuple[str, ...], json: bool) -> int:
    """Print the manifest of each FILE, as the provider is sent it."""
    return _each(files, json, lambda _, text: canonical(manifest(parse(text).sdl)).decode())


def _each(files: Iterable[str], json: bool, show: Callable[[Report, bytes], str]) -> int:
    """Report on each file; what `show` makes of a good one goes to standard output."""
    is_ok = True
    for file in files:
        text, report = _examined(file)
        is_ok &= report.ok
        if json:
            click.echo(msgspec.json.encode(as_row(report)).decode())
            continue
        for line in explain(report, text):
            click.echo(line, err=True)
        if report.ok:
            click.echo(show(report, text))
    return EXIT_OK if is_ok else SDLError.exit_code


def _verdict(report: Report) -> str:
    num_warnings = len(report.problems)
    if not num_warnings:
        return f"{report.file}: ok"
    return f"{report.file}: ok, {num_warnings} warning{'s' if num_warnings > 1 else ''}"


def as_row(report: Report) -> dict[str, Any]:
    """A report as one JSON object; `hash` is left out when there is none."""
    row: dict[str, Any] = msgspec.to_builtins(report)
    return row if report.hash is not None else {k: v for k, v in row.items() if k != "hash"}


def _examined(file: str) -> tuple[bytes, Report]:
    """The content of a file with its report; one that cannot be read is a problem too."""
    try:
        text = _content(file)
    except OSError as error:
        reason = (error.strerror or "it cannot be read").lower()
        problem = Problem(Level.INVALID, "", 1, 1, reason, "name an SDL file, or - for stdin")
        return b"", Report(file, ok=False, hash=None, problems=(problem,))
    return text, validate(text, file)


def _content(file: str) -> bytes:
    """The bytes of a file, at most one more than an SDL may have."""
    if file == "-":
        return sys.stdin.buffer.read(MAX_BYTES + 1)
    with Path(file).open("rb") as stream:
        return stream.read(MAX_BYTES + 1)


def explain(report: Report, text: bytes) -> Iterator[str]:
    """The problems of a file as a compiler prints them, each with its line and its remedy."""
    lines = text.decode(errors="replace").split("\n")
    for problem in report.problems:
        yield f"{report.file}:{problem.line}:{problem.column}: {problem.level}: {problem.message}"
        if problem.line <= len(lines) and _SECRET_PARTS.isdisjoint(problem.path.split("/")):
            yield from _excerpt(lines[problem.line - 1], problem.column)
        if problem.hint:
            yield f"  = {problem.hint}"


def _excerpt(line: str, column: int) -> Iterator[str]:
    shown = "".join(char if char.isprintable() else " " for char in line)
    if shown.strip() and len(shown) <= 200:
        yield f"  | {shown}"
        yield f"  | {' ' * (column - 1)}^"


# -- render -------------------------------------------------------------------


@sdl.command("render")
@click.option("--template", default=DEFAULT_TEMPLATE, show_default=True, help="Which template.")
@click.option("--image", default="", help="Server image with its tag or digest.")
@click.option("--keys", default="", help="Key digests, name:scope:sha256[,...].")
@click.option("--key-file", type=click.Path(path_type=Path), help="Key; made if not there.")
@click.option("--service", default=_DEFAULTS.service, show_default=True, help="Its name.")
@click.option("--model", default=_DEFAULTS.model, show_default=True, help="Model to serve.")
@click.option("--context", default=_DEFAULTS.context, show_default=True, help="Tokens a request.")
@click.option("--parallel", default=_DEFAULTS.parallel, show_default=True, help="Requests at once.")
@click.option("--cpu", default=str(_DEFAULTS.cpu), show_default=True, help="Cores, or 500m.")
@click.option("--memory", default=_DEFAULTS.memory, show_default=True, help="Main memory.")
@click.option("--storage", default=_DEFAULTS.storage, show_default=True, help="For models.")
@click.option("--gpu", type=int, default=0, help="Number of GPUs.")
@click.option("--gpu-model", multiple=True, metavar="MODEL[/RAM]", help="Acceptable GPU; repeat.")
@click.option("--price", default=str(_DEFAULTS.price), show_default=True, help="Most, per block.")
@click.option("--denom", default=_DEFAULTS.denom, show_default=True, help="Currency.")
@click.option("--region", default="", help="Region a provider must be in.")
@click.option("--env", multiple=True, metavar="NAME=VALUE", help="Variable; repeat.")
@as_json
def render_command(
    template: str,
    json: bool,
    keys: str,
    key_file: Path | None,
    gpu: int,
    gpu_model: tuple[str, ...],
    env: tuple[str, ...],
    **plain: str | int,
) -> None:
    """Print the SDL of an endpoint. Only the digest of a key gets into it."""
    digests = as_digests(ensure(key_file)) if key_file else keys
    inputs = msgspec.convert(
        {**plain, "keys_text": digests, "gpu": _gpu(gpu, gpu_model), "env": _env(env)}, RenderInputs
    )
    text = render(inputs, template)
    if not json:
        click.echo(text, nl=False)
        return
    row = as_row(validate(text, f"<{template}>")) | {"sdl": text}
    click.echo(msgspec.json.encode(row).decode())


def _gpu(units: int, models: tuple[str, ...]) -> GPURequest | None:
    if models and not units:
        raise UsageError("--gpu-model is given without --gpu", hint="add --gpu 1")
    choices = (model.partition("/") for model in models)
    request = GPURequest(units, tuple(GPUChoice(model, ram) for model, _, ram in choices))
    return request if units else None


def _env(items: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals:
            raise UsageError(f"--env {item!r} has no value", hint=f"write --env {name}=VALUE")
        pairs[name] = value
    return pairs
