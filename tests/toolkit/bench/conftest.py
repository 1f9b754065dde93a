"""What the tests of the benchmark have in common."""

import os

import pytest


def skip_if_busy() -> None:
    """Called when times are off: they say nothing where others keep the processors busy."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load > cores:
        pytest.skip(f"too busy to time anything: a load of {load:.1f} on {cores} cores")
