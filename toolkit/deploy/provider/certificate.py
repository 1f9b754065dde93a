"""What a provider's own certificate says of itself.

Nothing here proves anything: whoever makes a certificate writes what they like into it.
It is hostile until its fingerprint is found on the chain.
"""

import hashlib
import warnings
from datetime import datetime

import msgspec
from cryptography import x509
from cryptography.x509.oid import NameOID


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """`subject` and `issuer` are common names, "" unless there is exactly one."""

    subject: str
    issuer: str
    serial: int
    not_before: datetime
    not_after: datetime


def fingerprint(der: bytes) -> bytes:
    """What a certificate is known by: SHA-256 of its bytes."""
    return hashlib.sha256(der).digest()


def read(der: bytes) -> Certificate:
    """The certificate in these bytes. Raises `ValueError`, nothing else, and does not warn."""
    with warnings.catch_warnings():
        # Of what is odd but can be read; `problem` has the rules that count.
        warnings.simplefilter("ignore")
        try:
            seen = x509.load_der_x509_certificate(der)
            return Certificate(
                subject=_common_name(seen.subject),
                issuer=_common_name(seen.issuer),
                serial=seen.serial_number,
                not_before=seen.not_valid_before_utc,
                not_after=seen.not_valid_after_utc,
            )
        except (ValueError, TypeError, x509.InvalidVersion) as error:
            raise ValueError("it cannot be read") from error


def problem(seen: Certificate, provider: str, now: datetime) -> str | None:
    """Why this cannot be the own certificate of `provider`, None where it can be."""
    if seen.subject != provider:
        return "it does not name the provider of the lease"
    if seen.issuer != seen.subject:
        return "it is not issued by the provider itself"
    if seen.serial <= 0:
        return "it has no serial number"
    if now < seen.not_before:
        return "it is not valid yet"
    if now > seen.not_after:
        return "it has expired"
    return None


def _common_name(name: x509.Name) -> str:
    names = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if len(names) == 1 else ""
