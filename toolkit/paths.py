"""Every path that the toolkit writes, as functions of one environment variable.

    AKASH_LLM_HOME/
    ├── models/                       Ollama's on-disk layout
    ├── endpoints/<name>/             rendered SDL, logs, mounts, api.key (mode 0600)
    ├── state/                        keys and usage of `akash-llm serve`
    ├── ledger.db                     what was opened, written before it is
    ├── home-id                       what tells this home from others that share an account
    └── runs/<time>-<notebook>/       executed notebooks with their results

Nothing is created here, but by whoever writes.
"""

import os
from pathlib import Path

import platformdirs

HOME_VARIABLE = "AKASH_LLM_HOME"


def home() -> Path:
    """The folder everything lies under; absolute, because processes elsewhere are told it."""
    given = os.environ.get(HOME_VARIABLE) or platformdirs.user_data_dir("akash-llm")
    return Path(given).expanduser().absolute()


def models() -> Path:
    """The model store, in Ollama's layout."""
    return home() / "models"


def endpoints() -> Path:
    """One folder per endpoint."""
    return home() / "endpoints"


def endpoint(name: str) -> Path:
    """The folder of the endpoint called `name`."""
    return endpoints() / name


def key_file(name: str) -> Path:
    """Where the key of the endpoint called `name` is kept, mode 0600."""
    return endpoint(name) / "api.key"


def state(name: str | None = None) -> Path:
    """The keys and the usage of the server of an endpoint; without a name, of `serve`."""
    return (endpoint(name) if name else home()) / "state"


def ledger() -> Path:
    """The SQLite ledger."""
    return home() / "ledger.db"


def runs() -> Path:
    """One folder per executed notebook."""
    return home() / "runs"


def _shipped(folder: str) -> Path:
    """A folder of the repository, or its copy inside the installed package."""
    package = Path(__file__).resolve().parent
    beside = package.parent / folder
    return beside if beside.is_dir() else package / f"_{folder}"


def templates() -> Path:
    """The SDL templates."""
    return _shipped("templates")


def notebooks() -> Path:
    """The notebooks as shipped."""
    return _shipped("notebooks")
