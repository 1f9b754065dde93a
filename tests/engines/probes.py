"""All probes, in the order of the table."""

from collections.abc import Iterator

from tests.engines import formats, sampling, service, texts
from tests.engines.kinds import RunningEngine
from tests.engines.subject import Outcome, Probe, Subject

# Those of the service last: one of them unloads the model.
PROBES: tuple[Probe, ...] = (*texts.PROBES, *formats.PROBES, *sampling.PROBES, *service.PROBES)


def ask_all(engine: RunningEngine, url: str) -> Iterator[tuple[str, Outcome]]:
    """Each probe's name and outcome, of a server over that engine."""
    with Subject(url, engine.roles) as subject:
        for probe in PROBES:
            yield probe.name, probe.outcome(subject)
