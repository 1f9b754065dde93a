"""Ports of loopback: which are free now. Only listening settles whose a port is."""

import socket

HOST = "127.0.0.1"


def free_port(wanted: int) -> int:
    """`wanted` if nothing listens there, else one that the system picks."""
    if wanted and is_free(wanted):
        return wanted
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Whether a server could listen on that port of loopback now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
