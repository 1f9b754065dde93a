"""Certificates: a provider's own, and those of an authority."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

# Providers write the version of their scheme beside their name.
VERSION = x509.NameAttribute(x509.ObjectIdentifier("2.23.133.2.6"), "v0.0.1")


class KeyPair(NamedTuple):
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path

    @property
    def der(self) -> bytes:
        return _loaded(self).public_bytes(serialization.Encoding.DER)


def self_signed(folder: Path, *names: str, serial: int = 7, is_over: bool = False) -> KeyPair:
    """A certificate that its `names` issued to themselves; a provider has one."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(*names, more=[VERSION])
    builder = _builder(name, name, key, serial, is_over=is_over)
    return _written(folder, f"{names[0]}-{serial}", builder.sign(key, hashes.SHA256()), key)


def authority(folder: Path) -> KeyPair:
    """A certificate that may sign others."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("Test Authority")
    builder = _builder(name, name, key, x509.random_serial_number()).add_extension(
        x509.BasicConstraints(ca=True, path_length=None), critical=True
    )
    return _written(folder, "authority", builder.sign(key, hashes.SHA256()), key)


def signed_by(issuer: KeyPair, folder: Path, host: str) -> KeyPair:
    """A certificate for a host name."""
    key = ec.generate_private_key(ec.SECP256R1())
    signer = serialization.load_pem_private_key(issuer.key.read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    builder = _builder(_name(host), _loaded(issuer).subject, key, 11).add_extension(
        x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False
    )
    return _written(folder, host, builder.sign(signer, hashes.SHA256()), key)


def _name(*names: str, more: Sequence[x509.NameAttribute[str]] = ()) -> x509.Name:
    common = [x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names]
    return x509.Name([*common, *more])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    serial: int,
    *,
    is_over: bool = False,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    end = now - timedelta(days=1) if is_over else now + timedelta(days=30)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(end)
    )


def _loaded(pair: KeyPair) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pair.certificate.read_bytes())


def _written(
    folder: Path, stem: str, made: x509.Certificate, key: ec.EllipticCurvePrivateKey
) -> KeyPair:
    pair = KeyPair(folder / f"{stem}.pem", folder / f"{stem}.key")
    pem = serialization.Encoding.PEM
    pair.certificate.write_bytes(made.public_bytes(pem))
    form, secret = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    pair.key.write_bytes(key.private_bytes(pem, form, secret))
    return pair
