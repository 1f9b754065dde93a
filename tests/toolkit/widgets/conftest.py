"""Keepers whose targets are stand-ins, as the tests of deploying have them."""

from tests.toolkit.deploy.conftest import keeper

__all__ = ["keeper"]
