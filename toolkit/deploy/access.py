"""From a record to the client of its endpoint."""

import asyncio

from toolkit import paths
from toolkit.client import Endpoint, Price
from toolkit.deploy.base import Record
from toolkit.deploy.ledger import Ledger
from toolkit.errors import UsageError
from toolkit.route import Address, Locate

# Of a handle: SHA-256, in hex, of the certificate that was seen when it was deployed. Empty
# where the web vouches for it.
PIN = "pin"


def endpoint_of(
    record: Record, *, ledger: Ledger | None = None, price: Price | None = None
) -> Endpoint:
    """The client of a record that has an address. `CredentialsError` without its key.

    With a `ledger` it goes on with what is open under the name when this one has been
    replaced. Without, it is this one and no other, as who looks after it needs it.
    """
    address = address_of(record)
    return Endpoint.open(
        url=address.url,
        key_file=address.key_file,
        pin=address.pin,
        model=record.served_model,
        name=record.name,
        target=record.target,
        locate=None if ledger is None else _locator(record.name, ledger),
        price=price,
    )


def address_of(record: Record) -> Address:
    """Where a record's endpoint is, and by what it is known. `UsageError` before it has a URL."""
    if record.url is None:
        raise UsageError(f"{record.name} has no address yet", hint="Wait until it is ready.")
    pin = str(record.handle.get(PIN, "")) or None
    return Address(record.url, paths.key_file(record.name), pin, record.served_model)


def _locator(name: str, ledger: Ledger) -> Locate:
    async def locate() -> Address | None:
        record = await asyncio.to_thread(ledger.find, name)
        return address_of(record) if record is not None and record.url is not None else None

    return locate
