"""An account for notebooks that rent."""

from tests.support.console.rented import ingress, server, world

__all__ = ["ingress", "server", "world"]
