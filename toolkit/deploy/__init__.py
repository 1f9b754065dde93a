"""Where endpoints run, and how they come and go.

`toolkit.deploy` is this package and, for notebooks, the function that deploys: importing
any module of the package binds its name on `toolkit`, so the module itself is callable.
"""

import sys
from types import ModuleType
from typing import Any


class _CallablePackage(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from toolkit.deploy.lifecycle import deploy

        return deploy(*args, **kwargs)


sys.modules[__name__].__class__ = _CallablePackage
