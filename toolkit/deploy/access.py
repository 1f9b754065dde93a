"""From a record to the client of its endpoint."""

from toolkit import paths
from toolkit.client import Endpoint
from toolkit.deploy.base import Record
from toolkit.errors import UsageError


def endpoint_of(record: Record) -> Endpoint:
    """The client of a record that has an address. `CredentialsError` without its key."""
    if record.url is None:
        raise UsageError(f"{record.name} has no address yet", hint="Wait until it is ready.")
    return Endpoint.open(
        url=record.url,
        key_file=paths.key_file(record.name),
        model=record.served_model,
        name=record.name,
        target=record.target,
    )
