"""The toolkit: private LLM endpoints, planned, deployed, used and measured.

These names are all that a notebook needs; each is imported when it is first used. The
packages `deploy` and `bench` are at the same time the functions of that name; `models`,
`panels` and `sdl` hold what is about models, what is looked at, and deployment files.
"""

import importlib
from typing import Any

_HOMES = {
    "Endpoint": "toolkit.client",
    "close": "toolkit.deploy.lifecycle",
    "connect": "toolkit.deploy.lifecycle",
    "doctor": "toolkit.deploy.lifecycle",
    "glue": "toolkit.automation.glue",
    "ledger": "toolkit.deploy.lifecycle",
    "logs": "toolkit.deploy.lifecycle",
    "plan": "toolkit.deploy.lifecycle",
    "size": "toolkit.sizing.sizing",
    "status": "toolkit.deploy.lifecycle",
}
_PACKAGES = ("bench", "deploy", "models", "panels", "sdl")

__all__ = [*_HOMES, *_PACKAGES]


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return importlib.import_module(f"toolkit.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'toolkit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
