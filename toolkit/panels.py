"""The panels: what a person looks at and clicks. Each is shown by being a cell's last value.

    from toolkit.panels import ChatPanel

They are imported when they are first used: widgets need the notebook's packages.
"""

import importlib
from typing import Any

_HOMES = {
    "BenchPanel": "toolkit.widgets.bench",
    "ChatPanel": "toolkit.widgets.chat",
    "DeployPanel": "toolkit.widgets.deploy",
    "MarketPanel": "toolkit.widgets.market",
    "ModelsPanel": "toolkit.widgets.models",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'toolkit.panels' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
