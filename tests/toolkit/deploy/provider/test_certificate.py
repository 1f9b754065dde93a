"""Reading certificates that anyone may have made: what can be a provider's own."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.certificates import self_signed
from tests.toolkit.deploy.provider.conftest import PROVIDER, SERIAL, Certificates
from toolkit.deploy.provider import certificate
from toolkit.deploy.provider.certificate import Certificate

BEGIN, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
SERIAL_FIELD = bytes((2, 1, SERIAL))
VERSION_FIELD = bytes((0xA0, 3, 2, 1, 2))


def made(subject: str = PROVIDER, issuer: str = PROVIDER, serial: int = SERIAL) -> Certificate:
    return Certificate(
        subject=subject, issuer=issuer, serial=serial, not_before=BEGIN, not_after=END
    )


def test_a_provider_s_own_is_read(certificates: Certificates) -> None:
    seen = certificate.read(certificates.own.der)
    assert (seen.subject, seen.issuer, seen.serial) == (PROVIDER, PROVIDER, SERIAL)
    assert seen.not_after - seen.not_before == timedelta(days=32)
    assert certificate.problem(seen, PROVIDER, datetime.now(UTC)) is None


def test_a_signed_one_names_its_issuer(certificates: Certificates) -> None:
    seen = certificate.read(certificates.web.der)
    assert (seen.subject, seen.issuer) == ("localhost", "Test Authority")


def test_with_two_names_it_has_none(certificates: Certificates) -> None:
    folder = certificates.folder / "two"
    folder.mkdir()
    assert certificate.read(self_signed(folder, PROVIDER, "b").der).subject == ""


@pytest.mark.parametrize("serial", [0, 0xFF])
def test_a_serial_number_that_is_none_is_refused_without_a_warning(
    certificates: Certificates, serial: int
) -> None:
    der = certificates.own.der.replace(SERIAL_FIELD, bytes((2, 1, serial)), 1)
    seen = certificate.read(der)
    assert seen.serial <= 0
    assert "no serial" in str(certificate.problem(seen, PROVIDER, datetime.now(UTC)))


def test_a_name_that_is_bits_and_no_text_is_refused(certificates: Certificates) -> None:
    text = bytes((len(PROVIDER),)) + PROVIDER.encode()
    der = certificates.own.der.replace(b"\x0c" + text, b"\x03" + text)
    with pytest.raises(ValueError, match="cannot be read"):
        certificate.read(der)


@pytest.mark.parametrize("version", [3, 9, 0x7F])
def test_a_version_that_nobody_knows_is_refused(certificates: Certificates, version: int) -> None:
    unknown = VERSION_FIELD[:-1] + bytes((version,))
    der = certificates.own.der.replace(VERSION_FIELD, unknown, 1)
    with pytest.raises(ValueError, match="cannot be read"):
        certificate.read(der)


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
