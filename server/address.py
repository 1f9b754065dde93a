"""Addresses: which of them only this machine can reach, and where an engine behind us answers."""

import ipaddress
import os
from typing import Final
from urllib.parse import urlsplit

UPSTREAM_KEY_VARIABLE: Final = "AKASH_LLM_UPSTREAM_KEY"
# What the address of a socket begins with; its path follows.
SOCKET: Final = "unix:"
# A kernel takes a path of 103 bytes and none that is much longer (sun_path).
LONGEST_SOCKET: Final = 100


def is_loopback(host: str) -> bool:
    """Whether a bind address is reachable from this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_here(upstream: str) -> bool:
    """Whether what answers at an `upstream_address` runs on this machine."""
    return upstream.startswith(SOCKET) or is_loopback(urlsplit(upstream).hostname or "")


def upstream_address(text: str) -> str:
    """The address of an engine without what is behind its port and path: what is asked goes
    there. Raises `ValueError`."""
    text = text.strip()
    if text.startswith(SOCKET):
        return _socket(text)
    try:
        url = urlsplit(text)
        is_one = bool(url.hostname) and url.port != 0
    except ValueError:
        url, is_one = urlsplit(""), False
    if not is_one or url.scheme not in ("http", "https") or url.query or url.fragment:
        raise ValueError(
            "expected an address such as http://localhost:8000 or unix:/run/vllm.sock, "
            f"got {text!r}"
        )
    if url.username or url.password:
        raise ValueError(f"it holds a name or password: put a key into {UPSTREAM_KEY_VARIABLE}")
    return url.geturl().rstrip("/").removesuffix("/v1")


def _socket(text: str) -> str:
    path = text.removeprefix(SOCKET)
    if not path.startswith("/") or "\0" in path or len(os.fsencode(path)) > LONGEST_SOCKET:
        raise ValueError(
            f"expected {SOCKET} and the whole path of a socket, of at most {LONGEST_SOCKET} "
            f"bytes, got {text!r}"
        )
    return text
