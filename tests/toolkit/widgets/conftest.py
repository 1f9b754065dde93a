"""Keepers whose targets are stand-ins, as the tests of deploying have them, and an account."""

from tests.support.console.rented import ingress, server, world
from tests.toolkit.deploy.conftest import keeper

__all__ = ["ingress", "keeper", "server", "world"]
