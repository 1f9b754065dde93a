"""Where the program of an engine lies on this machine."""

import os
import shutil
from pathlib import Path
from typing import Final

import platformdirs

from toolkit.deploy.engines.base import LocalEngine
from toolkit.errors import ConfigError

# The folder of the user's cache where `make engines` makes a virtual environment per engine.
CACHE: Final = "akash-llm-peers"


def variable(engine: LocalEngine) -> str:
    """The setting that names the program: AKASH_LLM_VLLM, AKASH_LLM_OLLAMA."""
    return f"AKASH_LLM_{engine.name.upper()}"


def find_program(engine: LocalEngine) -> Path:
    """The program of the setting, else of PATH, else of an environment in the user's cache.

    The path is absolute. `ConfigError` with the next step where there is none.
    """
    if given := os.environ.get(variable(engine)):
        return _given(engine, given)
    on_path = shutil.which(engine.name)
    made = Path(platformdirs.user_cache_dir(CACHE)) / engine.name / "bin" / engine.name
    found = Path(on_path) if on_path else made
    if not _is_program(found):
        raise ConfigError(
            f"{engine.name} is not installed here",
            hint=f"{engine.how_to_get} If it is at another place than PATH:"
            f" {variable(engine)}=/path/to/{engine.name}",
        )
    return found.absolute()


def _given(engine: LocalEngine, text: str) -> Path:
    path = Path(text).expanduser().absolute()
    if not _is_program(path):
        raise ConfigError(
            f"{variable(engine)} names {text!r}, which is no program",
            hint=f"It is the path of the file {engine.name} itself; leave it out to use PATH.",
        )
    return path


def _is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)
