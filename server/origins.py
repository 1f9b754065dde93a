"""Which web pages may use the server, and under which names it may be called.

A browser names the page in Origin, and a page that is not allowed gets 403. On
loopback the Host is checked too, or a page could get in under a name of its own that
it lets point here (DNS rebinding).
"""

import fnmatch
import ipaddress
import re
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

_LOCAL_HOSTS = ("localhost", "127.0.0.1", "0.0.0.0")
_LOCAL_SCHEMES = (
    "app",
    "file",
    "tauri",
    "vscode-webview",
    "vscode-file",
    "chrome-extension",
    "moz-extension",
    "safari-web-extension",
)
_LOCAL_SUFFIXES = (".localhost", ".local", ".internal")

ALLOWED_HEADERS = (
    "Authorization, Content-Type, User-Agent, Accept, X-Requested-With, X-Api-Key, "
    "X-Request-Id, OpenAI-Beta, OpenAI-Organization, OpenAI-Project, anthropic-version, "
    "anthropic-beta, anthropic-dangerous-direct-browser-access"
)
ALLOWED_METHODS = "GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS"
EXPOSED_HEADERS = (
    "x-request-id, x-truncated-tokens, x-num-ctx, x-chat-template, x-error-hint, retry-after, "
    "x-ratelimit-limit-requests, x-ratelimit-limit-tokens, x-ratelimit-remaining-requests, "
    "x-ratelimit-remaining-tokens, x-ratelimit-reset-requests, x-ratelimit-reset-tokens"
)
# The clients of OpenAI and Anthropic describe themselves in more of these with every release.
_STAINLESS = re.compile(r"x-stainless-[a-z0-9-]{1,64}")


class Origins:
    """The rule. `extra` are more origins, `*` in them stands for anything; `is_loopback`
    switches the check of the Host on."""

    def __init__(self, extra: Sequence[str], *, is_loopback: bool) -> None:
        self._extra = tuple(pattern.lower() for pattern in extra)
        self._is_loopback = is_loopback
        self._own_name = socket.gethostname().lower()

    def allows_origin(self, origin: str, host: str) -> bool:
        """Whether a page of that origin may use the server, which it called `host`."""
        origin = origin.lower()
        if origin in (f"http://{host.lower()}", f"https://{host.lower()}"):
            return True
        try:
            parts = urlsplit(origin)
            name = parts.hostname
        except ValueError:
            return False
        if parts.scheme in _LOCAL_SCHEMES:
            return True
        if parts.scheme in ("http", "https") and name in _LOCAL_HOSTS:
            return True
        return any(fnmatch.fnmatchcase(origin, pattern) for pattern in self._extra)

    def allows_host(self, host: str) -> bool:
        """Whether the server may be called by that Host header."""
        if not self._is_loopback:
            return True
        name = _without_port(host.lower())
        if name in ("", "localhost", self._own_name) or name.endswith(_LOCAL_SUFFIXES):
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or address.is_private or address.is_unspecified

    def cors_headers(self, origin: str) -> dict[str, str]:
        """What tells a browser that the page may read the reply."""
        return {
            "access-control-allow-origin": origin,
            "access-control-expose-headers": EXPOSED_HEADERS,
            "vary": "Origin",
        }

    def preflight_headers(self, origin: str, asked: str = "") -> dict[str, str]:
        """The answer to a browser that asks beforehand; `asked` are the headers that the page
        wants to send."""
        names = {name.strip().lower() for name in asked.split(",")}
        more = sorted(name for name in names if _STAINLESS.fullmatch(name))
        return {
            **self.cors_headers(origin),
            "access-control-allow-methods": ALLOWED_METHODS,
            "access-control-allow-headers": ", ".join([ALLOWED_HEADERS, *more]),
            "access-control-max-age": "43200",
        }


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() and ":" not in name else host
