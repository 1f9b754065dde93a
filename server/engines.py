"""The engines that there are. Another one is a module and a line here.

Each module has `open_engine(settings)`, which gives a `server.api.engines.Engine` or raises
`SettingsError`. Only the one that is wanted is imported.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from server.api.engines import Engine
    from server.settings import Settings

ENGINES: Final[Mapping[str, str]] = {
    "llama-cpp": "server.local",
    "vllm": "server.upstream.vllm",
    "ollama": "server.upstream.ollama",
}
# This one runs models itself; all others ask a server for it.
LOCAL: Final = "llama-cpp"


def open_engine(settings: "Settings") -> "Engine":
    """The engine that the settings name. Raises `SettingsError`."""
    opened: Engine = import_module(ENGINES[settings.engine]).open_engine(settings)
    return opened
