"""Each kind of request: its path, its patience, and how to find out what became of it."""

import re

from toolkit.deploy.console.wire import Call
from toolkit.errors import EndpointError, UsageError

# The Console itself tries three times, 6 s apart, to hand the manifest to a provider that
# takes its time.
LEASE_READ_S = 180.0
WRITE_READ_S = 90.0

_DSEQ = re.compile(r"[0-9]{1,20}")
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")

CREATE = Call(
    method="POST",
    path="/v1/deployments",
    look="Look for its name, or for one that was not there before, in the list of active "
    "deployments; then lease it or close it.",
    # Its books say when it was sent last.
    is_sent_once=True,
    read_s=WRITE_READ_S,
)
LEASE = Call(
    method="POST",
    path="/v1/leases",
    look="Look at the leases of the deployment: one that is active bills.",
    read_s=LEASE_READ_S,
)
SCREEN = Call(method="POST", path="/v1/bid-screening", is_keyed=False)
# A token that nobody heard of ends by itself.
ACCESS_TOKEN = Call(method="POST", path="/v1/create-jwt-token")


def get(path: str, *, is_keyed: bool = True) -> Call:
    """A call that only reads."""
    return Call(method="GET", path=path, is_keyed=is_keyed)


def change(method: str, dseq: str) -> Call:
    """PATCH or PUT of a deployment's definition."""
    return Call(
        method=method,
        path=f"/v1/deployments/{checked_dseq(dseq)}",
        look=f"Look at the hash and definition of deployment {dseq}.",
        read_s=LEASE_READ_S,
    )


def close(dseq: str) -> Call:
    """DELETE of a deployment."""
    return Call(
        method="DELETE",
        path=f"/v1/deployments/{checked_dseq(dseq)}",
        look=f"Close deployment {dseq} again, which is silent when it is closed; then look "
        "that its state says closed.",
        read_s=WRITE_READ_S,
    )


def deposit(dseq: str) -> Call:
    """POST of money into a deployment."""
    return Call(
        method="POST",
        path="/v1/deposit-deployment",
        look=f"Look at the funds in the escrow of deployment {checked_dseq(dseq)}.",
        read_s=WRITE_READ_S,
    )


def limit_runtime(dseq: str) -> Call:
    """PATCH of the settings."""
    return Call(
        method="PATCH",
        path=f"/v2/deployment-settings/{checked_dseq(dseq)}",
        look=f"Look at the settings of deployment {dseq}.",
    )


def turn_funding_off(dseq: str) -> Call:
    """POST of settings."""
    return Call(
        method="POST",
        path="/v2/deployment-settings",
        look=f"Do not lease deployment {checked_dseq(dseq)}: close it.",
    )


def checked_dseq(text: str) -> str:
    """The number of a deployment, if it is one; else `UsageError`."""
    if not _DSEQ.fullmatch(text):
        raise UsageError(f"{text[:40]!r} is not the number of a deployment", hint="Digits only.")
    return text


def checked_id(text: str) -> str:
    """An id of someone else's making, if it can be part of a path."""
    if not _ID.fullmatch(text):
        raise EndpointError(
            f"{text[:40]!r} cannot be an id.", hint="Leave it out; nothing was asked."
        )
    return text
