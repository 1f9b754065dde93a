"""An order that is given up, and why, in words for people."""

from collections import Counter
from collections.abc import Iterable, Sequence
from enum import StrEnum

from toolkit.deploy.akash.choosing import Judged
from toolkit.errors import CapacityError, ConfigError, EndpointError, ToolkitError

# How often a provider has to say so before nobody hopes any more.
_HOPELESS_AFTER = 4


class GivenUp(Exception):
    """This order will not do; another one may. `is_final`: nor will any other.

    `error` is what a person is told if there is no other attempt.
    """

    def __init__(self, error: ToolkitError, *, is_final: bool = False) -> None:
        super().__init__(error.message)
        self.error = error
        self.is_final = is_final


class Trouble(StrEnum):
    """What goes wrong with a container, as Kubernetes' events tell it."""

    PULL = "the image cannot be pulled"
    CRASH = "the program in the container ends again and again"
    MEMORY = "the program takes more memory than there is"
    ROOM = "no node of the provider has room for it"


# Reasons of events, and what has to stand in their note; Kubernetes' own words.
_EVENTS: Sequence[tuple[str, str, Trouble]] = (
    ("OOMKilled", "", Trouble.MEMORY),
    ("OOMKilling", "", Trouble.MEMORY),
    ("ErrImagePull", "", Trouble.PULL),
    ("ImagePullBackOff", "", Trouble.PULL),
    ("InvalidImageName", "", Trouble.PULL),
    ("Failed", "image", Trouble.PULL),
    ("Failed", "ErrImagePull", Trouble.PULL),
    ("BackOff", "pulling image", Trouble.PULL),
    ("BackOff", "restarting failed container", Trouble.CRASH),
    ("CrashLoopBackOff", "", Trouble.CRASH),
    ("FailedScheduling", "", Trouble.ROOM),
)


def trouble_of(reason: str, note: str) -> Trouble | None:
    """What an event means for a person who waits; None where it is the usual course."""
    for name, words, trouble in _EVENTS:
        if reason == name and words.lower() in note.lower():
            return trouble
    return None


class Diary:
    """The troubles of one lease so far."""

    def __init__(self) -> None:
        self._counts: Counter[Trouble] = Counter()
        self._notes: dict[Trouble, str] = {}

    def add(self, reason: str, note: str) -> Trouble | None:
        """Take an event down; what it means."""
        trouble = trouble_of(reason, note)
        if trouble is not None:
            self._counts[trouble] += 1
            self._notes[trouble] = note
        return trouble

    @property
    def why(self) -> str:
        """The worst of it in one sentence; empty while nothing is wrong."""
        if not self._counts:
            return ""
        trouble = self._counts.most_common(1)[0][0]
        note = self._notes[trouble]
        return f"{trouble}: {note}" if note else str(trouble)

    @property
    def hopeless(self) -> bool:
        """Whether waiting longer only costs."""
        return any(count >= _HOPELESS_AFTER for count in self._counts.values())

    @property
    def is_of_the_image(self) -> bool:
        """Whether another provider would meet the same."""
        return bool(self._counts) and self._counts.most_common(1)[0][0] is Trouble.PULL


# Reasons of leases that ended, by the end of their names on chain.
_LEASE_ENDS = {
    "unstable": "the provider ended the lease as unstable: for minutes not all containers ran,"
    " as happens with an image that is slow to pull or a program that crashes",
    "decommission": "the provider took its hardware out of service",
    "manifest_timeout": "the provider never got the manifest",
    "insufficient_funds": "the money in the deployment ran out",
    "owner": "the account closed it",
    "unspecified": "the provider ended the lease without a reason",
}


def lease_end(reason: str) -> str:
    """Why a lease ended, in words."""
    for end, words in _LEASE_ENDS.items():
        if reason.endswith(end):
            return words
    return f"the lease ended ({reason})" if reason else "the lease ended"


def no_bids(bad: Iterable[Judged], waited_s: float) -> GivenUp:
    """The error for bids of which none will do, or none at all."""
    refused = list(bad)
    if not refused:
        return GivenUp(
            CapacityError(
                f"no provider has bid within {waited_s:.0f} s",
                hint="Ask for less: other GPUs, no region, a higher --max-usd-per-hour."
                " `akash-llm plan` says which of these removes how many.",
            ),
            is_final=True,
        )
    listed = "; ".join(f"{each.bid.id.provider}: {each.why_not}" for each in refused[:4])
    return GivenUp(
        CapacityError(
            f"none of {len(refused)} bids will do ({listed})",
            hint="Raise --max-usd-per-hour, name other GPUs, or try again later.",
        ),
        is_final=True,
    )


def after(failures: Sequence[GivenUp]) -> ToolkitError:
    """The error for the last of several attempts, with all the reasons.

    Its class is `CapacityError` only where nobody was there to fail.
    """
    if len(failures) == 1:
        return failures[0].error
    reasons = "; ".join(f"{n}. {each.error.message}" for n, each in enumerate(failures, 1))
    first = next((e.error for e in failures if not isinstance(e.error, CapacityError)), None)
    message = f"{len(failures)} attempts failed: {reasons}"
    if first is None:
        return CapacityError(message, hint=failures[-1].error.hint)
    kind = ConfigError if isinstance(first, ConfigError) else EndpointError
    made: ToolkitError = kind(message, hint=first.hint)
    return made
