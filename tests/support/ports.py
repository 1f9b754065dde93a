"""Ports of this machine that are free, and one that is not."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def occupied(port: int) -> Iterator[None]:
    """The port listens; if somebody else has it already, that is as good."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):
            taken.bind(("127.0.0.1", port))
            taken.listen()
        yield
