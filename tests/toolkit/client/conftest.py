"""Certificates for servers on loopback."""

import hashlib
import ssl
from pathlib import Path

import pytest

from tests.support.certificates import KeyPair, authority, self_signed, signed_by


class Certificates:
    """An `own` one that is self-signed, an `other` such one, and `web`, of an `authority`."""

    def __init__(self, folder: Path) -> None:
        self.own = self_signed(folder, "ingress.local", is_over=True)
        self.other = self_signed(folder, "ingress.local", serial=8)
        self.authority = authority(folder)
        self.web = signed_by(self.authority, folder, "localhost")


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def pin_of(pair: KeyPair) -> str:
    """What a handle says of a certificate."""
    return hashlib.sha256(pair.der).hexdigest()


def serving(pair: KeyPair, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """The TLS of a server that shows this certificate; of one version only, if it is given."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context
