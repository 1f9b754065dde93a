"""`akash-llm size`: what a model needs, as a table with reasons."""

import click
import msgspec

from server.models.sources import DEFAULT_REGISTRIES
from toolkit.cli import loop
from toolkit.models.local import REGISTRIES_VARIABLE, parsed_registries
from toolkit.safetext import cleaned
from toolkit.sizing.demand import ENGINES, Engine
from toolkit.sizing.sizing import REQUANTIZED
from toolkit.sizing.sizing import size as find_size
from toolkit.sizing.table import table


@click.command()
@click.argument("model")
@click.option("--context", default=2048, show_default=True, help="Tokens a request.")
@click.option("--parallel", default=4, show_default=True, help="Requests at once.")
@click.option("--kv", default="f16", show_default=True, help="Cache: f16, q8_0, q4_0; vLLM: fp8.")
@click.option("--engine", type=click.Choice(ENGINES), default="llama-cpp", show_default=True)
@click.option("--gpu", "gpus", multiple=True, metavar="MODEL", help="A GPU that may be used.")
@click.option("--cpu", "on_cpu", is_flag=True, help="On a processor alone.")
@click.option("--requantize", type=click.Choice(REQUANTIZED), help="As the server is told.")
@click.option(
    "--registries",
    envvar=REGISTRIES_VARIABLE,
    default=",".join(DEFAULT_REGISTRIES),
    show_default=True,
    metavar="HOST,…",
    help="Which registries may be asked; http:// before a host means plain http.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def size(
    model: str,
    context: int,
    parallel: int,
    kv: str,
    engine: Engine,
    gpus: tuple[str, ...],
    on_cpu: bool,
    requantize: str | None,
    registries: str,
    as_json: bool,
) -> None:
    """Say what MODEL needs: memory, storage, GPUs, and about how fast it will be.

    MODEL is a GGUF file, a name in the model store or in a registry, hf.co/user/repo:quantization,
    or hf://user/repo/file.gguf; for vLLM a folder with a config.json, or user/repo on Hugging
    Face. Of models that are not on this machine only the description is fetched.
    """
    found = loop.run(
        find_size(
            model,
            context=context,
            parallel=parallel,
            kv=kv,
            engine=engine,
            gpus=gpus,
            on_cpu=on_cpu,
            requantize=requantize or "",
            registries=parsed_registries(registries, "--registries"),
        )
    )
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
        return
    for line in table(found):
        click.echo(cleaned(line))  # the file's maker wrote some of it
