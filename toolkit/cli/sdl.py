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
from toolkit.sdl.compose import compose
from toolkit.sdl.diff import Diff, diff
from toolkit.sdl.dump import dump
from toolkit.sdl.groups import Units, group_specs
from toolkit.sdl.inputs import (
    DEFAULT_TEMPLATE,
    GPUChoice,
    GPURequest,
    RegistryAccess,
    RenderInputs,
)
from toolkit.sdl.manifest import canonical, manifest, manifest_hash
from toolkit.sdl.nodes import MAX_BYTES, MalformedYAML, load, values
from toolkit.sdl.parse import parse
from toolkit.sdl.problems import Level, Problem, Report
from toolkit.sdl.render import render, template_names
from toolkit.sdl.validate import validate

_DEFAULTS = RenderInputs()
# Where a file may hold a secret: the line is not repeated.
_SECRET_PARTS = frozenset({"credentials", "env", "args", "command"})
_AUDITORS = "Auditor that has approved the provider; repeat, any one will do."
# Of a value that changed.
_MOST_SHOWN = 60


def _help(text: str, name: str) -> str:
    return f"{text}. [default: {getattr(_DEFAULTS, name)}]"


files = click.argument("files", nargs=-1, required=True, metavar="FILE...")
as_json = click.option("--json", "json", is_flag=True, help="One JSON object per file.")
units = click.option(
    "--units",
    type=click.Choice([each.value for each in Units]),
    default=Units.PROFILE.value,
    show_default=True,
    help="What is one unit where services share a compute profile: the network's TypeScript "
    "tools say the profile, its Go tools for SDL 2.0 the service.",
)


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
@units
@as_json
def hash_command(files: tuple[str, ...], units: str, json: bool) -> int:
    """Print the hash of each FILE's manifest, as it goes on chain."""

    def hashed(text: bytes) -> str:
        return manifest_hash(parse(text).sdl, Units(units))

    return _each(
        files,
        json,
        lambda report, text: f"{hashed(text)}  {report.file}",
        lambda text: {"hash": hashed(text)},
    )


@sdl.command("manifest")
@files
@units
@as_json
def manifest_command(files: tuple[str, ...], units: str, json: bool) -> int:
    """Print the manifest of each FILE, as the provider is sent it."""

    def made(text: bytes) -> list[dict[str, Any]]:
        return manifest(parse(text).sdl, Units(units))

    return _each(
        files,
        json,
        lambda _, text: canonical(made(text)).decode(),
        lambda text: {"manifest": made(text)},
    )


@sdl.command("groups")
@files
@units
@as_json
def groups_command(files: tuple[str, ...], units: str, json: bool) -> int:
    """Print what each FILE asks of the market, as it goes on chain: one group a placement."""

    def made(text: bytes) -> list[dict[str, Any]]:
        return group_specs(parse(text).sdl, Units(units))

    return _each(
        files,
        json,
        lambda _, text: canonical(made(text)).decode(),
        lambda text: {"groups": made(text)},
    )


@sdl.command("format")
@files
@as_json
def format_command(files: tuple[str, ...], json: bool) -> int:
    """Print each FILE as every YAML reader takes it alike; comments are lost."""

    def made(text: bytes) -> str:
        return dump(parse(text).sdl)

    return _each(
        files, json, lambda _, text: made(text).rstrip("\n"), lambda text: {"sdl": made(text)}
    )


def _each(
    files: Iterable[str],
    json: bool,
    show: Callable[[Report, bytes], str],
    more: Callable[[bytes], dict[str, Any]] = lambda _: {},
) -> int:
    """Report on each file; what `show` makes of a good one goes to standard output, with
    `json` what `more` makes of it into its row."""
    is_ok = True
    for file in files:
        text, report = _examined(file)
        is_ok &= report.ok
        if json:
            row = as_row(report) | (more(text) if report.ok else {})
            click.echo(msgspec.json.encode(row).decode())
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


# -- diff ---------------------------------------------------------------------


@sdl.command("diff")
@click.argument("old", metavar="OLD")
@click.argument("files", nargs=-1, required=True, metavar="NEW...")
@as_json
def diff_command(old: str, files: tuple[str, ...], json: bool) -> int:
    """Say what changes from OLD, which runs, to each NEW, and whether its lease can take it."""
    text, report = _examined(old)
    if not report.ok:
        return _each([old], json, lambda *_: "")
    before = parse(text).sdl
    return _each(
        files,
        json,
        lambda report, text: "\n".join(_changes(report.file, diff(before, parse(text).sdl))),
        lambda text: msgspec.to_builtins(diff(before, parse(text).sdl)),
    )


def _changes(file: str, found: Diff) -> Iterator[str]:
    yield f"{file}: {found.verdict}"
    width = max((len(change.effect) for change in found.changes), default=0)
    for change in found.changes:
        shown = f"  {_clipped(change.old) or '-'} -> {_clipped(change.new) or '-'}"
        is_shown = change.old or change.new
        yield f"  {change.effect:{width}}  {change.path}{shown if is_shown else ''}"


def _clipped(text: str) -> str:
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 3]}..."


# -- render -------------------------------------------------------------------


@sdl.command("render")
@click.argument("files", nargs=-1, metavar="[INPUTS...]")
@click.option("--template", type=click.Choice(template_names()), default=DEFAULT_TEMPLATE)
@click.option("--image", help="With its tag or digest.")
@click.option("--engine-image", help="Behind a gateway, instead of the template's.")
@click.option("--keys", "keys_text", help="Key digests, name:scope:sha256[,...].")
@click.option("--key-file", type=click.Path(path_type=Path), help="Key; made if not there.")
@click.option("--api-key", metavar="ac-secret://NAME", help="The key of a plain image.")
@click.option("--without-auth", is_flag=True, default=None, help="Open to everybody.")
@click.option("--service", help=_help("Its name", "service"))
@click.option("--model", help=_help("Model to serve", "model"))
@click.option("--context", type=int, help=_help("Tokens a request", "context"))
@click.option("--parallel", type=int, help=_help("Requests at once", "parallel"))
@click.option("--engine-arg", "engine_args", multiple=True, help="Of vLLM or a plain image.")
@click.option("--cpu", help=_help("Cores, or 500m", "cpu"))
@click.option("--memory", help=_help("Main memory", "memory"))
@click.option("--root", help=_help("What a restart empties", "root"))
@click.option("--storage", help=_help("For models", "storage"))
@click.option("--storage-class", help=_help('Its class; "" keeps nothing', "storage_class"))
@click.option("--shm", help=_help("Shared memory where an engine needs it", "shm"))
@click.option("--gpu", type=int, default=0, help="Number of GPUs.")
@click.option(
    "--gpu-model", multiple=True, metavar="MODEL[/RAM[/INTERFACE]]", help="Acceptable GPU; repeat."
)
@click.option("--gateway-cpu", help=_help("Of a gateway", "gateway_cpu"))
@click.option("--gateway-memory", help=_help("Of a gateway", "gateway_memory"))
@click.option("--count", type=int, help=_help("Replicas", "count"))
@click.option("--domain", "domains", multiple=True, help="Of your own; repeat.")
@click.option("--leased-ip", is_flag=True, default=None, help="An IP beside the address.")
@click.option("--tee", help="Confidential hardware, cpu or cpu-gpu.")
@click.option("--price", help=_help("Most, per block", "price"))
@click.option("--gateway-price", help=_help("Most for a gateway", "gateway_price"))
@click.option("--denom", help=_help("Currency", "denom"))
@click.option("--region", help="Region a provider must be in.")
@click.option("--attribute", multiple=True, metavar="NAME=VALUE", help="Of a provider; repeat.")
@click.option("--signed-by", multiple=True, metavar="ADDRESS", help=_AUDITORS)
@click.option(
    "--registry",
    nargs=3,
    metavar="HOST USER ac-secret://NAME",
    help="Access to a private image.",
)
@click.option(
    "--engine-registry",
    nargs=3,
    metavar="HOST USER ac-secret://NAME",
    help="Access to a private image behind a gateway.",
)
@click.option("--env", multiple=True, metavar="NAME=VALUE", help="Variable; repeat.")
@click.option("--compose", "is_compose", is_flag=True, help="For Docker Compose instead.")
@as_json
def render_command(
    files: tuple[str, ...],
    template: str,
    json: bool,
    key_file: Path | None,
    gpu: int,
    gpu_model: tuple[str, ...],
    env: tuple[str, ...],
    attribute: tuple[str, ...],
    registry: tuple[str, str, str] | None,
    engine_registry: tuple[str, str, str] | None,
    is_compose: bool,
    **plain: Any,
) -> None:
    """Print the SDL of an endpoint. Only the digest of a key gets into it.

    Each INPUTS is a YAML or JSON file of what the options say, by the same names with _;
    options win.
    """
    said = {name: value for name, value in plain.items() if value not in (None, ())}
    if key_file:
        said["keys_text"] = as_digests(ensure(key_file))
    if gpu or gpu_model:
        said["gpu"] = _gpu(gpu, gpu_model)
    if env:
        said["env"] = _pairs("--env", env)
    if attribute:
        said["attributes"] = _pairs("--attribute", attribute)
    if registry:
        said["registry"] = RegistryAccess(*registry)
    if engine_registry:
        said["engine_registry"] = RegistryAccess(*engine_registry)
    for file in files or (None,):
        inputs = _inputs(file, said)
        text = render(inputs, template)
        shown = compose(parse(text).sdl) if is_compose else text
        if json:
            row = as_row(validate(text, f"<{template}>"))
            row |= {"compose" if is_compose else "sdl": shown}
            click.echo(msgspec.json.encode(row).decode())
        else:
            click.echo(shown, nl=False)


def _inputs(file: str | None, said: dict[str, Any]) -> RenderInputs:
    """What a file says and the options say over it. Raises `UsageError`."""
    given = {} if file is None else _read_inputs(file)
    try:
        return msgspec.convert(given | said, RenderInputs)
    except msgspec.ValidationError as error:
        where = f"{file}: " if file else ""
        raise UsageError(f"{where}{error}", hint="see akash-llm sdl render --help") from None


def _read_inputs(file: str) -> dict[str, Any]:
    try:
        root = load(_content(file))
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}", hint="name a file") from None
    except MalformedYAML as error:
        place = f"{file}:{error.position.line}:{error.position.column}"
        raise UsageError(f"{place}: {error.message}", hint=error.hint) from None
    found = values(root)
    known = RenderInputs.__struct_fields__
    if not isinstance(found, dict):
        raise UsageError(f"{file} holds no inputs", hint="write for example model: qwen2.5:7b")
    for name in found:
        if name not in known:
            raise UsageError(
                f"{file}: there is no input {name!r}", hint=f"there are: {', '.join(known)}"
            )
    return found


def _gpu(units: int, models: tuple[str, ...]) -> GPURequest:
    if models and not units:
        raise UsageError("--gpu-model is given without --gpu", hint="add --gpu 1")
    return GPURequest(units, tuple(GPUChoice(*model.split("/", 2)) for model in models))


def _pairs(option: str, items: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals:
            raise UsageError(f"{option} {item!r} has no value", hint=f"write {option} {name}=VALUE")
        pairs[name] = value
    return pairs
