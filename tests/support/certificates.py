"""Certificates made by the openssl program: a provider's own, and those of an authority."""

import subprocess
from pathlib import Path
from typing import NamedTuple


class KeyPair(NamedTuple):
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path

    @property
    def der(self) -> bytes:
        return openssl("x509", "-in", str(self.certificate), "-outform", "DER")


def openssl(*arguments: str) -> bytes:
    """What the program prints; fails with what it says is wrong."""
    done = subprocess.run(["openssl", *arguments], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def self_signed(folder: Path, name: str, *, serial: int = 7, is_over: bool = False) -> KeyPair:
    """A certificate that `name` issued to itself, as providers do."""
    pair = _pair(folder, f"{name}-{serial}")
    _request(pair, name, "-x509", "-set_serial", str(serial), "-days", "30")
    if is_over:
        file = str(pair.certificate)
        again = ("-signkey", str(pair.key), "-set_serial", str(serial), "-days", "-1")
        openssl("x509", "-in", file, *again, "-out", file)
    return pair


def authority(folder: Path) -> KeyPair:
    """A certificate that may sign others."""
    pair = _pair(folder, "authority")
    _request(pair, "Test Authority", "-x509", "-days", "30")
    return pair


def signed_by(issuer: KeyPair, folder: Path, host: str) -> KeyPair:
    """A certificate for a host name."""
    pair = _pair(folder, host)
    request = pair.certificate.with_suffix(".csr")
    extensions = pair.certificate.with_suffix(".ext")
    extensions.write_text(f"subjectAltName=DNS:{host}\n")
    _request(pair._replace(certificate=request), host)
    sign = ("x509", "-req", "-in", str(request), "-days", "30", "-extfile", str(extensions))
    by = ("-CA", str(issuer.certificate), "-CAkey", str(issuer.key), "-set_serial", "11")
    openssl(*sign, *by, "-out", str(pair.certificate))
    return pair


def _pair(folder: Path, name: str) -> KeyPair:
    stem = name.replace("/", "-")
    return KeyPair(folder / f"{stem}.pem", folder / f"{stem}.key")


def _request(pair: KeyPair, name: str, *more: str) -> None:
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    files = ("-keyout", str(pair.key), "-out", str(pair.certificate))
    openssl("req", *key, *files, "-subj", f"/CN={name}", *more)
