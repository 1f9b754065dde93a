"""From where models may be pulled: an allow-list of registries.

A name begins with its registry (`hf.co/user/model:tag`), so whoever may pull could make
this machine talk to any host; only those on the list are talked to, over https unless the
list says http.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

import msgspec

from server.errors import Forbidden, InvalidRequest
from server.models.name import DEFAULT_HOST

HUGGING_FACE = ("huggingface.co", "hf.co")
DEFAULT_REGISTRIES = (DEFAULT_HOST, "hf.co", "huggingface.co")
_HOST = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]*|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?", re.ASCII)


class Registries(msgspec.Struct, frozen=True):
    """The registries that may be used: their URL by host in lower case, port included."""

    urls: Mapping[str, str]

    @classmethod
    def parse(cls, entries: Iterable[str] = DEFAULT_REGISTRIES) -> "Registries":
        """Read a list of `host[:port]`, `https://host[:port]` and `http://host[:port]`.

        Raises `ValueError` for anything else.
        """
        return cls(dict(map(_entry, entries)))

    def allows(self, host: str) -> bool:
        """Whether a host (with its port) is on the list."""
        return host.lower() in self.urls

    def url(self, host: str, *, insecure: bool = False) -> str:
        """Where a registry answers. `insecure` means http, which is for this machine only.

        Raises `Forbidden` for a host that is not on the list, `InvalidRequest` for one that
        is spoken to over https and should be over http.
        """
        url = self.urls.get(host.lower())
        if url is None:
            known = ", ".join(self.urls) or "none"
            raise Forbidden(
                f"models may not be pulled from {host}",
                hint=f"registries that may be used: {known} (--registries)",
            )
        if not insecure or url.startswith("http://"):
            return url
        if not _is_loopback(host):
            raise InvalidRequest(
                f"{host} is not used over http", hint=f"--registries http://{host} allows it"
            )
        return url.replace("https://", "http://", 1)


def _entry(text: str) -> tuple[str, str]:
    scheme, separator, host = text.strip().rpartition("://")
    scheme = scheme.lower() if separator else "https"
    host = host.rstrip("/").lower()
    if scheme not in ("http", "https") or not _HOST.fullmatch(host):
        raise ValueError(f"expected a host such as hf.co or http://127.0.0.1:5000, got {text!r}")
    return host, f"{scheme}://{host}"


def _is_loopback(host: str) -> bool:
    name = urlsplit(f"//{host}").hostname or ""
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
