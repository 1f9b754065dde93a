"""What a provider's gateway says, decoded: status, log lines, events.

All of it is hostile: the provider relays what the containers print. It is bounded here,
and kept as it came; whoever prints it for a person takes the `cleaned` form, in which
nothing can steer a terminal.
"""

import re

import msgspec

from toolkit import safetext
from toolkit.errors import EndpointError

# A provider ends a line at 64 KiB by itself; JSON may make six bytes of each.
MAX_LINE = 64 * 1024
MAX_FRAME_BYTES = 512 * 1024
CUT = " […]"

# What a ReplicaSet or a StatefulSet puts behind the name of a service.
_HASH = "bcdfghjklmnpqrstvwxz2456789"
_POD_SUFFIX = re.compile(rf"-(?:[{_HASH}]{{1,10}}-[{_HASH}]{{5}}|\d+)$")


class LogLine(msgspec.Struct, frozen=True):
    """A line of one pod. `pod` is "" where the gateway sent something that is no log line:
    then `text` is what it sent."""

    pod: str
    text: str

    @property
    def service(self) -> str:
        """The service of the SDL that the pod belongs to, as far as its name says."""
        return _POD_SUFFIX.sub("", self.pod)

    @property
    def cleaned(self) -> "LogLine":
        """The same in one line that cannot steer a terminal."""
        return LogLine(_one_line(self.pod), _one_line(self.text))


class _Object(msgspec.Struct, frozen=True):
    kind: str | None = None
    namespace: str | None = None
    name: str | None = None


class _EventFrame(msgspec.Struct, frozen=True):
    type: str | None = None
    reason: str | None = None
    note: str | None = None
    object: _Object | None = None


class _LogFrame(msgspec.Struct, frozen=True):
    name: str
    message: str | None = None


class Event(msgspec.Struct, frozen=True):
    """Something that Kubernetes did, such as a pull, a back-off or a kill for memory.

    `kind` is "Normal" or "Warning", and "" where the gateway sent something that is no
    event: then `note` is what it sent. `subject` is the thing it happened to: "Pod/NAME".
    """

    kind: str
    reason: str
    note: str
    subject: str

    @property
    def cleaned(self) -> "Event":
        """The same with texts of one line that cannot steer a terminal."""
        texts = (self.kind, self.reason, self.note, self.subject)
        return Event(*(_one_line(text) for text in texts))


class ServiceStatus(msgspec.Struct, frozen=True):
    """How many replicas of a service are available, of how many, and its host names."""

    name: str = ""
    available: int = 0
    total: int = 0
    uris: tuple[str, ...] | None = None
    ready_replicas: int = 0

    @property
    def is_up(self) -> bool:
        """Whether all containers run. They may still be loading: there is no probe."""
        return self.available >= self.total > 0


class ForwardedPort(msgspec.Struct, frozen=True, rename="camel"):
    """A port of a service under a number of the provider's choice."""

    host: str | None = None
    port: int = 0
    external_port: int = 0
    proto: str | None = None
    name: str | None = None


class LeaseStatus(msgspec.Struct, frozen=True):
    """The state of a lease's services. Empty maps are empty, whatever the gateway sent."""

    services: dict[str, ServiceStatus] = {}
    forwarded_ports: dict[str, tuple[ForwardedPort, ...]] = {}

    @property
    def is_up(self) -> bool:
        """Whether there are services and all of them are up."""
        return bool(self.services) and all(one.is_up for one in self.services.values())


class _StatusBody(msgspec.Struct, frozen=True):
    services: dict[str, ServiceStatus | None] | None = None
    forwarded_ports: dict[str, tuple[ForwardedPort, ...] | None] | None = None


_log_frames = msgspec.json.Decoder(_LogFrame)
_event_frames = msgspec.json.Decoder(_EventFrame)
_statuses = msgspec.json.Decoder(_StatusBody)


def log_line(frame: bytes) -> LogLine:
    """The line in a frame of the log socket. Raises nothing, leaves nothing out but what is
    beyond the bound of a line."""
    try:
        decoded = _log_frames.decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return LogLine("", _bounded(frame.decode("utf-8", "replace")))
    return LogLine(_bounded(decoded.name), _bounded(decoded.message or ""))


def event(frame: bytes) -> Event:
    """The event in a frame of the event socket. Raises nothing."""
    try:
        decoded = _event_frames.decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Event("", "", _bounded(frame.decode("utf-8", "replace")), "")
    about = decoded.object or _Object()
    subject = "/".join(part for part in (about.kind, about.name) if part)
    texts = (decoded.type, decoded.reason, decoded.note, subject)
    return Event(*(_bounded(text or "") for text in texts))


def lease_status(body: bytes) -> LeaseStatus:
    """The status in an answer. Raises `EndpointError` for anything else."""
    try:
        decoded = _statuses.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EndpointError(
            "The provider's gateway answered with something that is no status of a lease.",
            hint="Ask again later; if it stays so, move to another provider.",
        ) from error
    services = decoded.services or {}
    ports = decoded.forwarded_ports or {}
    return LeaseStatus(
        {name: one or ServiceStatus() for name, one in services.items()},
        {name: some or () for name, some in ports.items()},
    )


def _bounded(text: str) -> str:
    return text if len(text) <= MAX_LINE else text[:MAX_LINE] + CUT


def _one_line(text: str) -> str:
    return safetext.cleaned(text).replace("\n", " ")
