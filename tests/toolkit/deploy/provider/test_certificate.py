"""Reading certificates: as openssl reads them, and never failing in another way than said."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.certificates import authority, openssl, self_signed
from tests.toolkit.deploy.provider.conftest import PROVIDER, SERIAL, Certificates
from toolkit.deploy.provider import certificate
from toolkit.deploy.provider.certificate import Certificate

BEGIN, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)


def made(subject: str = PROVIDER, issuer: str = PROVIDER, serial: int = SERIAL) -> Certificate:
    return Certificate(
        subject=subject,
        issuer=issuer,
        serial=serial,
        not_before=BEGIN,
        not_after=END,
        fingerprint=b"",
    )


def test_it_is_read_as_openssl_reads_it(certificates: Certificates) -> None:
    seen = certificate.read(certificates.own.der)
    file = str(certificates.own.certificate)
    printed = openssl("x509", "-in", file, "-noout", "-dates", "-serial", "-fingerprint", "-sha256")
    fields = dict(line.split("=", 1) for line in printed.decode().splitlines())
    form = "%b %d %H:%M:%S %Y GMT"
    assert seen.not_before == datetime.strptime(fields["notBefore"], form).replace(tzinfo=UTC)
    assert seen.not_after == datetime.strptime(fields["notAfter"], form).replace(tzinfo=UTC)
    assert seen.serial == int(fields["serial"], 16) == SERIAL
    assert seen.fingerprint.hex(":").upper() == fields["sha256 Fingerprint"]
    assert (seen.subject, seen.issuer) == (PROVIDER, PROVIDER)


def test_a_signed_one_names_its_issuer(certificates: Certificates) -> None:
    seen = certificate.read(certificates.web.der)
    assert (seen.subject, seen.issuer) == ("localhost", "Test Authority")


def test_a_large_serial_number_is_read(certificates: Certificates) -> None:
    folder = certificates.folder / "large"
    folder.mkdir()
    assert certificate.read(authority(folder).der).serial > 2**64
    assert certificate.read(self_signed(folder, "a", serial=2**127).der).serial == 2**127


def test_two_names_are_refused(certificates: Certificates) -> None:
    folder = certificates.folder / "two"
    folder.mkdir()
    twice = self_signed(folder, f"{PROVIDER}/CN=b")
    with pytest.raises(ValueError, match="more than one"):
        certificate.read(twice.der)


@pytest.mark.parametrize(
    ("seen", "now", "why"),
    [
        (made(), BEGIN, None),
        (made(), END, None),
        (made(subject="akash1other"), BEGIN, "name the provider"),
        (made(subject=""), BEGIN, "name the provider"),
        (made(issuer="other"), BEGIN, "issued by the provider itself"),
        (made(serial=0), BEGIN, "no serial"),
        (made(serial=-1), BEGIN, "no serial"),
        (made(), BEGIN - timedelta(seconds=1), "not valid yet"),
        (made(), END + timedelta(seconds=1), "expired"),
    ],
)
def test_what_can_be_a_providers_own(seen: Certificate, now: datetime, why: str | None) -> None:
    problem = certificate.problem(seen, PROVIDER, now)
    assert problem is None if why is None else why in str(problem)


@given(st.binary())
def test_bytes_that_are_no_certificate_raise_nothing_but_value_errors(data: bytes) -> None:
    with pytest.raises(ValueError):
        certificate.read(data)


@given(data=st.data())
def test_nor_does_a_certificate_that_was_changed(
    certificates: Certificates, data: st.DataObject
) -> None:
    der = bytearray(certificates.own.der)
    for _ in range(data.draw(st.integers(1, 4))):
        der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(der)))
    with suppress(ValueError):
        certificate.read(bytes(der[:cut]) + bytes(der[cut:]) * data.draw(st.integers(0, 2)))


def test_what_is_too_long_is_not_read() -> None:
    with pytest.raises(ValueError, match="too long"):
        certificate.read(bytes(certificate.MAX_BYTES + 1))
