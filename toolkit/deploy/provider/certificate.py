"""What a certificate says of itself, read from its bytes.

The standard library reads certificates only while it verifies them, and a provider's own
certificate cannot be verified that way: it is self-signed and names an account, no host.
Nothing here proves anything: whoever makes a certificate writes what they like into it.
The bytes are hostile until their fingerprint is found on the chain.
"""

import hashlib
from datetime import UTC, datetime

import msgspec

MAX_BYTES = 64 * 1024

_SEQUENCE, _SET, _INTEGER, _OID, _VERSION = 0x30, 0x31, 0x02, 0x06, 0xA0
_COMMON_NAME = bytes((0x55, 0x04, 0x03))
_TEXTS = {0x0C: "utf-8", 0x13: "ascii", 0x16: "ascii"}
_TIMES = {0x17: "%y%m%d%H%M%SZ", 0x18: "%Y%m%d%H%M%SZ"}

Element = tuple[int, bytes]


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """`subject` and `issuer` are common names, "" without one."""

    subject: str
    issuer: str
    serial: int
    not_before: datetime
    not_after: datetime
    fingerprint: bytes


def fingerprint(der: bytes) -> bytes:
    """What a certificate is known by: SHA-256 of its bytes."""
    return hashlib.sha256(der).digest()


def read(der: bytes) -> Certificate:
    """The certificate in these bytes (RFC 5280 §4.1). Raises `ValueError`, nothing else."""
    if len(der) > MAX_BYTES:
        raise ValueError("it is too long")
    (outer,) = _exactly(_elements(der), (_SEQUENCE,))
    (tag, body), *_ = _elements(outer) or [(0, b"")]
    if tag != _SEQUENCE:
        raise ValueError("it has no body")
    fields = _elements(body)
    if fields and fields[0][0] == _VERSION:
        fields = fields[1:]
    wanted = (_INTEGER, _SEQUENCE, _SEQUENCE, _SEQUENCE, _SEQUENCE)
    serial, _, issuer, validity, subject = _exactly(fields[:5], wanted)
    before, after = _moments(validity)
    return Certificate(
        subject=_common_name(subject),
        issuer=_common_name(issuer),
        serial=int.from_bytes(serial, "big", signed=True),
        not_before=before,
        not_after=after,
        fingerprint=fingerprint(der),
    )


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


def _elements(data: bytes) -> list[Element]:
    """The elements that stand side by side in `data`, each with its tag."""
    found, at = [], 0
    while at < len(data):
        tag, start, end = _span(data, at)
        found.append((tag, data[start:end]))
        at = end
    return found


def _span(data: bytes, at: int) -> tuple[int, int, int]:
    """Tag, start and end of the element at `at`."""
    if at + 2 > len(data):
        raise ValueError("it is cut off")
    tag, length = data[at], data[at + 1]
    start = at + 2
    if length & 0x80:
        size = length & 0x7F
        if not 1 <= size <= 4:
            raise ValueError("a length in it cannot be read")
        length = int.from_bytes(data[start : start + size], "big")
        start += size
    if start + length > len(data):
        raise ValueError("it is cut off")
    return tag, start, start + length


def _exactly(elements: list[Element], tags: tuple[int, ...]) -> list[bytes]:
    if tuple(tag for tag, _ in elements) != tags:
        raise ValueError("it is not built as certificates are")
    return [content for _, content in elements]


def _common_name(name: bytes) -> str:
    """The one common name in a distinguished name; two of them are refused."""
    found = [
        text
        for tag, group in _elements(name)
        if tag == _SET
        for _, attribute in _elements(group)
        for text in _common_names(_elements(attribute))
    ]
    if len(found) > 1:
        raise ValueError("it has more than one common name")
    return found[0] if found else ""


def _common_names(attribute: list[Element]) -> list[str]:
    match attribute:
        case [(tag, oid), (kind, value)] if tag == _OID and oid == _COMMON_NAME:
            if kind not in _TEXTS:
                raise ValueError("its common name is no text")
            return [value.decode(_TEXTS[kind])]
    return []


def _moments(validity: bytes) -> tuple[datetime, datetime]:
    moments = [
        datetime.strptime(value.decode("ascii"), _TIMES[tag]).replace(tzinfo=UTC)
        for tag, value in _elements(validity)
        if tag in _TIMES
    ]
    if len(moments) != 2:
        raise ValueError("it does not say how long it is valid")
    return moments[0], moments[1]
